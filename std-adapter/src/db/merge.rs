//! Three trees into one: what each side changed, unless both changed the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::object::Mode;
use super::objects::Objects;
use super::tree::{Batch, Dir, Name, Node, Tree, join};
use super::{Id, Result, history};

/// What a merge made.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The tree. A path that could not be merged has a file that says why.
    pub tree: Tree,
    /// The paths that could not be merged, in the order of their bytes.
    pub conflicts: Vec<Conflict>,
}

/// A path that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Where.
    pub path: Vec<u8>,
    /// How they differ.
    pub why: Why,
}

/// How the two sides of a conflict differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A file on one side, a directory on the other.
    FileAndDir,
    /// One side removed what the other changed.
    RemovedAndChanged,
    /// Both made it, not in the same way.
    MadeTwice,
    /// Both changed it, not in the same way.
    ChangedTwice,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::FileAndDir => "File vs dir",
            Why::RemovedAndChanged => "option: add/del",
            Why::MadeTwice => "default: add/add and no common ancestor",
            Why::ChangedTwice => "Changed on both branches",
        })
    }
}

/// Merges `ours` and `theirs`, which both came from `base`. Directories that are the same on both are not looked into, and those in
/// which nothing is left are dropped.
///
/// # Errors
/// [`Error::NotFound`](super::Error::NotFound) where one of the trees is not in the store.
pub fn merge(objects: &Objects, base: &Tree, ours: &Tree, theirs: &Tree) -> Result<Merged> {
    let mut merge = Merge { objects, conflicts: Vec::new() };
    let tree = merge.dirs(b"", base.top(), ours.top(), theirs.top())?;
    merge.conflicts.sort();
    Ok(Merged { tree: Tree::of(tree), conflicts: merge.conflicts })
}

struct Merge<'o> {
    objects: &'o Objects,
    conflicts: Vec<Conflict>,
}

/// A file or submodule, as far as a merge tells one from another.
type File = (Mode, Id);

impl Merge<'_> {
    fn dirs(&mut self, path: &[u8], base: &Dir, ours: &Dir, theirs: &Dir) -> Result<Dir> {
        if same(ours, theirs) {
            return Ok(ours.clone());
        }
        // Where only one side has the directory nothing below can be a file here and a directory there. Elsewhere it can, also if
        // one side is as it was.
        match (ours.is_empty(), theirs.is_empty()) {
            (true, _) if same(theirs, base) => return Ok(ours.clone()),
            (true, _) if same(ours, base) => return Ok(theirs.clone()),
            (_, true) if same(ours, base) => return Ok(theirs.clone()),
            (_, true) if same(theirs, base) => return Ok(ours.clone()),
            _ => {}
        }
        let (ours, theirs) = (self.list(ours)?, self.list(theirs)?);
        let names: BTreeSet<&Name> = ours.keys().chain(theirs.keys()).collect();
        let mut merged = BTreeMap::new();
        for name in names {
            let base = base.get(self.objects, name)?;
            let node = self.nodes(join(path, name), base.as_ref(), ours.get(name), theirs.get(name))?;
            if let Some(node) = node {
                merged.insert(name.clone(), node);
            }
        }
        Ok(Dir::Edited(Arc::new(merged)))
    }

    fn list(&self, dir: &Dir) -> Result<BTreeMap<Name, Node>> {
        Ok(dir.list(self.objects)?.into_iter().collect())
    }

    fn nodes(
        &mut self,
        path: Vec<u8>,
        base: Option<&Node>,
        ours: Option<&Node>,
        theirs: Option<&Node>,
    ) -> Result<Option<Node>> {
        let empty = Dir::empty();
        let base_dir = dir(base).unwrap_or(&empty);
        match (dir(ours), dir(theirs)) {
            (None, None) => self.files(path, file(base)?, ours, theirs),
            (Some(ours), Some(theirs)) => self.below(path, base_dir, ours, theirs),
            (Some(ours), None) if theirs.is_none() => self.below(path, base_dir, ours, &empty),
            (None, Some(theirs)) if ours.is_none() => self.below(path, base_dir, &empty, theirs),
            _ => Ok(Some(self.conflict(path, Why::FileAndDir))),
        }
    }

    fn below(&mut self, path: Vec<u8>, base: &Dir, ours: &Dir, theirs: &Dir) -> Result<Option<Node>> {
        let merged = self.dirs(&path, base, ours, theirs)?;
        Ok(if merged.is_empty() { None } else { Some(Node::Dir(merged)) })
    }

    fn files(
        &mut self,
        path: Vec<u8>,
        base: Option<File>,
        ours: Option<&Node>,
        theirs: Option<&Node>,
    ) -> Result<Option<Node>> {
        let (our, their) = (file(ours)?, file(theirs)?);
        if our == their || their == base {
            return Ok(ours.cloned());
        }
        if our == base {
            return Ok(theirs.cloned());
        }
        let why = match (our, their, base) {
            (None, ..) | (_, None, _) => Why::RemovedAndChanged,
            (.., None) => Why::MadeTwice,
            (.., Some(_)) => Why::ChangedTwice,
        };
        Ok(Some(self.conflict(path, why)))
    }

    fn conflict(&mut self, path: Vec<u8>, why: Why) -> Node {
        self.conflicts.push(Conflict { path, why });
        Node::file(Mode::Normal, format!("** Conflict **\n{why}\n"))
    }
}

