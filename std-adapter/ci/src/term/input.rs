//! Term inputs: values that are changed by code outside the graph.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::node::{AnyNode, Compute, NodeKind};
use super::{Evaluation, Outcome, Term};

/// A value that is changed by code outside the graph, such as the head of a branch. When the
/// outcome changes, all terms that depend on the input become stale.
pub struct Input<T> {
    cell: Arc<Cell<T>>,
    term: Term<T>,
}

struct Cell<T>(Mutex<Outcome<T>>);

impl<T: Clone + Send + Sync> Compute<T> for Arc<Cell<T>> {
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<T> {
        self.0.lock().clone().into()
    }
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Input<T> {
    /// Creates an input with an initial outcome.
    #[must_use]
    pub fn new(label: impl Into<Arc<str>>, initial: Outcome<T>) -> Input<T> {
        let cell = Arc::new(Cell(Mutex::new(initial)));
        let term = Term::with_compute(NodeKind::Input, label, cell.clone());
        Input { cell, term }
    }

    /// Returns a term that always has the same outcome as the input.
    #[must_use]
    pub fn term(&self) -> Term<T> {
        self.term.clone()
    }

    /// Returns `true` if a term depends on the input.
    #[must_use]
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.term.0) > 1
    }

    /// Sets the outcome and returns `true` if it has changed.
    pub fn set(&self, outcome: Outcome<T>) -> bool {
        let changed = {
            let mut current = self.cell.0.lock();
            let changed = *current != outcome;
            *current = outcome;
            changed
        };
        if changed {
            self.term.node().invalidate();
        }
        changed
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.term).finish()
    }
}
