//! Reports when a term should be evaluated again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::node::{AnyNode, NodeKind};
use super::{Logs, State, Term};

/// Reports when a term should be evaluated again.
pub struct Watcher {
    notify: Arc<Notify>,
    _signal: Arc<Signal>,
}

/// The parent node of a watched term. Contains the function that is called when the term becomes
/// stale.
struct Signal(Box<dyn Fn() + Send + Sync>);

/// Adds a parent to a term's node. The parent calls `stale` when the term becomes stale.
fn signal<T: Clone + Send + Sync + 'static>(
    term: &Term<T>,
    stale: impl Fn() + Send + Sync + 'static,
) -> Arc<Signal> {
    let signal = Arc::new(Signal(Box::new(stale)));
    let parent: Weak<dyn AnyNode> = Arc::downgrade(&signal) as _;
    term.node().add_parent(parent);
    signal
}

impl Watcher {
    /// Starts watching a term. The caller should then evaluate the term once.
    #[must_use]
    pub fn new<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> Watcher {
        let notify = Arc::new(Notify::new());
        let waiting = notify.clone();
        let signal = signal(term, move || waiting.notify_one());
        Watcher { notify, _signal: signal }
    }

    /// Waits until the term is stale. Returns immediately if the term has become stale since the
    /// last call.
    ///
    /// # Cancel safety
    /// This method is cancel safe: no change is lost if the future is dropped.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl AnyNode for Signal {
    fn id(&self) -> u64 {
        0
    }

    fn kind(&self) -> NodeKind {
        NodeKind::Observe
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

    fn logs(&self) -> Logs {
        Logs::None
    }

    fn invalidate(&self) {
        (self.0)();
    }

    fn add_parent(&self, _: Weak<dyn AnyNode>) {}
}

/// The keys of the terms that should be evaluated again.
pub struct StaleSet<K> {
    stale: Arc<Mutex<BTreeSet<K>>>,
    notify: Arc<Notify>,
}

/// The registration of a term in a [`StaleSet`]. Dropping this value removes the term from the set.
pub struct Registration {
    _signal: Arc<Signal>,
}

impl<K: Ord + Clone + Send + Sync + 'static> StaleSet<K> {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> StaleSet<K> {
        StaleSet { stale: Arc::default(), notify: Arc::default() }
    }

    /// Registers a term. The caller should then evaluate the term once.
    #[must_use]
    pub fn register<T: Clone + Send + Sync + 'static>(
        &self,
        key: K,
        term: &Term<T>,
    ) -> Registration {
        let (stale, notify) = (self.stale.clone(), self.notify.clone());
        let add = move || {
            stale.lock().insert(key.clone());
            notify.notify_one();
        };
        Registration { _signal: signal(term, add) }
    }

    /// Waits until there is at least one key, then removes all keys from the set and returns them.
    ///
    /// # Cancel safety
    /// This method is cancel safe: no key is lost if the future is dropped.
    pub async fn next(&self) -> BTreeSet<K> {
        loop {
            let stale = std::mem::take(&mut *self.stale.lock());
            if !stale.is_empty() {
                return stale;
            }
            self.notify.notified().await;
        }
    }
}

impl<K: Ord + Clone + Send + Sync + 'static> Default for StaleSet<K> {
    fn default() -> StaleSet<K> {
        StaleSet::new()
    }
}

impl<K: fmt::Debug> fmt::Debug for StaleSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StaleSet").field(&self.stale.lock()).finish()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
