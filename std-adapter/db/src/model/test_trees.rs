//! Small trees for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Id;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Tree, TreeDir, TreeNode, join, names};
use crate::model::tree_entry::EntryMode;
use crate::store::MemoryStore;

/// The paths and contents of files. The content of an executable file begins with `x`.
pub(crate) type Files = BTreeMap<String, String>;

pub(crate) fn objects() -> ObjectCache {
    ObjectCache::new(Arc::new(MemoryStore::new()))
}

pub(crate) fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Builds a tree that contains `files`, but does not write it to the store.
pub(crate) fn edited(objects: &ObjectCache, files: &Files) -> Tree {
    let mut tree = Tree::stored(Id::EMPTY_TREE);
    for (path, text) in files {
        let names: Vec<_> = names(path.as_bytes()).collect();
        for depth in 1..names.len() {
            let dir = names[..depth].join(&b'/');
            if tree.get(objects, &dir).is_err() {
                tree.put_node(objects, &dir, TreeNode::Dir(TreeDir::empty())).unwrap();
            }
        }
        let mode = if text.starts_with('x') { EntryMode::Exec } else { EntryMode::Normal };
        tree.put_node(objects, path.as_bytes(), TreeNode::file(mode, text.trim_start_matches('x')))
            .unwrap();
    }
    tree
}

pub(crate) fn write_tree(objects: &ObjectCache, tree: &Tree) -> Id {
    let mut batch = NewObjects::new();
    let id = tree.write(&mut batch).unwrap();
    objects.store().write(&batch).unwrap();
    id
}

pub(crate) fn stored(objects: &ObjectCache, files: &Files) -> Tree {
    Tree::stored(write_tree(objects, &edited(objects, files)))
}

/// Returns the files of a tree, and checks that no name occurs twice.
pub(crate) fn files_of(objects: &ObjectCache, tree: &Tree) -> Files {
    fn add(objects: &ObjectCache, path: &[u8], dir: &TreeDir, files: &mut Files) {
        for (name, node) in dir.list(objects).unwrap() {
            let path = join(path, &name);
            match node {
                TreeNode::Dir(dir) => add(objects, &path, &dir, files),
                TreeNode::File(file) => {
                    let text =
                        String::from_utf8(file.content.bytes(objects).unwrap().to_vec()).unwrap();
                    let text = if file.mode == EntryMode::Exec { format!("x{text}") } else { text };
                    assert_eq!(files.insert(String::from_utf8(path).unwrap(), text), None);
                }
                TreeNode::Submodule(_) => panic!("no submodules here"),
            }
        }
    }
    let mut files = Files::new();
    add(objects, b"", tree.top(), &mut files);
    files
}

/// Generates files at some of `paths`. A path below another generated path is left out.
pub(crate) fn some_files(paths: &'static [&'static str]) -> impl Strategy<Value = Files> {
    let path = prop::sample::select(paths);
    prop::collection::btree_map(path.prop_map(str::to_owned), "x?[01]", 0..7).prop_map(
        |files: Files| {
            let is_below =
                |path: &str| files.keys().any(|above| path.starts_with(&format!("{above}/")));
            files
                .iter()
                .filter(|(path, _)| !is_below(path))
                .map(|(path, text)| (path.clone(), text.clone()))
                .collect()
        },
    )
}

/// Paths, none of which is below another.
pub(crate) const APART: &[&str] = &["a", "b", "d/a", "d/b", "d/e/f", "c/x", "g"];

/// Paths, some of which are below others.
pub(crate) const CLASHING: &[&str] =
    &["a", "a/b", "a/c", "a/b/c", "a.b", "a-", "d/a", "d", "d/a/b"];

/// Stores nested directories with a file in the innermost one.
pub(crate) fn deep(objects: &ObjectCache, depth: usize, text: &str) -> Tree {
    let mut node = write_tree(objects, &edited(objects, &files(&[("d", text)])));
    for _ in 1..depth {
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put_node(objects, b"d", TreeNode::Dir(TreeDir::Stored(node))).unwrap();
        node = write_tree(objects, &tree);
    }
    Tree::stored(node)
}
