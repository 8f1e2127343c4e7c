//! The events sent to webhook receivers.

use datakit_github::StatusState;
use serde::{Serialize, Serializer};

/// A change to the status of a test or to the overall status of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The project, for example `me/app`.
    pub project: String,
    /// The hash of the commit.
    pub commit: String,
    /// The pull requests, branches and tags whose head is the commit, for example
    /// `me/app/heads/main`.
    pub targets: Vec<String>,
    /// The title of the pull request, if the commit is the head of one.
    pub title: Option<String>,
    /// The name of the test, or `None` for the overall status of the commit.
    pub test: Option<String>,
    /// The context of the status, for example `ci/datakit/build`.
    pub context: String,
    /// The new state.
    #[serde(serialize_with = "state")]
    pub state: StatusState,
    /// The old state, or `None` if there was no status.
    #[serde(serialize_with = "optional_state")]
    pub previous: Option<StatusState>,
    /// The description of the status.
    pub description: Option<String>,
    /// The URL of the page that shows the test.
    pub url: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn state<S: Serializer>(state: &StatusState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn optional_state<S: Serializer>(
    state: &Option<StatusState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    state.map(StatusState::as_str).serialize(serializer)
}
