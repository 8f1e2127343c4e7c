//! Functions that build small trees for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Id;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Tree, TreeDir, TreeNode, join, names};
use crate::model::tree_entry::EntryMode;
use crate::store::MemoryStore;

/// The content of each file, keyed by path. A file is executable if its content begins with `x`.
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

/// Returns all files in a tree and checks that no directory contains the same name twice.
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

/// Generates files at some of the given paths. If one generated path is below another, the deeper
/// path is left out.
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

/// Paths for tests. No path is below another path in the list.
pub(crate) const APART: &[&str] = &["a", "b", "d/a", "d/b", "d/e/f", "c/x", "g"];

/// Paths for tests. Some paths are below other paths in the list.
pub(crate) const CLASHING: &[&str] =
    &["a", "a/b", "a/c", "a/b/c", "a.b", "a-", "d/a", "d", "d/a/b"];

/// Stores a chain of nested directories with a file in the innermost directory.
pub(crate) fn deep(objects: &ObjectCache, depth: usize, text: &str) -> Tree {
    let mut node = write_tree(objects, &edited(objects, &files(&[("d", text)])));
    for _ in 1..depth {
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put_node(objects, b"d", TreeNode::Dir(TreeDir::Stored(node))).unwrap();
        node = write_tree(objects, &tree);
    }
    Tree::stored(node)
}
