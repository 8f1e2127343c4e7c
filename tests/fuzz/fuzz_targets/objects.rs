//! Checks that decoding arbitrary bytes as a commit or tree never panics. No entry in a decoded
//! tree may refer to a file outside the directory that the tree describes. Encoding a decoded
//! commit must yield a commit that can be decoded again.
//!
//! The input consists of two objects, preceded by a two-byte field that contains the length of the
//! first object. Each object is decoded both as a commit and as a tree. If both objects are valid
//! trees, the target also compares and merges them.
#![no_main]

use std::sync::Arc;

use datakit_db::Id;
use datakit_db::fuzz::diff::diff;
use datakit_db::fuzz::history;
use datakit_db::fuzz::merge::merge;
use datakit_db::fuzz::object_cache::ObjectCache;
use datakit_db::fuzz::tree::Tree;
use datakit_db::object::{Commit, Object, ObjectKind};
use datakit_db::store::{MemoryStore, Store};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[low, high], rest)) = data.split_first_chunk() else { return };
    let (first, second) =
        rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
    let store = Arc::new(MemoryStore::new());
    let objects = ObjectCache::new(store.clone());
    let trees = [first, second].map(|data| {
        commit(&objects, &*store, data);
        tree(&objects, &*store, data)
    });
    let [Some(ours), Some(theirs)] = trees else { return };
    let _ = diff(&objects, &ours, &theirs);
    let _ = merge(&objects, &Tree::of(datakit_db::fuzz::tree::TreeDir::empty()), &ours, &theirs);
});

fn stored(store: &dyn Store, kind: ObjectKind, data: &[u8]) -> Option<Id> {
    let (id, object) = Object::new(kind, data).ok()?;
    store.write(&[(id, object)]).ok()?;
    Some(id)
}

fn commit(objects: &ObjectCache, store: &dyn Store, data: &[u8]) {
    let Some(id) = stored(store, ObjectKind::Commit, data) else { return };
    let direct = Commit::decode(data);
    assert_eq!(direct.is_ok(), objects.commit(id).is_ok());
    let Ok(commit) = direct else { return };
    let _ = commit.date();
    assert!(!commit.author.contains('\n'), "{commit:?}");
    // The log must contain at least the decoded commit, even though the commit's parents are not in
    // the store.
    let found = history::log(objects, id).take(10).count();
    assert!(found >= 1);
    let written = Commit::encode(commit.tree, &commit.parents, &commit.message, commit.time);
    let Ok((_, object)) = written else { return };
    let again = Commit::decode(&object.data).expect("an encoded commit can be decoded");
    assert_eq!(
        (again.tree, again.parents, again.message),
        (commit.tree, commit.parents, commit.message)
    );
}

fn tree(objects: &ObjectCache, store: &dyn Store, data: &[u8]) -> Option<Tree> {
    let id = stored(store, ObjectKind::Tree, data)?;
    let tree = Tree::stored(id);
    let names = tree.top().list(objects).ok()?;
    for (name, _) in &names {
        let name: &[u8] = name;
        let inside =
            !name.contains(&b'/') && !name.contains(&0) && !matches!(name, b"" | b"." | b"..");
        assert!(inside, "{name:?} leads out of the directory");
        assert!(
            tree.top().get(objects, name).is_ok_and(|node| node.is_some()),
            "{name:?} is listed but not found"
        );
    }
    Some(tree)
}
