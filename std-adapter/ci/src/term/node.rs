//! The nodes of the term graph.
//!
//! Each term is a node. A node stores the result of its last evaluation and links to its children
//! and parents. When an input changes, all nodes that depend on the input, up to the roots, are
//! marked as stale. An evaluation visits only stale nodes.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Evaluation, Logs, Outcome, State};

/// The kind of a node, for graphs and explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// A constant.
    Constant,
    /// A function of other terms.
    Function,
    /// Multiple terms that are evaluated in parallel.
    All,
    /// A term that depends on the value of another term.
    Bind,
    /// A value from the metadata branch, or another input.
    Input,
    /// A computation that runs outside term evaluation, such as a build.
    External,
    /// A term that turns the outcome of another term into a value or a string.
    Observe,
}

impl NodeKind {
    /// Returns the name of the kind in lowercase.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Constant => "constant",
            NodeKind::Function => "function",
            NodeKind::All => "all",
            NodeKind::Bind => "bind",
            NodeKind::Input => "input",
            NodeKind::External => "external",
            NodeKind::Observe => "observe",
        }
    }
}

/// A node in the graph, independent of the type of its value.
pub trait AnyNode: Send + Sync {
    /// Returns the node's number, which is unique within the process.
    fn id(&self) -> u64;

    /// Returns the kind of the node.
    fn kind(&self) -> NodeKind;

    /// Returns the label, or an empty string if the node has no label.
    fn label(&self) -> &str;

    /// Returns the nodes that this node depends on. A [`NodeKind::Bind`] node has a second child
    /// once the first child has a value.
    fn children(&self) -> Vec<Arc<dyn AnyNode>>;

    /// Returns the state after the last evaluation.
    fn state(&self) -> State;

    /// Returns the logs of the last evaluation, which include the logs of the children.
    fn logs(&self) -> Logs;

    /// Marks the node and all nodes that depend on it as stale.
    fn invalidate(&self);

    /// Adds a node that depends on this node.
    fn add_parent(&self, parent: Weak<dyn AnyNode>);
}

/// The computation of a node.
pub(crate) trait Compute<T>: Send + Sync {
    /// Computes the value. The computation must not block.
    fn compute(&self, node: &Weak<dyn AnyNode>) -> Evaluation<T>;

    /// Returns the nodes that the computation depends on.
    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        Vec::new()
    }
}

/// A node with a value of type `T`.
pub(crate) struct TermNode<T> {
    id: u64,
    kind: NodeKind,
    label: Arc<str>,
    compute: Box<dyn Compute<T>>,
    stale: AtomicBool,
    last: Mutex<Option<Evaluation<T>>>,
    parents: Mutex<Vec<Weak<dyn AnyNode>>>,
    this: Weak<TermNode<T>>,
}

impl<T: Clone + Send + Sync + 'static> TermNode<T> {
    pub(crate) fn new(
        kind: NodeKind,
        label: Arc<str>,
        compute: impl Compute<T> + 'static,
    ) -> Arc<TermNode<T>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let node = Arc::new_cyclic(|this| TermNode {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            label,
            compute: Box::new(compute),
            stale: AtomicBool::new(true),
            last: Mutex::new(None),
            parents: Mutex::new(Vec::new()),
            this: this.clone(),
        });
        let parent: Weak<dyn AnyNode> = Arc::downgrade(&node) as _;
        for child in node.compute.children() {
            child.add_parent(parent.clone());
        }
        node
    }

    /// Returns the last evaluation if it is still valid; otherwise, evaluates the node. A panic in
    /// the computation is treated as a failure.
    pub(crate) fn evaluate(&self) -> Evaluation<T> {
        let mut last = self.last.lock();
        // Clear the flag before the computation, so a change during the computation makes the node
        // stale again.
        if !self.stale.swap(false, Ordering::AcqRel)
            && let Some(last) = &*last
        {
            return last.clone();
        }
        let this: Weak<dyn AnyNode> = self.this.clone() as _;
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.compute.compute(&this)))
            .unwrap_or_else(|panic| Outcome::failure(panic_text(&*panic)).into());
        last.insert(evaluated).clone()
    }
}

/// Returns the failure message for a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the term panicked: {}", text.unwrap_or("no message"))
}

impl<T: Clone + Send + Sync + 'static> AnyNode for TermNode<T> {
    fn id(&self) -> u64 {
        self.id
    }

    fn kind(&self) -> NodeKind {
        self.kind
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        self.compute.children()
    }

    fn state(&self) -> State {
        self.last.lock().as_ref().map_or(State::NotEvaluated, |last| last.outcome.state())
    }

    fn logs(&self) -> Logs {
        self.last.lock().as_ref().map_or(Logs::None, |last| last.logs.clone())
    }

    fn invalidate(&self) {
        // If the node is already stale, so are its parents.
        if self.stale.swap(true, Ordering::AcqRel) {
            return;
        }
        let parents: Vec<_> = {
            let mut parents = self.parents.lock();
            parents.retain(|parent| parent.strong_count() > 0);
            parents.iter().filter_map(Weak::upgrade).collect()
        };
        for parent in parents {
            parent.invalidate();
        }
    }

    fn add_parent(&self, parent: Weak<dyn AnyNode>) {
        let mut parents = self.parents.lock();
        if parents.len() == parents.capacity() {
            parents.retain(|parent| parent.strong_count() > 0);
        }
        parents.push(parent);
    }
}
