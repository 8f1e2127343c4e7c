//! The key of a step's result.

use std::sync::Arc;

use datakit_github::Commit;

use super::plan::Task;
use super::trust::Trust;
use crate::Target;

/// A task for a commit.
#[derive(Debug, Clone)]
pub struct StepKey {
    /// The task.
    pub task: Arc<Task>,
    /// The commit.
    pub commit: Commit,
    /// A target whose head is the commit.
    pub target: Target,
    /// Whether the commit is trusted.
    pub trust: Trust,
    /// The images that `podman` can download if the commit is not trusted.
    pub images: Arc<[String]>,
}
