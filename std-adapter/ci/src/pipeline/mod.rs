//! Pipelines: the steps defined by a file in the repository under test.
//!
//! The steps are read from the `.datakit-ci.toml` file in the commit under test. The format of this
//! file is described in `docs/pipelines.md` in this crate. The file `pipeline.schema.json` is a
//! JSON Schema for editors.
//!
//! [`Pipelines`] runs the pipelines of all targets of a repository, and [`local`] runs the pipeline
//! of a work tree.
//!
//! | branch of the database | content |
//! |---|---|
//! | `pipeline-USER-REPO-of-HASH` | the pipeline file at a commit; `-into-BRANCH` is added for a pull request |
//! | `step-USER-REPO-STEP-of-HASH` | the result of a step; `-for-TARGET` and `-untrusted` are added if they apply |

mod artifacts;
mod caches;
mod definition;
mod encodings;
mod error;
mod execute;
mod files;
mod inputs;
pub mod local;
mod model;
mod names;
mod pattern;
mod plan;
mod read;
mod settings;
mod source;
mod step_key;
mod steps;
mod template;
mod terms;
#[cfg(test)]
mod tests;
mod trust;

pub use artifacts::ARTIFACT_LIMITS;
pub use caches::Caches;
pub use definition::{Definition, DefinitionBuilder, DefinitionKey, PIPELINES_POOL};
pub use error::{PipelineError, PipelineErrors, Position};
pub use files::FileLimits;
pub use inputs::INPUT_LIMITS;
pub use model::{CacheSpec, Combination, Matrix, Pipeline, Step, When};
pub use pattern::{Pattern, selects};
pub use plan::{Plan, Skipped, Task, Trigger, UnknownStep};
pub use read::{FILE_MAX, STEPS_MAX};
pub use settings::{DEFAULT_POOL, Settings};
pub use source::{Checkout, CheckoutRequest, GitCheckout, Source, SourceError};
pub use step_key::StepKey;
pub use steps::{StepBuilder, StepResult};
pub use terms::Pipelines;
pub use trust::Trust;

/// The name of the pipeline file.
pub const FILE: &str = ".datakit-ci.toml";