fn dir(node: Option<&Node>) -> Option<&Dir> {
    match node {
        Some(Node::Dir(dir)) => Some(dir),
        _ => None,
    }
}

fn file(node: Option<&Node>) -> Result<Option<File>> {
    Ok(match node {
        Some(Node::File(file)) => Some((file.mode, file.content.id()?)),
        Some(Node::Submodule(id)) => Some((Mode::Submodule, *id)),
        Some(Node::Dir(_)) | None => None,
    })
}

/// Whether two directories are known to be the same without a look into them.
fn same(a: &Dir, b: &Dir) -> bool {
    match (a, b) {
        (Dir::Stored(a), Dir::Stored(b)) => a == b,
        (Dir::Edited(a), Dir::Edited(b)) => Arc::ptr_eq(a, b) || a.is_empty() && b.is_empty(),
        _ => false,
    }
}

/// Bases of bases that are merged; a history that crosses more often than that is merged with the newest base there.
const CROSSINGS: usize = 32;

/// The tree that two commits came from: of their one lowest common ancestor, or a merge of all of them. `None` if they have nothing in
/// common.
///
/// # Errors
/// [`Error::NotFound`](super::Error::NotFound) if one of the two is not there.
pub fn base_tree(objects: &Objects, a: Id, b: Id) -> Result<Option<Tree>> {
    base_of(objects, a, b, CROSSINGS)
}

