//! An in-memory store.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::RwLock;

use super::transfer::transfer;
use super::{Fsync, GitStore, RefUpdate, Store};
use crate::model::object::{Object, ObjectKind};
use crate::remote::{CancelFlag, FetchError, FetchLimits};
use crate::{BranchName, Error, Id, Result};

/// The number of shards, each of which has a separate lock. With this many shards, threads rarely
/// contend for the same lock.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<Id, Object, BuildHasherDefault<PrefixHasher>>>;

/// A store that keeps objects and branches in memory. Objects are never removed, and all data is
/// lost when the process exits.
#[derive(Debug)]
pub struct MemoryStore {
    objects: [Shard; SHARDS],
    heads: RwLock<BTreeMap<BranchName, Id>>,
    fetch_limits: FetchLimits,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore {
            objects: std::array::from_fn(|_| RwLock::default()),
            heads: RwLock::default(),
            fetch_limits: FetchLimits::default(),
        }
    }

    /// Sets the limits on each [fetch](Store::fetch).
    #[must_use]
    pub fn with_fetch_limits(self, fetch_limits: FetchLimits) -> MemoryStore {
        MemoryStore { fetch_limits, ..self }
    }

    fn shard(&self, id: Id) -> &Shard {
        // Use the last byte of the id to choose the shard, because the hash map uses the first
        // bytes.
        let [first, ..] = &self.objects;
        let [.., last] = id.as_bytes();
        self.objects.get(usize::from(*last) % SHARDS).unwrap_or(first)
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

/// A hasher that returns the first bytes of an id. Ids need not be hashed, because they are hashes
/// already.
#[derive(Debug, Default)]
struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Store for MemoryStore {
    fn may_block(&self) -> bool {
        false
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        Ok(self.shard(id).read().get(&id).cloned())
    }

    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
        let objects = self.shard(id).read();
        Ok(objects.get(&id).map(|object| (object.kind, object.data.len() as u64)))
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        for (id, object) in objects {
            self.shard(*id).write().entry(*id).or_insert_with(|| object.clone());
        }
        Ok(())
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        Ok(self.heads.read().get(branch).copied())
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        Ok(self.heads.read().iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    fn update(&self, objects: &[(Id, Object)], updates: &[RefUpdate<'_>]) -> Result<bool> {
        self.write(objects)?;
        let mut heads = self.heads.write();
        if updates.iter().any(|RefUpdate { branch, from, .. }| heads.get(branch) != from.as_ref()) {
            return Ok(false);
        }
        let created = updates.iter().filter(|update| update.from.is_none() && update.to.is_some());
        for RefUpdate { branch, .. } in created {
            check_no_conflict(&heads, branch, None)?;
        }
        for RefUpdate { branch, to, .. } in updates {
            match to {
                Some(to) => heads.insert((*branch).clone(), *to),
                None => heads.remove(branch),
            };
        }
        Ok(true)
    }

    fn conflicting_branch(&self, branch: &BranchName) -> Result<Option<String>> {
        let heads = self.heads.read();
        Ok(if heads.contains_key(branch) {
            None
        } else {
            conflicting_branch(&heads, branch, None).map(ToString::to_string)
        })
    }

    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        let mut heads = self.heads.write();
        if heads.get(old) != Some(&head) || heads.contains_key(new) {
            return Ok(false);
        }
        check_no_conflict(&heads, new, Some(old))?;
        heads.remove(old);
        heads.insert(new.clone(), head);
        Ok(true)
    }

    /// Fetches into a temporary Git repository and then copies the objects to this store.
    fn fetch_cancellable(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        cancel: &CancelFlag,
    ) -> std::result::Result<Id, FetchError> {
        let dir = tempfile::Builder::new().prefix(&fetch_prefix()).tempdir();
        let dir = dir.map_err(|error| Error::io("a temporary directory for a fetch", error))?;
        let there = GitStore::open(dir.path())?
            .with_fetch_limits(self.fetch_limits)
            .with_fsync(Fsync::None);
        let head = there.fetch_cancellable(remote, url, branch, cancel)?;
        transfer(&there, self, head)?;
        Ok(head)
    }
}

/// Returns an existing branch that prevents the creation of `name`. Ignores the `except` branch,
/// which is about to be removed.
fn conflicting_branch<'h>(
    heads: &'h BTreeMap<BranchName, Id>,
    name: &BranchName,
    except: Option<&BranchName>,
) -> Option<&'h BranchName> {
    let bytes = name.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let prefixes = slashes.filter_map(|(at, _)| bytes.get(..at));
    let parents = prefixes.filter_map(|prefix| heads.get_key_value(&BranchName::new(prefix).ok()?));
    let prefix = [bytes, b"/"].concat();
    // In the sorted list, `name` is followed by all names that start with it, including names of
    // branches that are not below it. For example, `a-b` comes between `a` and `a/b`.
    let following =
        heads.range(name..).take_while(|(other, _)| other.as_bytes().starts_with(bytes));
    let children = following.filter(|(other, _)| other.as_bytes().starts_with(&prefix));
    parents.chain(children).map(|(other, _)| other).find(|other| Some(*other) != except)
}

