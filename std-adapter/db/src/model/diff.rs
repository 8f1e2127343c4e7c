//! Computes the differences between two trees.

use crate::Result;
use crate::model::object_cache::ObjectCache;
use crate::model::side_by_side::{dir, same, side_by_side};
use crate::model::tree::{Tree, TreeDir, TreeNode, join};

/// A file that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The kind of difference.
    pub kind: ChangeKind,
    /// The path of the file.
    pub path: Vec<u8>,
}

/// A kind of difference between an old tree and a new tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The file exists only in the new tree.
    Added,
    /// The file exists only in the old tree.
    Removed,
    /// The file exists in both trees, with different content or modes.
    Changed,
}

/// Returns the files that differ between two trees, sorted by the bytes of their paths. Directories
/// and submodules are not listed. Identical directories are not read.
///
/// # Errors
/// Returns [`Error::Broken`](crate::Error::Broken) if a tree is missing or cannot be read.
pub fn diff(objects: &ObjectCache, old: &Tree, new: &Tree) -> Result<Vec<Change>> {
    let mut diff = Diff { objects, changes: Vec::new(), left: Vec::new() };
    diff.dirs(Vec::new(), old.top(), new.top());
    // Use a loop instead of recursion, because directories may be nested to any depth.
    while let Some((path, dirs)) = diff.left.pop() {
        diff.names(&path, &dirs)?;
    }
    diff.changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(diff.changes)
}

/// Formats each change as a `+ PATH`, `- PATH` or `* PATH` line.
#[must_use]
pub fn render(changes: &[Change]) -> Vec<u8> {
    let mut text = Vec::new();
    for Change { kind, path } in changes {
        let sign = match kind {
            ChangeKind::Added => b"+ ",
            ChangeKind::Removed => b"- ",
            ChangeKind::Changed => b"* ",
        };
        text.extend([sign, path.as_slice(), b"\n"].concat());
    }
    text
}

struct Diff<'o> {
    objects: &'o ObjectCache,
    changes: Vec<Change>,
    /// The pairs of directories that have not been compared yet.
    left: Vec<(Vec<u8>, [TreeDir; 2])>,
}

impl Diff<'_> {
    fn dirs(&mut self, path: Vec<u8>, old: &TreeDir, new: &TreeDir) {
        if !same(old, new) {
            self.left.push((path, [old.clone(), new.clone()]));
        }
    }

    fn names(&mut self, path: &[u8], dirs: &[TreeDir; 2]) -> Result<()> {
        for (name, [old, new]) in
            side_by_side(self.objects, dirs).map_err(|error| error.at(path))?
        {
            self.nodes(join(path, &name), old.as_ref(), new.as_ref())?;
        }
        Ok(())
    }

    fn nodes(
        &mut self,
        path: Vec<u8>,
        old: Option<&TreeNode>,
        new: Option<&TreeNode>,
    ) -> Result<()> {
        let kind = match (file(old)?, file(new)?) {
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Removed),
            (old, new) => (old != new).then_some(ChangeKind::Changed),
        };
        if let Some(kind) = kind {
            self.changes.push(Change { kind, path: path.clone() });
        }
        let empty = TreeDir::empty();
        self.dirs(path, dir(old).unwrap_or(&empty), dir(new).unwrap_or(&empty));
        Ok(())
    }
}

fn file(
    node: Option<&TreeNode>,
) -> Result<Option<(crate::model::tree_entry::EntryMode, crate::Id)>> {
    match node {
        Some(TreeNode::File(file)) => Ok(Some((file.mode, file.content.id()?))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Id;
    use crate::model::test_trees::{CLASHING, deep, edited, files_of, objects, some_files, stored};
    use crate::model::tree_entry::EntryMode;

    #[test]
    fn d49_lists_differences_by_path() {
        let objects = objects();
        let mut old = Tree::stored(Id::EMPTY_TREE);
        let put = |tree: &mut Tree, path: &str, node| {
            tree.put_node(&objects, path.as_bytes(), node).unwrap()
        };
        put(&mut old, "a", TreeNode::Dir(TreeDir::empty()));
        for path in ["a/b", "a.c", "mode", "same", "turned"] {
            put(&mut old, path, TreeNode::file(EntryMode::Normal, path));
        }
        let mut new = old.clone();
        put(&mut new, "a/b", TreeNode::file(EntryMode::Normal, "other"));
        put(&mut new, "mode", TreeNode::file(EntryMode::Exec, "mode"));
        put(&mut new, "turned", TreeNode::Dir(TreeDir::empty()));
        put(&mut new, "turned/x", TreeNode::file(EntryMode::Normal, ""));
        put(&mut new, "module", TreeNode::Submodule(Id::EMPTY_TREE));
        new.remove_node(&objects, b"a.c").unwrap();
        let text = String::from_utf8(render(&diff(&objects, &old, &new).unwrap())).unwrap();
        assert_eq!(text, "- a.c\n* a/b\n* mode\n- turned\n+ turned/x\n");
        assert_eq!(diff(&objects, &new, &new).unwrap(), []);
    }
    #[test]
    fn diffs_deep_directories() {
        let objects = objects();
        let changes =
            diff(&objects, &deep(&objects, 5000, "1"), &deep(&objects, 5000, "2")).unwrap();
        assert_eq!((changes.len(), changes[0].kind), (1, ChangeKind::Changed));
    }

    proptest! {
        #[test]
        fn changes_turn_the_old_tree_into_the_new([old, new] in [some_files(CLASHING), some_files(CLASHING)]) {
            let objects = objects();
            for old_tree in [stored(&objects, &old), edited(&objects, &old)] {
                let new_tree = stored(&objects, &new);
                let changes = diff(&objects, &old_tree, &new_tree).unwrap();
                prop_assert!(changes.is_sorted_by(|a, b| a.path < b.path));
                let mut files = files_of(&objects, &old_tree);
                for Change { kind, path } in changes {
                    let path = String::from_utf8(path).unwrap();
                    let before = match kind {
                        ChangeKind::Removed => files.remove(&path),
                        ChangeKind::Added | ChangeKind::Changed => files.insert(path.clone(), new[&path].clone()),
                    };
                    prop_assert_eq!(before.is_some(), kind != ChangeKind::Added);
                    prop_assert_ne!(before.as_ref(), new.get(&path));
                }
                prop_assert_eq!(&files, &new);
            }
        }
    }
}