fn base_of(objects: &Objects, a: Id, b: Id, crossings: usize) -> Result<Option<Tree>> {
    let tree = |id| Ok::<_, super::Error>(Tree::stored(objects.commit(id)?.tree));
    let bases = history::merge_bases(objects, a, b)?;
    let Some((first, others)) = bases.split_first() else { return Ok(None) };
    let mut merged = tree(*first)?;
    let Some(crossings) = crossings.checked_sub(1) else { return Ok(Some(merged)) };
    for other in others {
        let below = base_of(objects, *first, *other, crossings)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
        // What cannot be merged there is a file that says so, which neither side has: it is a conflict here, too, where both differ.
        merged = merge(objects, &below, &merged, &tree(*other)?)?.tree;
    }
    // Written, so that directories are known by their names again.
    let mut batch = Batch::new();
    let id = merged.write(&mut batch)?;
    objects.store().write(&batch)?;
    Ok(Some(Tree::stored(id)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::db::Error;
    use crate::db::store::Memory;
    use crate::db::tree;

    fn objects() -> Objects {
        Objects::new(Arc::new(Memory::new()))
    }

    type Files = BTreeMap<String, String>;

    /// A stored tree of these files.
    fn tree_of(objects: &Objects, files: &Files) -> Tree {
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        for (path, text) in files {
            let names: Vec<_> = tree::names(path.as_bytes()).collect();
            for depth in 1..names.len() {
                let dir = names[..depth].join(&b'/');
                if tree.get(objects, &dir).is_err() {
                    tree.put(objects, &dir, Node::Dir(Dir::empty())).unwrap();
                }
            }
            tree.put(objects, path.as_bytes(), Node::file(Mode::Normal, text.as_str())).unwrap();
        }
        let mut batch = Batch::new();
        let id = tree.write(&mut batch).unwrap();
        objects.store().write(&batch).unwrap();
        Tree::stored(id)
    }

    fn files_of(objects: &Objects, tree: &Tree) -> Files {
        fn add(objects: &Objects, path: &[u8], dir: &Dir, files: &mut Files) {
            for (name, node) in dir.list(objects).unwrap() {
                let path = join(path, &name);
                match node {
                    Node::Dir(dir) => add(objects, &path, &dir, files),
                    Node::File(file) => {
                        let text = String::from_utf8(file.content.bytes(objects).unwrap().to_vec()).unwrap();
                        files.insert(String::from_utf8(path).unwrap(), text);
                    }
                    Node::Submodule(_) => panic!("no submodules here"),
                }
            }
        }
        let mut files = Files::new();
        add(objects, b"", tree.top(), &mut files);
        files
    }

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    fn merged(base: &[(&str, &str)], ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> (Files, Vec<Conflict>) {
        let objects = objects();
        let tree = |list| tree_of(&objects, &files(list));
        let merged = merge(&objects, &tree(base), &tree(ours), &tree(theirs)).unwrap();
        (files_of(&objects, &merged.tree), merged.conflicts)
    }

    fn marker(why: &str) -> String {
        format!("** Conflict **\n{why}\n")
    }

    #[test]
    fn each_case_of_the_table() {
        let both = merged(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")], &[("a", "1"), ("b", "2")]);
        assert_eq!(both, (files(&[("a", "2"), ("b", "2")]), vec![]));
        let gone = merged(&[("a", "1"), ("d/x", "1")], &[("a", "1"), ("d/x", "1")], &[("a", "1")]);
        assert_eq!(gone, (files(&[("a", "1")]), vec![]));
        for (base, ours, theirs, why) in [
            (&[("p", "1")][..], &[("p", "2")][..], &[][..], Why::RemovedAndChanged),
            (&[], &[("p", "1")], &[("p", "2")], Why::MadeTwice),
            (&[("p", "1")], &[("p", "2")], &[("p", "3")], Why::ChangedTwice),
            (&[("p", "1")], &[("p", "1")], &[("p/x", "1")], Why::FileAndDir),
            (&[("p/x", "1")], &[("p", "1")], &[("p/x", "1"), ("p/y", "1")], Why::FileAndDir),
        ] {
            let (files, conflicts) = merged(base, ours, theirs);
            assert_eq!(conflicts, [Conflict { path: b"p".to_vec(), why }]);
            assert_eq!(files["p"], marker(&why.to_string()));
            assert_eq!(merged(base, theirs, ours).1, conflicts);
        }
    }

    #[test]
    fn the_same_directories_are_not_read() {
        let objects = objects();
        let nowhere = |name: &str| {
            let entry =
                crate::db::object::TreeEntry { name: name.as_bytes().into(), mode: Mode::Dir, id: Id::EMPTY_TREE };
            Node::Dir(Dir::Stored(crate::db::object::encode_tree([entry]).unwrap().0))
        };
        let tree = |far: &str, near: &str| {
            let mut tree = Tree::stored(Id::EMPTY_TREE);
            tree.put(&objects, b"far", nowhere(far)).unwrap();
            tree.put(&objects, b"near", Node::file(Mode::Normal, near)).unwrap();
            tree
        };
        let merged = merge(&objects, &tree("a", "1"), &tree("b", "2"), &tree("b", "1")).unwrap();
        assert_eq!(merged.tree.get(&objects, b"far").unwrap(), nowhere("b"));
        assert_eq!(merge(&objects, &tree("a", ""), &tree("b", ""), &tree("c", "")).unwrap_err(), Error::NotFound);
    }

    fn some_files() -> impl Strategy<Value = Files> {
        let path = prop::sample::select(vec!["a", "b", "d/a", "d/b", "d/e/f", "c/x", "g"]);
        prop::collection::btree_map(path.prop_map(str::to_owned), "[0-2]", 0..6)
    }

    proptest! {
        #[test]
        fn one_side_alone_is_taken(base in some_files(), changed in some_files()) {
            let objects = objects();
            let (base, side) = (tree_of(&objects, &base), tree_of(&objects, &changed));
            for (ours, theirs) in [(&base, &side), (&side, &base), (&side, &side)] {
                let merged = merge(&objects, &base, ours, theirs).unwrap();
                prop_assert_eq!(merged.conflicts, vec![]);
                prop_assert_eq!(&files_of(&objects, &merged.tree), &changed);
            }
        }

        #[test]
        fn every_path_is_as_the_three_say(base in some_files(), ours in some_files(), theirs in some_files()) {
            let objects = objects();
            let tree = |files| tree_of(&objects, files);
            let merged = merge(&objects, &tree(&base), &tree(&ours), &tree(&theirs)).unwrap();
            let swapped = merge(&objects, &tree(&base), &tree(&theirs), &tree(&ours)).unwrap();
            prop_assert_eq!(&merged.conflicts, &swapped.conflicts);
            let files = files_of(&objects, &merged.tree);
            let paths: BTreeSet<_> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
            for path in paths {
                let (b, o, t) = (base.get(path), ours.get(path), theirs.get(path));
                let conflict = o != t && o != b && t != b;
                prop_assert_eq!(conflict, merged.conflicts.iter().any(|found| found.path == path.as_bytes()));
                if !conflict {
                    prop_assert_eq!(files.get(path), if o == b { t } else { o });
                }
            }
        }
    }
}