fn check_no_conflict(
    heads: &BTreeMap<BranchName, Id>,
    name: &BranchName,
    except: Option<&BranchName>,
) -> Result<()> {
    conflicting_branch(heads, name, except).map_or(Ok(()), |other| {
        Err(Error::BranchConflict { branch: name.to_string(), other: other.to_string() })
    })
}

/// The name prefix of the temporary repositories used by fetches.
const FETCH_PREFIX: &str = "datakit-fetch-";

/// Returns [`FETCH_PREFIX`], followed by this process's id.
fn fetch_prefix() -> String {
    format!("{FETCH_PREFIX}{}-", std::process::id())
}

/// Removes temporary repositories left behind by killed servers that ran as the same user.
pub fn remove_stale_fetch_dirs() {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix(FETCH_PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse().ok());
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else { continue };
        let gone = rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
        // Check the owner, because any user can create a directory with a matching name in `/tmp`.
        if gone && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::GitError;

    /// Runs `git` in a directory and returns its output.
    fn git(dir: &std::path::Path, args: &[&str]) -> String {
        let output =
            std::process::Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn fetch_copies_a_branch_with_its_history() {
        let there = tempfile::tempdir().unwrap();
        let dir = there.path();
        git(dir, &["init", "-q", "-b", "master", "."]);
        let commit = |message: &str| {
            let who = ["-c", "user.name=x", "-c", "user.email=x@x"];
            git(dir, &[&who[..], &["commit", "-q", "--allow-empty", "-m", message]].concat());
            Id::parse(git(dir, &["rev-parse", "HEAD"]).as_bytes()).unwrap()
        };
        let store = MemoryStore::new();
        let (url, master) =
            (format!("file://{}", dir.display()), BranchName::new("master").unwrap());
        assert_eq!(store.fetch("r", &url, &master), Err(FetchError::NoSuchBranch));
        let empty = commit("empty");
        assert_eq!(store.fetch("r", &url, &master), Ok(empty));
        std::fs::create_dir(dir.join("d")).unwrap();
        std::fs::write(dir.join("d/f"), "far").unwrap();
        git(dir, &["add", "d"]);
        let second = commit("second");
        // Pack the objects so that the next fetch reads them from a pack.
        git(dir, &["gc", "-q"]);
        assert_eq!(store.fetch("r", &url, &master), Ok(second));
        assert_eq!(store.fetch("other", &url, &master), Ok(second));

        let objects = crate::model::object_cache::ObjectCache::new(std::sync::Arc::new(store));
        assert_eq!(objects.commit(second).unwrap().parents, [empty]);
        let tree = crate::model::tree::Tree::stored(objects.commit(second).unwrap().tree);
        let crate::model::tree::TreeNode::File(file) = tree.get(&objects, b"d/f").unwrap() else {
            panic!("a file")
        };
        assert_eq!(&*file.content.bytes(&objects).unwrap(), b"far");

        let store = objects.store();
        assert_eq!(
            store.fetch("r", &url, &BranchName::new("no").unwrap()),
            Err(FetchError::NoSuchBranch)
        );
        assert!(matches!(
            store.fetch("r", "/no/refspec", &master),
            Err(FetchError::Git(GitError::Failed(_)))
        ));
        assert_eq!(store.heads().unwrap(), []);
        let temporary = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let mut names = temporary.map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert_eq!(names.find(|name| name.starts_with(&fetch_prefix())), None);
    }

    #[test]
    fn update_compares_and_swaps() {
        let store = MemoryStore::new();
        let branch = BranchName::new("master").unwrap();
        let (a, object) = Object::new(ObjectKind::Blob, *b"a").unwrap();
        store.write(&[(a, object)]).unwrap();
        let b = Id::EMPTY_TREE;
        let update =
            |from, to| store.update(&[], &[RefUpdate { branch: &branch, from, to }]).unwrap();
        assert!(!update(Some(a), Some(b)));
        assert!(update(None, Some(a)));
        assert!(!update(None, Some(b)) && !update(Some(b), None));
        assert!(update(Some(a), Some(b)) && update(Some(b), None));
        assert_eq!(store.heads().unwrap(), []);
        assert_eq!(store.header(a).unwrap(), Some((ObjectKind::Blob, 1)));
    }
}
