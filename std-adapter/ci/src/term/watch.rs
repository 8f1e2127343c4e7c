//! Reports when a term should be evaluated again.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::node::{AnyNode, Kind};
use super::{State, Term};

/// Reports when a term should be evaluated again.
pub struct Watcher {
    signal: Arc<Signal>,
}

/// The parent of a watched term in the graph.
struct Signal(Notify);

impl Watcher {
    /// Starts watching a term. The term should be evaluated once afterwards.
    #[must_use]
    pub fn new<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> Watcher {
        let signal = Arc::new(Signal(Notify::new()));
        let parent: Weak<dyn AnyNode> = Arc::downgrade(&signal) as _;
        term.node().add_parent(parent);
        Watcher { signal }
    }

    /// Waits until the term is stale. Returns immediately if the term has become stale since the last
    /// call.
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped.
    pub async fn changed(&self) {
        self.signal.0.notified().await;
    }
}

impl AnyNode for Signal {
    fn id(&self) -> u64 {
        0
    }

    fn kind(&self) -> Kind {
        Kind::Observe
    }

    fn label(&self) -> &str {
        ""
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        Vec::new()
    }

    fn state(&self) -> State {
        State::NotEvaluated
    }

    fn invalidate(&self) {
        self.0.notify_one();
    }

    fn add_parent(&self, _: Weak<dyn AnyNode>) {}
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
