//! The reasons why jobs are pending.

use std::collections::HashSet;
use std::time::SystemTime;

use serde::Serialize;

use crate::term::{Explanation, Pending, State};

/// The maximum number of reasons per job.
const REASONS_MAX: usize = 20;

/// A reason why a job is pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WaitReason {
    /// The waiting step, or an empty string.
    pub(super) step: String,
    /// Describes the wait.
    pub(super) text: String,
    /// The resource that the step is waiting for.
    pub(super) resource: Option<String>,
    /// The time at which the wait for the resource began.
    #[serde(skip)]
    pub(super) since: Option<SystemTime>,
    /// The position in the queue, starting at 1.
    pub(super) position: Option<usize>,
    /// The jobs that hold the resource.
    pub(super) holders: Vec<String>,
}

/// Returns the reasons: the pending nodes that do not depend on other pending nodes.
pub(super) fn reasons(explained: &Explanation) -> Vec<WaitReason> {
    let (mut reasons, mut rest) = (Vec::new(), vec![(explained, "")]);
    let mut seen = HashSet::new();
    while let Some((node, above)) = rest.pop() {
        if !seen.insert(node.id) {
            continue;
        }
        // A node without a label belongs to the step that contains it.
        let step = if node.label.is_empty() { above } else { &node.label };
        let is_pending = |node: &&Explanation| matches!(node.state, State::Pending(_));
        let pending: Vec<&Explanation> = node.children.iter().filter(is_pending).collect();
        match &node.state {
            State::Pending(reason) if pending.is_empty() && !node.repeated => {
                reasons.push(WaitReason::new(step, reason));
            }
            _ => rest.extend(pending.into_iter().rev().map(|child| (child, step))),
        }
        if reasons.len() >= REASONS_MAX {
            break;
        }
    }
    reasons
}

impl WaitReason {
    fn new(step: &str, pending: &Pending) -> WaitReason {
        let wait = pending.wait.as_deref();
        WaitReason {
            step: step.to_owned(),
            text: pending.text.to_string(),
            resource: wait.map(|wait| wait.resource.to_string()),
            since: wait.map(|wait| wait.since),
            position: wait.and_then(|wait| wait.position),
            holders: wait
                .map(|wait| wait.holders.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::{Term, explain, wait_for_all};

    #[test]
    fn reasons_are_the_pending_nodes_without_pending_dependencies() {
        let pool = Term::<()>::pending("Waiting for resource in \"docker\"").label("build");
        let done = Term::success(()).label("lint");
        let test = pool.map(|()| ()).label("test");
        let job = wait_for_all([("build", pool), ("lint", done), ("test", test)]);
        let _ = job.evaluate();
        let reasons = reasons(&explain(&job.node()));
        let texts: Vec<_> = reasons.iter().map(|r| (r.step.as_str(), r.text.as_str())).collect();
        assert_eq!(texts, [("build", "Waiting for resource in \"docker\"")], "{reasons:?}");
    }
}
