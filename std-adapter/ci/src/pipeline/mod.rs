//! Pipelines: the steps that a file in the repository under test describes.
//!
//! The file `.datakit-ci.toml` is read at the commit under test. `docs/pipelines.md` describes the
//! format, and `pipeline.schema.json` is a JSON Schema for editors.

mod error;
mod model;
mod pattern;
mod plan;
mod read;
mod template;
mod trust;

pub use error::{PipelineError, PipelineErrors, Position};
pub use model::{CacheSpec, Combination, Matrix, Pipeline, Step, When};
pub use pattern::{Pattern, selects};
pub use plan::{Plan, Skipped, Task, Trigger, UnknownStep};
pub use read::{FILE_MAX, STEPS_MAX};
pub use trust::Trust;

/// The name of the pipeline file.
pub const FILE: &str = ".datakit-ci.toml";
