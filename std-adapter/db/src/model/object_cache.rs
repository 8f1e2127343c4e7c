//! Objects read and understood: what the rest of the database asks, with a cache of what was asked
//! before.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::model::object::{Commit, Object, ObjectKind, TreeEntries};
use crate::store::Store;
use crate::{Error, Fault, Id, Result};

/// Bytes that each of the three caches may hold, about. A server of a large repository is to stay
/// small.
const CACHE_BYTES: u64 = 8 << 20;

/// A larger blob is not kept: it would throw out many small ones.
const MAX_CACHED_BLOB: usize = 64 << 10;

/// A tree of more bytes is not kept in a cache. It would throw out the others, if it were let in at
/// all.
const MAX_CACHED_TREE: u64 = 512 << 10;

/// Parts of a cache that are locked one by one. What is larger than a part is not let in.
const CACHE_SHARDS: usize = 8;

/// A store with what was read from it lately. Clones are the same.
#[derive(Clone)]
pub struct ObjectCache(Arc<CacheState>);

struct CacheState {
    store: Arc<dyn Store>,
    trees: Cache<Id, Arc<TreeEntries>, Weight>,
    /// The last two that are larger than what is cached. Each file of a listing is looked up in its
    /// directory.
    large: Mutex<[Option<NamedTree>; 2]>,
    commits: Cache<Id, Arc<Commit>, Weight>,
    blobs: Cache<Id, Arc<[u8]>, Weight>,
    /// Larger ones that somebody has open: each is in memory once, and for no longer.
    shared: Mutex<HashMap<Id, Weak<[u8]>>>,
    lengths: Cache<Id, u64, Weight>,
}

/// A tree by its name.
type NamedTree = (Id, Arc<TreeEntries>);

/// Bytes that a cached value takes, about.
#[derive(Clone)]
struct Weight;

impl Weighter<Id, Arc<TreeEntries>> for Weight {
    fn weight(&self, _: &Id, tree: &Arc<TreeEntries>) -> u64 {
        tree.weight()
    }
}

impl Weighter<Id, Arc<Commit>> for Weight {
    fn weight(&self, _: &Id, commit: &Arc<Commit>) -> u64 {
        256 + commit.message.len() as u64 + 20 * commit.parents.len() as u64
    }
}

impl Weighter<Id, Arc<[u8]>> for Weight {
    fn weight(&self, _: &Id, blob: &Arc<[u8]>) -> u64 {
        64 + blob.len() as u64
    }
}

impl Weighter<Id, u64> for Weight {
    fn weight(&self, _: &Id, _: &u64) -> u64 {
        64
    }
}

impl ObjectCache {
    /// What is in `store`, nothing cached.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> ObjectCache {
        fn cache<V: Clone>() -> Cache<Id, V, Weight>
        where
            Weight: Weighter<Id, V>,
        {
            let mut options = OptionsBuilder::new();
            options
                .estimated_items_capacity(1024)
                .weight_capacity(CACHE_BYTES)
                .shards(CACHE_SHARDS);
            match options.build() {
                Ok(options) => Cache::with_options(
                    options,
                    Weight,
                    DefaultHashBuilder::default(),
                    DefaultLifecycle::default(),
                ),
                // Only without one of the two capacities.
                Err(_) => Cache::with_weighter(1024, CACHE_BYTES, Weight),
            }
        }
        ObjectCache(Arc::new(CacheState {
            store,
            trees: cache(),
            large: Mutex::default(),
            commits: cache(),
            blobs: cache(),
            shared: Mutex::default(),
            lengths: cache(),
        }))
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The content of a blob.
    ///
    /// # Errors
    /// [`Error::Broken`] if there is none of that name, or it is something else, or cannot be read.
    pub fn blob(&self, id: Id) -> Result<Arc<[u8]>> {
        if let Some(blob) = self.0.blobs.get(&id) {
            return Ok(blob);
        }
        if let Some(blob) = self.0.shared.lock().get(&id).and_then(Weak::upgrade) {
            return Ok(blob);
        }
        let blob = self.read(id, ObjectKind::Blob)?;
        // A store in memory is its own cache.
        if self.0.store.may_block() {
            if blob.len() <= MAX_CACHED_BLOB {
                self.0.blobs.insert(id, blob.clone());
            } else {
                self.share(id, &blob);
            }
        }
        Ok(blob)
    }

    /// Has others that open a large blob use this one.
    fn share(&self, id: Id, blob: &Arc<[u8]>) {
        let mut shared = self.0.shared.lock();
        // What nobody has open any more goes when the table would grow.
        if shared.len() == shared.capacity() {
            shared.retain(|_, blob| blob.strong_count() > 0);
        }
        shared.insert(id, Arc::downgrade(blob));
    }

