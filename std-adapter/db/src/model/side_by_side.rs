//! Finds the names whose nodes differ between directories.

use std::sync::Arc;

use crate::Result;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Name, TreeDir, TreeNode};
use crate::model::tree_entry::TreeEntry;
use crate::model::tree_text::TreeEntries;

/// A name and the node with that name in each directory.
pub(crate) type NamedNodes<const N: usize> = (Name, [Option<TreeNode>; N]);

/// Compares the last two directories in `dirs`. For each name whose nodes differ between these two
/// directories, returns the name and its node in every directory in `dirs`.
pub(crate) fn side_by_side<const N: usize>(
    objects: &ObjectCache,
    dirs: &[TreeDir; N],
) -> Result<Vec<NamedNodes<N>>> {
    let mut lists = Vec::with_capacity(N);
    for dir in dirs {
        lists.push(match dir {
            TreeDir::Stored(id) => DirEntries::Stored(objects.tree(*id)?),
            TreeDir::Edited(_) => DirEntries::Edited(dir.list(objects)?),
        });
    }
    // All lists are sorted in the same order, so a single pass is enough.
    let mut left: Vec<_> = lists.iter().map(|list| list.names().peekable()).collect();
    let mut different = Vec::new();
    while let Some(name) =
        left.iter_mut().filter_map(|list| list.peek().map(|(name, _)| *name)).min()
    {
        let mut sides = [const { None }; N];
        for (side, list) in sides.iter_mut().zip(&mut left) {
            *side = list.next_if(|(there, _)| *there == name).map(|(_, node)| node);
        }
        if let [.., a, b] = sides.as_slice()
            && !a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a.is(b))
            && (a.is_some() || b.is_some())
        {
            different.push((name.clone(), sides.map(|side| side.map(|side| side.node()))));
        }
    }
    Ok(different)
}

/// The entries of a directory.
enum DirEntries {
    Stored(Arc<TreeEntries>),
    Edited(Vec<(Name, TreeNode)>),
}

/// A borrowed entry.
enum Side<'l> {
    Entry(&'l TreeEntry),
    Node(&'l TreeNode),
}

impl DirEntries {
    /// Returns the entries sorted by the bytes of their names.
    fn names(&self) -> Box<dyn Iterator<Item = (&Name, Side<'_>)> + '_> {
        match self {
            DirEntries::Stored(entries) => Box::new(
                entries.by_name().into_iter().map(|entry| (&entry.name, Side::Entry(entry))),
            ),
            DirEntries::Edited(nodes) => {
                Box::new(nodes.iter().map(|(name, node)| (name, Side::Node(node))))
            }
        }
    }
}

impl Side<'_> {
    /// Compares the entries without reading their content. Returns `false` if they may differ.
    fn is(&self, other: &Side<'_>) -> bool {
        match (self, other) {
            (Side::Entry(a), Side::Entry(b)) => (a.mode, a.id) == (b.mode, b.id),
            _ => false,
        }
    }

    fn node(&self) -> TreeNode {
        match self {
            Side::Entry(entry) => TreeNode::of(entry),
            Side::Node(node) => (*node).clone(),
        }
    }
}

pub(crate) fn dir(node: Option<&TreeNode>) -> Option<&TreeDir> {
    match node {
        Some(TreeNode::Dir(dir)) => Some(dir),
        _ => None,
    }
}

/// Compares the directories without reading their entries. Returns `false` if they may differ.
pub(crate) fn same(a: &TreeDir, b: &TreeDir) -> bool {
    match (a, b) {
        (TreeDir::Stored(a), TreeDir::Stored(b)) => a == b,
        (TreeDir::Edited(a), TreeDir::Edited(b)) if Arc::ptr_eq(a, b) => true,
        _ => a.is_empty() && b.is_empty(),
    }
}
