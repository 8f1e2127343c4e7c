//! Reads, decodes and caches objects.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::model::commit::Commit;

use crate::model::object::{Object, ObjectKind};

use crate::model::tree_text::TreeEntries;
use crate::store::Store;
use crate::{Error, Fault, Id, Result};

/// The approximate maximum size, in bytes, of each cache. The limit is low, because a server should
/// use little memory even if its repository is large.
const CACHE_BYTES: u64 = 8 << 20;

/// The maximum size of a cached blob, in bytes. A larger blob would evict many small blobs.
const MAX_CACHED_BLOB: usize = 64 << 10;

/// The maximum number of bytes that a cached tree can take up in memory. A larger tree would evict
/// all other trees or exceed the capacity of a shard.
const MAX_CACHED_TREE: u64 = 512 << 10;

/// The number of shards in each cache. Each shard has its own lock, and each entry must fit into
/// one shard.
const CACHE_SHARDS: usize = 8;

/// A [`Store`] with a cache. Clones share the same cache.
#[derive(Clone)]
pub struct ObjectCache(Arc<CacheState>);

struct CacheState {
    store: Arc<dyn Store>,
    trees: ValueCache,
    /// The two most recently read trees that are too large for the cache. When a client lists a
    /// large directory, every file is looked up in the same tree, and reading the tree again for
    /// each file would be slow.
    large: Mutex<[Option<NamedTree>; 2]>,
    commits: ValueCache,
    blobs: ValueCache,
    /// Large blobs that clients have open. All clients share one copy of each blob.
    shared: Mutex<HashMap<Id, Weak<[u8]>>>,
    lengths: ValueCache,
}

type ValueCache = Cache<Id, CachedValue, Weight>;

/// A value in a cache. Each cache contains values of one kind. All caches share one type, because
/// the cache's code would otherwise be compiled once for each kind of value.
#[derive(Clone)]
enum CachedValue {
    Tree(Arc<TreeEntries>),
    Commit(Arc<Commit>),
    Blob(Arc<[u8]>),
    Length(u64),
}

/// A tree and its hash.
type NamedTree = (Id, Arc<TreeEntries>);

/// A weighter that estimates how much memory a cached value takes up, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<Id, CachedValue> for Weight {
    fn weight(&self, _: &Id, value: &CachedValue) -> u64 {
        match value {
            CachedValue::Tree(tree) => tree.weight(),
            CachedValue::Commit(commit) => {
                256 + commit.message.len() as u64 + 20 * commit.parents.len() as u64
            }
            CachedValue::Blob(blob) => 64 + blob.len() as u64,
            CachedValue::Length(_) => 64,
        }
    }
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCache").finish_non_exhaustive()
    }
}

impl ObjectCache {
    /// Creates an empty cache for `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> ObjectCache {
        ObjectCache(Arc::new(CacheState {
            store,
            trees: new_cache(),
            large: Mutex::default(),
            commits: new_cache(),
            blobs: new_cache(),
            shared: Mutex::default(),
            lengths: new_cache(),
        }))
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Returns the content of a blob.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob does not exist or cannot be read.
    pub fn blob(&self, id: Id) -> Result<Arc<[u8]>> {
        if let Some(CachedValue::Blob(blob)) = self.0.blobs.get(&id) {
            return Ok(blob);
        }
        if let Some(blob) = self.0.shared.lock().get(&id).and_then(Weak::upgrade) {
            return Ok(blob);
        }
        let blob = self.read(id, ObjectKind::Blob)?;
        // Objects in an in-memory store need not be cached.
        if self.0.store.may_block() {
            if blob.len() <= MAX_CACHED_BLOB {
                self.0.blobs.insert(id, CachedValue::Blob(blob.clone()));
            } else {
                self.share(id, &blob);
            }
        }
        Ok(blob)
    }

    /// Makes a large blob available to other clients that open it.
    fn share(&self, id: Id, blob: &Arc<[u8]>) {
        let mut shared = self.0.shared.lock();
        // Before the table grows, remove blobs that no client has open.
        if shared.len() == shared.capacity() {
            shared.retain(|_, blob| blob.strong_count() > 0);
        }
        shared.insert(id, Arc::downgrade(blob));
    }

    /// Returns the length of a blob in bytes.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob does not exist or cannot be read.
    pub fn blob_length(&self, id: Id) -> Result<u64> {
        if let Some(CachedValue::Blob(blob)) = self.0.blobs.get(&id) {
            return Ok(blob.len() as u64);
        }
        if let Some(CachedValue::Length(length)) = self.0.lengths.get(&id) {
            return Ok(length);
        }
        let length = match self.0.store.header(id) {
            Ok(Some((ObjectKind::Blob, length))) => length,
            Ok(Some(_)) => return Err(broken(id, Fault::OtherKind(ObjectKind::Blob))),
            Ok(None) => return Err(broken(id, Fault::Missing)),
            Err(error) => return Err(unreadable(id, error)),
        };
        self.0.lengths.insert(id, CachedValue::Length(length));
        Ok(length)
    }

    /// Returns the encoded content of a tree.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the tree does not exist or cannot be read.
    pub(crate) fn tree_data(&self, id: Id) -> Result<Arc<[u8]>> {
        self.read(id, ObjectKind::Tree)
    }

    /// Returns the entries of a tree in Git's order.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the tree does not exist or cannot be read.
    pub fn tree(&self, id: Id) -> Result<Arc<TreeEntries>> {
        if let Some(CachedValue::Tree(tree)) = self.0.trees.get(&id) {
            return Ok(tree);
        }
        if let Some(tree) = self.large(id) {
            return Ok(tree);
        }
        if id == Id::EMPTY_TREE {
            // As in Git, the empty tree exists even if it has never been written.
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
        if tree.weight() <= MAX_CACHED_TREE {
            return self.0.trees.insert(id, CachedValue::Tree(tree));
        }
        let [last, older] = &mut *self.0.large.lock();
        *older = last.replace((id, tree));
    }

    /// Returns a commit.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the commit does not exist or cannot be read.
    pub fn commit(&self, id: Id) -> Result<Arc<Commit>> {
        if let Some(CachedValue::Commit(commit)) = self.0.commits.get(&id) {
            return Ok(commit);
        }
        let commit = Commit::decode(&self.read(id, ObjectKind::Commit)?)
            .map_err(|error| unreadable(id, error))?;
        let commit = Arc::new(commit);
        self.0.commits.insert(id, CachedValue::Commit(commit.clone()));
        Ok(commit)
    }

    /// Returns a commit whose hash was supplied by a client.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such commit. Returns [`Error::Broken`] if the
    /// commit cannot be read.
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

fn new_cache() -> ValueCache {
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(1024).weight_capacity(CACHE_BYTES).shards(CACHE_SHARDS);
    match options.build() {
        Ok(options) => Cache::with_options(
            options,
            Weight,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // Building the options cannot fail, because all capacities are set.
        Err(_) => Cache::with_weighter(1024, CACHE_BYTES, Weight),
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
    use crate::store::GitStore;

    #[test]
    fn open_large_blob_is_in_memory_once() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectCache::new(Arc::new(GitStore::open(dir.path()).unwrap()));
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
