//! Explains the state of a term as a tree of short descriptions.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{AnyNode, Logs, NodeKind, State};

/// The subgraph of a term, without nodes that have children but no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The number of the node.
    pub id: u64,
    /// The kind of the node.
    pub kind: NodeKind,
    /// The label, or an empty string if the node has no label.
    pub label: String,
    /// The state after the last evaluation.
    pub state: State,
    /// The log of an external computation. Other nodes have no logs.
    pub logs: Logs,
    /// The nodes that this node depends on. The list is empty if the node has already appeared in
    /// the tree.
    pub children: Vec<Explanation>,
    /// Whether the node has already appeared in the tree.
    pub repeated: bool,
}

/// Explains the state of a term and of the terms it depends on. A node that has children but no
/// label is replaced with its children. A node with multiple parents is explained only once.
#[must_use]
pub fn explain(node: &Arc<dyn AnyNode>) -> Explanation {
    explain_node(node, &mut HashSet::new())
}

fn explain_node(node: &Arc<dyn AnyNode>, seen: &mut HashSet<u64>) -> Explanation {
    let repeated = !seen.insert(node.id());
    let mut children = Vec::new();
    if !repeated {
        labelled_children(node, &mut children);
    }
    Explanation {
        id: node.id(),
        kind: node.kind(),
        label: node.label().to_owned(),
        state: node.state(),
        logs: if node.kind() == NodeKind::External { node.logs() } else { Logs::None },
        children: children.iter().map(|child| explain_node(child, seen)).collect(),
        repeated,
    }
}

/// Collects the children of a node. A child that has children but no label is replaced with its
/// children.
fn labelled_children(node: &Arc<dyn AnyNode>, found: &mut Vec<Arc<dyn AnyNode>>) {
    for child in node.children() {
        if child.label().is_empty() && !child.children().is_empty() {
            labelled_children(&child, found);
        } else {
            found.push(child);
        }
    }
}

impl fmt::Display for Explanation {
    /// Writes one line per node, indented by two spaces per level.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_indented(0, f)
    }
}

impl Explanation {
    fn write_indented(&self, level: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.label.is_empty() { self.kind.name() } else { &self.label };
        let repeated = if self.repeated { " (see above)" } else { "" };
        writeln!(f, "{:indent$}{name}: {}{repeated}", "", self.state, indent = level * 2)?;
        self.children.iter().try_for_each(|child| child.write_indented(level + 1, f))
    }
}
