//! The graph to draw: its nodes, its edges, and the positions of the nodes.

use std::collections::HashMap;

use crate::term::{Explanation, Logs, State};

/// The maximum number of nodes in a picture. A picture with more nodes is unreadable.
const NODES_MAX: usize = 150;

/// How many times the nodes of all layers are sorted.
const SWEEPS: usize = 4;

/// A node in a picture.
#[derive(Debug, Clone)]
pub(super) struct GraphNode {
    pub(super) label: String,
    pub(super) state: State,
    pub(super) logs: Logs,
    /// The column, which is one more than the highest column among the nodes that this node depends
    /// on.
    pub(super) layer: usize,
    /// The position within the column.
    pub(super) row: usize,
}

/// A graph without cycles.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<GraphNode>,
    /// Pairs of nodes. The second node of each pair depends on the first.
    pub(super) edges: Vec<(usize, usize)>,
    /// The number of nodes that do not fit.
    pub(super) left_out: usize,
}

impl Graph {
    /// Creates the graph of a job and positions its nodes.
    pub(super) fn new(name: &str, root: &Explanation) -> Graph {
        let mut graph = Graph::default();
        let mut known = HashMap::new();
        graph.add(name, root, &mut known);
        graph.edges.sort_unstable();
        graph.edges.dedup();
        graph.place();
        graph
    }

    /// Adds a node and the nodes it depends on. Returns the node's number, or `None` if the graph
    /// is full.
    fn add(
        &mut self,
        name: &str,
        explained: &Explanation,
        known: &mut HashMap<u64, usize>,
    ) -> Option<usize> {
        if let Some(number) = known.get(&explained.id) {
            return Some(*number);
        }
        if self.nodes.len() >= NODES_MAX {
            self.left_out += 1;
            return None;
        }
        let number = self.nodes.len();
        known.insert(explained.id, number);
        self.nodes.push(GraphNode {
            label: name.to_owned(),
            state: explained.state.clone(),
            logs: explained.logs.clone(),
            layer: 0,
            row: 0,
        });
        for child in &explained.children {
            // A constant without a name adds no information to its parent.
            if child.label.is_empty() && child.children.is_empty() && !child.repeated {
                continue;
            }
            let name = if child.label.is_empty() { child.kind.name() } else { &child.label };
            if let Some(child) = self.add(name, child, known) {
                self.edges.push((child, number));
            }
        }
        Some(number)
    }

    fn place(&mut self) {
        // The children of a node can have lower numbers if they were added for another parent, so
        // the layers are computed repeatedly until they no longer change. The loop ends because the
        // graph has no cycles.
        for _ in 0..self.nodes.len() {
            let mut changed = false;
            for (from, to) in &self.edges {
                let above = self.nodes.get(*from).map_or(0, |node| node.layer + 1);
                if let Some(node) = self.nodes.get_mut(*to).filter(|node| node.layer < above) {
                    node.layer = above;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.pull_right();
        for number in 0..self.nodes.len() {
            let layer = self.nodes.get(number).map_or(0, |node| node.layer);
            let row = self.nodes.iter().take(number).filter(|node| node.layer == layer).count();
            if let Some(node) = self.nodes.get_mut(number) {
                node.row = row;
            }
        }
        for sweep in 0..SWEEPS {
            self.sort_rows(sweep % 2 == 0);
        }
    }

    /// Moves each node next to the first node that depends on it, to shorten the edges.
    fn pull_right(&mut self) {
        for _ in 0..self.nodes.len() {
            let mut changed = false;
            for number in 0..self.nodes.len() {
                let parents = self.edges.iter().filter(|(from, _)| *from == number);
                let layers = parents.filter_map(|(_, to)| self.nodes.get(*to)).map(|to| to.layer);
                let Some(right) = layers.min() else { continue };
                let wanted = right.saturating_sub(1);
                if let Some(node) = self.nodes.get_mut(number).filter(|node| node.layer < wanted) {
                    node.layer = wanted;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Sorts the nodes of each layer by the average row of their neighbours on one side, which
    /// avoids most edge crossings.
    fn sort_rows(&mut self, towards_children: bool) {
        for layer in 0..self.layers() {
            let members: Vec<usize> =
                (0..self.nodes.len()).filter(|n| self.layer(*n) == Some(layer)).collect();
            let mut keyed: Vec<(usize, usize)> = members
                .iter()
                .map(|number| (self.average_row(*number, towards_children), *number))
                .collect();
            keyed.sort();
            for (row, (_, number)) in keyed.into_iter().enumerate() {
                if let Some(node) = self.nodes.get_mut(number) {
                    node.row = row;
                }
            }
        }
    }

    fn layer(&self, number: usize) -> Option<usize> {
        self.nodes.get(number).map(|node| node.layer)
    }

    /// Returns the average row of the neighbours, in thousandths of a row.
    fn average_row(&self, number: usize, of_children: bool) -> usize {
        let neighbours = self.edges.iter().filter_map(|(from, to)| match of_children {
            true => (*to == number).then_some(*from),
            false => (*from == number).then_some(*to),
        });
        let rows: Vec<usize> =
            neighbours.filter_map(|other| self.nodes.get(other)).map(|node| node.row).collect();
        match rows.len() {
            0 => self.nodes.get(number).map_or(0, |node| node.row * 1000),
            count => rows.iter().sum::<usize>() * 1000 / count,
        }
    }

    /// Returns the number of columns.
    pub(super) fn layers(&self) -> usize {
        self.nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0)
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.nodes.iter().map(|node| node.row + 1).max().unwrap_or(0)
    }

    /// Returns the number of rows in one column.
    pub(super) fn rows_of(&self, layer: usize) -> usize {
        self.nodes.iter().filter(|node| node.layer == layer).count()
    }
}