    /// The length of a blob in bytes.
    ///
    /// # Errors
    /// Those of [`blob`](ObjectCache::blob).
    pub fn blob_length(&self, id: Id) -> Result<u64> {
        if let Some(blob) = self.0.blobs.get(&id) {
            return Ok(blob.len() as u64);
        }
        if let Some(length) = self.0.lengths.get(&id) {
            return Ok(length);
        }
        let length = match self.0.store.header(id) {
            Ok(Some((ObjectKind::Blob, length))) => length,
            Ok(Some(_)) => return Err(broken(id, Fault::OtherKind(ObjectKind::Blob))),
            Ok(None) => return Err(broken(id, Fault::Missing)),
            Err(error) => return Err(unreadable(id, error)),
        };
        self.0.lengths.insert(id, length);
        Ok(length)
    }

    /// The bytes of a tree.
    ///
    /// # Errors
    /// Those of [`blob`](ObjectCache::blob).
    pub(crate) fn tree_data(&self, id: Id) -> Result<Arc<[u8]>> {
        self.read(id, ObjectKind::Tree)
    }

    /// The entries of a tree, in Git's order.
    ///
    /// # Errors
    /// [`Error::Broken`] if there is none of that name, or it is something else, or cannot be read.
    pub fn tree(&self, id: Id) -> Result<Arc<TreeEntries>> {
        if let Some(tree) = self.0.trees.get(&id).or_else(|| self.large(id)) {
            return Ok(tree);
        }
        if id == Id::EMPTY_TREE {
            // It is there whether anybody wrote it or not, as in Git.
            return Ok(Arc::default());
        }
        let tree = TreeEntries::parse(&self.read(id, ObjectKind::Tree)?)
            .map_err(|error| unreadable(id, error))?;
        let tree = Arc::new(tree);
        self.keep_tree(id, tree.clone());
        Ok(tree)
    }

    fn large(&self, id: Id) -> Option<Arc<TreeEntries>> {
        let large = self.0.large.lock();
        large.iter().flatten().find(|(kept, _)| *kept == id).map(|(_, tree)| tree.clone())
    }

    fn keep_tree(&self, id: Id, tree: Arc<TreeEntries>) {
        if Weight.weight(&id, &tree) <= MAX_CACHED_TREE {
            return self.0.trees.insert(id, tree);
        }
        let [last, older] = &mut *self.0.large.lock();
        *older = last.replace((id, tree));
    }

    /// A commit.
    ///
    /// # Errors
    /// Those of [`blob`](ObjectCache::blob).
    pub fn commit(&self, id: Id) -> Result<Arc<Commit>> {
        if let Some(commit) = self.0.commits.get(&id) {
            return Ok(commit);
        }
        let commit = Commit::decode(&self.read(id, ObjectKind::Commit)?)
            .map_err(|error| unreadable(id, error))?;
        let commit = Arc::new(commit);
        self.0.commits.insert(id, commit.clone());
        Ok(commit)
    }

    /// The commit that a client has named.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Broken`] if it cannot be read.
    pub fn named_commit(&self, id: Id) -> Result<Arc<Commit>> {
        self.commit(id).map_err(Error::of_named)
    }

    fn read(&self, id: Id, kind: ObjectKind) -> Result<Arc<[u8]>> {
        match self.0.store.read(id) {
            Ok(Some(Object { kind: found, data })) if found == kind => Ok(data),
            Ok(Some(_)) => Err(broken(id, Fault::OtherKind(kind))),
            Ok(None) => Err(broken(id, Fault::Missing)),
            Err(error) => Err(unreadable(id, error)),
        }
    }
}

fn broken(id: Id, fault: Fault) -> Error {
    Error::Broken { id, fault, path: Vec::new() }
}

fn unreadable(id: Id, error: Error) -> Error {
    broken(id, Fault::Unreadable(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Git;

    #[test]
    fn a_large_blob_that_is_open_is_in_memory_once() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectCache::new(Arc::new(Git::open(dir.path()).unwrap()));
        let (id, object) = Object::new(ObjectKind::Blob, vec![7; MAX_CACHED_BLOB + 1]).unwrap();
        objects.store().write(&[(id, object)]).unwrap();
        let first = objects.blob(id).unwrap();
        assert!(Arc::ptr_eq(&first, &objects.blob(id).unwrap()));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(objects.blob(id).unwrap().len(), MAX_CACHED_BLOB + 1);
    }
}
