//! What is different between two trees.

use crate::Result;
use crate::model::object_cache::ObjectCache;
use crate::model::side_by_side::{dir, same, side_by_side};
use crate::model::tree::{Tree, TreeDir, TreeNode, join};

/// A file that is not the same in two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub kind: ChangeKind,
    /// Where.
    pub path: Vec<u8>,
}

/// What happened to a file between an old tree and a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is only in the new one.
    Added,
    /// It is only in the old one.
    Removed,
    /// Its content or mode is another one.
    Changed,
}

/// The files that differ, in the order of their paths' bytes. Directories are no change of their
/// own; those that are the same are not looked into. Submodules are not shown.
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound) where one of the trees is not in the store.
pub fn diff(objects: &ObjectCache, old: &Tree, new: &Tree) -> Result<Vec<Change>> {
    let mut diff = Diff { objects, changes: Vec::new(), left: Vec::new() };
    diff.dirs(Vec::new(), old.top(), new.top());
    // No recursion: a client or a repository may have any number of directories in each other.
    while let Some((path, dirs)) = diff.left.pop() {
        diff.names(&path, &dirs)?;
    }
    diff.changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(diff.changes)
}

/// A line a change: `+ PATH`, `- PATH` or `* PATH`.
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
    /// Directories to be looked into, old and new.
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

fn file(node: Option<&TreeNode>) -> Result<Option<(crate::model::object::EntryMode, crate::Id)>> {
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
    use crate::model::object::EntryMode;
    use crate::model::test_trees::{CLASHING, deep, edited, files_of, objects, some_files, stored};

    #[test]
    fn d49_what_differs_is_listed_by_path() {
        let objects = objects();
        let mut old = Tree::stored(Id::EMPTY_TREE);
        let put =
            |tree: &mut Tree, path: &str, node| tree.put(&objects, path.as_bytes(), node).unwrap();
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
        new.take(&objects, b"a.c").unwrap();
        let text = String::from_utf8(render(&diff(&objects, &old, &new).unwrap())).unwrap();
        assert_eq!(text, "- a.c\n* a/b\n* mode\n- turned\n+ turned/x\n");
        assert_eq!(diff(&objects, &new, &new).unwrap(), []);
    }
    #[test]
    fn directories_may_be_deep() {
        let objects = objects();
        let changes =
            diff(&objects, &deep(&objects, 5000, "1"), &deep(&objects, 5000, "2")).unwrap();
        assert_eq!((changes.len(), changes[0].kind), (1, ChangeKind::Changed));
    }

    proptest! {
        #[test]
        fn changes_lead_from_the_old_to_the_new([old, new] in [some_files(CLASHING), some_files(CLASHING)]) {
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
