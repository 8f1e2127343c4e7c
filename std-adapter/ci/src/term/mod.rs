//! Terms: computations that can be inspected without running them.
//!
//! A [`Term`] describes how to compute a value from inputs such as the head of a branch, the status
//! of another CI, or the result of a build. The terms form a graph, which can be evaluated, drawn
//! and explained.
//!
//! ```
//! use datakit_ci::term::{Outcome, Term, wait_for_all};
//!
//! let lint = Term::success("no warnings").label("lint");
//! let build = Term::<&str>::failure("exit status 1").label("build");
//! let both = wait_for_all([("lint", lint.unit()), ("build", build.unit())]);
//! assert_eq!(both.evaluate().outcome, Outcome::failure("build failed"));
//! ```
//!
//! An evaluation never waits. If the value of a term is not available yet, its outcome is
//! [`Outcome::Pending`]. A [`Watcher`] reports when the term should be evaluated again. If an input
//! changes, only the nodes that depend on it become stale and are evaluated again.

mod combine;
mod explain;
mod external;
mod input;
mod node;
mod outcome;
#[cfg(test)]
mod tests;
mod wait;
mod watch;

use std::fmt;
use std::sync::Arc;

pub use explain::{Explanation, explain};
pub use external::{External, Progress, Retry};
pub use input::Input;
pub use node::{AnyNode, NodeKind};
pub use outcome::{Evaluation, Logs, Outcome, Pending, SavedLog, State, Wait};
pub use wait::{wait_for, wait_for_all};
pub use watch::{Registration, StaleSet, Watcher};

use node::TermNode;

/// A computation that produces a value of type `T`. Clones refer to the same computation, which is
/// evaluated only once.
pub struct Term<T>(Arc<TermNode<T>>);

impl<T> Clone for Term<T> {
    fn clone(&self) -> Term<T> {
        Term(self.0.clone())
    }
}

impl<T: Clone + Send + Sync + 'static> Term<T> {
    /// Evaluates the stale nodes of the term and returns the outcome and the logs. This method does
    /// not block. A panic in one of the term's functions is treated as a failure.
    #[must_use]
    pub fn evaluate(&self) -> Evaluation<T> {
        self.0.evaluate()
    }

    /// Returns the term's node in the graph.
    #[must_use]
    pub fn node(&self) -> Arc<dyn AnyNode> {
        self.0.clone()
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Term<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node();
        f.debug_struct("Term")
            .field("kind", &node.kind())
            .field("label", &node.label())
            .field("state", &node.state())
            .finish_non_exhaustive()
    }
}
