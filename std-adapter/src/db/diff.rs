//! What is different between two trees.

use std::collections::{BTreeMap, BTreeSet};

use super::Result;
use super::objects::Objects;
use super::tree::{Dir, Name, Node, Tree, join};

/// A file that is not the same in two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub how: How,
    /// Where.
    pub path: Vec<u8>,
}

/// What happened to a file between an old tree and a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is only in the new one.
    Added,
    /// It is only in the old one.
    Removed,
    /// Its content or mode is another one.
    Changed,
}

/// The files that differ, in the order of their paths' bytes. Directories are no change of their own; those that are the same are not
/// looked into. Submodules are not shown.
///
/// # Errors
/// [`Error::NotFound`](super::Error::NotFound) where one of the trees is not in the store.
pub fn diff(objects: &Objects, old: &Tree, new: &Tree) -> Result<Vec<Change>> {
    let mut diff = Diff { objects, changes: Vec::new() };
    diff.dirs(b"", Some(old.top()), Some(new.top()))?;
    diff.changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(diff.changes)
}

/// A line a change: `+ PATH`, `- PATH` or `* PATH`.
#[must_use]
pub fn render(changes: &[Change]) -> Vec<u8> {
    let mut text = Vec::new();
    for Change { how, path } in changes {
        let sign = match how {
            How::Added => b"+ ",
            How::Removed => b"- ",
            How::Changed => b"* ",
        };
        text.extend([sign, path.as_slice(), b"\n"].concat());
    }
    text
}

struct Diff<'o> {
    objects: &'o Objects,
    changes: Vec<Change>,
}

impl Diff<'_> {
    fn dirs(&mut self, path: &[u8], old: Option<&Dir>, new: Option<&Dir>) -> Result<()> {
        if let (Some(Dir::Stored(old)), Some(Dir::Stored(new))) = (old, new)
            && old == new
        {
            return Ok(());
        }
        let (old, new) = (self.list(old)?, self.list(new)?);
        let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
        for name in names {
            self.nodes(join(path, name), old.get(name), new.get(name))?;
        }
        Ok(())
    }

    fn list(&self, dir: Option<&Dir>) -> Result<BTreeMap<Name, Node>> {
        dir.map_or(Ok(BTreeMap::new()), |dir| Ok(dir.list(self.objects)?.into_iter().collect()))
    }

    fn nodes(&mut self, path: Vec<u8>, old: Option<&Node>, new: Option<&Node>) -> Result<()> {
        if dir(old).or(dir(new)).is_some() {
            self.dirs(&path, dir(old), dir(new))?;
        }
        let how = match (file(old)?, file(new)?) {
            (None, None) => return Ok(()),
            (None, Some(_)) => How::Added,
            (Some(_), None) => How::Removed,
            (Some(old), Some(new)) if old == new => return Ok(()),
            (Some(_), Some(_)) => How::Changed,
        };
        self.changes.push(Change { how, path });
        Ok(())
    }
}

fn dir(node: Option<&Node>) -> Option<&Dir> {
    match node {
        Some(Node::Dir(dir)) => Some(dir),
        _ => None,
    }
}

fn file(node: Option<&Node>) -> Result<Option<(super::object::Mode, super::Id)>> {
    match node {
        Some(Node::File(file)) => Ok(Some((file.mode, file.content.id()?))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::db::Id;
    use crate::db::object::Mode;
    use crate::db::store::Memory;

    #[test]
    fn d49_what_differs_is_listed_by_path() {
        let objects = Objects::new(Arc::new(Memory::new()));
        let mut old = Tree::stored(Id::EMPTY_TREE);
        let put = |tree: &mut Tree, path: &str, node| tree.put(&objects, path.as_bytes(), node).unwrap();
        put(&mut old, "a", Node::Dir(Dir::empty()));
        for path in ["a/b", "a.c", "mode", "same", "turned"] {
            put(&mut old, path, Node::file(Mode::Normal, path));
        }
        let mut new = old.clone();
        put(&mut new, "a/b", Node::file(Mode::Normal, "other"));
        put(&mut new, "mode", Node::file(Mode::Exec, "mode"));
        put(&mut new, "turned", Node::Dir(Dir::empty()));
        put(&mut new, "turned/x", Node::file(Mode::Normal, ""));
        put(&mut new, "module", Node::Submodule(Id::EMPTY_TREE));
        new.take(&objects, b"a.c").unwrap();
        let text = String::from_utf8(render(&diff(&objects, &old, &new).unwrap())).unwrap();
        assert_eq!(text, "- a.c\n* a/b\n* mode\n- turned\n+ turned/x\n");
        assert_eq!(diff(&objects, &new, &new).unwrap(), []);
    }
}
