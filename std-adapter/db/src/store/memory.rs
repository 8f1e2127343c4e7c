//! A store that is gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::RwLock;

use super::transfer::transfer;
use super::{Fsync, Git, RefUpdate, Store};
use crate::model::object::{Object, ObjectKind};
use crate::remote::{CancelFlag, FetchError, FetchLimits};
use crate::{BranchName, Error, Id, Result};

/// So many parts that threads seldom meet in one.
const PARTS: usize = 64;

/// ObjectCache and branches in memory. Nothing is ever collected.
#[derive(Debug)]
pub struct Memory {
    objects: [RwLock<HashMap<Id, Object, BuildHasherDefault<Prefix>>>; PARTS],
    heads: RwLock<BTreeMap<BranchName, Id>>,
    fetch_limits: FetchLimits,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Memory {
        Memory {
            objects: std::array::from_fn(|_| RwLock::default()),
            heads: RwLock::default(),
            fetch_limits: FetchLimits::default(),
        }
    }

    /// Sets the limits of each [fetch](Store::fetch).
    #[must_use]
    pub fn with_fetch_limits(self, fetch_limits: FetchLimits) -> Memory {
        Memory { fetch_limits, ..self }
    }

    fn part(&self, id: Id) -> &RwLock<HashMap<Id, Object, BuildHasherDefault<Prefix>>> {
        // By the last byte: the map itself goes by the first ones.
        let [first, ..] = &self.objects;
        let [.., last] = id.as_bytes();
        self.objects.get(usize::from(*last) % PARTS).unwrap_or(first)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

/// A hash is spread as well as can be: its first bytes will do.
#[derive(Debug, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Store for Memory {
    fn may_block(&self) -> bool {
        false
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        Ok(self.part(id).read().get(&id).cloned())
    }

    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
        let objects = self.part(id).read();
        Ok(objects.get(&id).map(|object| (object.kind, object.data.len() as u64)))
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        for (id, object) in objects {
            self.part(*id).write().entry(*id).or_insert_with(|| object.clone());
        }
        Ok(())
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        Ok(self.heads.read().get(branch).copied())
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        Ok(self.heads.read().iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    fn update(&self, objects: &[(Id, Object)], moves: &[RefUpdate<'_>]) -> Result<bool> {
        self.write(objects)?;
        let mut heads = self.heads.write();
        if moves.iter().any(|RefUpdate { branch, from, .. }| heads.get(branch) != from.as_ref()) {
            return Ok(false);
        }
        let made = moves.iter().filter(|motion| motion.from.is_none() && motion.to.is_some());
        for RefUpdate { branch, .. } in made {
            check_free(&heads, branch, None)?;
        }
        for RefUpdate { branch, to, .. } in moves {
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
            in_the_way(&heads, branch, None).map(ToString::to_string)
        })
    }

    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        let mut heads = self.heads.write();
        if heads.get(old) != Some(&head) || heads.contains_key(new) {
            return Ok(false);
        }
        check_free(&heads, new, Some(old))?;
        heads.remove(old);
        heads.insert(new.clone(), head);
        Ok(true)
    }

    /// Fetches into a temporary Git repository and copies the objects from there.
    fn fetch_cancellable(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        cancel: &CancelFlag,
    ) -> std::result::Result<Id, FetchError> {
        let dir = tempfile::Builder::new().prefix(&fetch_prefix()).tempdir();
        let dir = dir.map_err(|error| Error::io("a directory for what is fetched", &error))?;
        let there =
            Git::open(dir.path())?.with_fetch_limits(self.fetch_limits).with_fsync(Fsync::None);
        let head = there.fetch_cancellable(remote, url, branch, cancel)?;
        transfer(&there, self, head)?;
        Ok(head)
    }
}

/// The branch that keeps `name` from being made; `but` is about to go.
fn in_the_way<'h>(
    heads: &'h BTreeMap<BranchName, Id>,
    name: &BranchName,
    but: Option<&BranchName>,
) -> Option<&'h BranchName> {
    let bytes = name.as_bytes();
    let prefixes = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .filter_map(|(at, _)| bytes.get(..at));
    let above = prefixes.filter_map(|prefix| heads.get_key_value(&BranchName::new(prefix).ok()?));
    let below = [bytes, b"/"].concat();
    // What begins with the name is behind it, with some others: `a-b` comes before `a/b`.
    let behind = heads.range(name..).take_while(|(other, _)| other.as_bytes().starts_with(bytes));
    let below = behind.filter(|(other, _)| other.as_bytes().starts_with(&below));
    above.chain(below).map(|(other, _)| other).find(|other| Some(*other) != but)
}

fn check_free(
    heads: &BTreeMap<BranchName, Id>,
    name: &BranchName,
    but: Option<&BranchName>,
) -> Result<()> {
    in_the_way(heads, name, but).map_or(Ok(()), |other| {
        Err(Error::InTheWay { branch: name.to_string(), other: other.to_string() })
    })
}

/// Of the names of those directories.
const FETCH: &str = "datakit-fetch-";

/// With the number of the process.
fn fetch_prefix() -> String {
    format!("{FETCH}{}-", std::process::id())
}

/// Removes directories of fetches that killed servers of this user left.
pub fn remove_stale_fetch_dirs() {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix(FETCH)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse().ok());
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else { continue };
        let gone = rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
        // Not what another user may have put there.
        if gone && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::GitError;

    /// What `git` says in this directory.
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
    fn another_repository_is_fetched_from() {
        let there = tempfile::tempdir().unwrap();
        let dir = there.path();
        git(dir, &["init", "-q", "-b", "master", "."]);
        let commit = |message: &str| {
            let who = ["-c", "user.name=x", "-c", "user.email=x@x"];
            git(dir, &[&who[..], &["commit", "-q", "--allow-empty", "-m", message]].concat());
            Id::parse(git(dir, &["rev-parse", "HEAD"]).as_bytes()).unwrap()
        };
        let store = Memory::new();
        let (url, master) =
            (format!("file://{}", dir.display()), BranchName::new("master").unwrap());
        assert_eq!(store.fetch("r", &url, &master), Err(FetchError::NoSuchBranch));
        let empty = commit("empty");
        assert_eq!(store.fetch("r", &url, &master), Ok(empty));
        std::fs::create_dir(dir.join("d")).unwrap();
        std::fs::write(dir.join("d/f"), "far").unwrap();
        git(dir, &["add", "d"]);
        let second = commit("second");
        // What was packed is unpacked, too.
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
        let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let prefix = fetch_prefix();
        assert_eq!(
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count(),
            0
        );
    }

    #[test]
    fn a_branch_moves_only_from_where_it_is() {
        let store = Memory::new();
        let branch = BranchName::new("master").unwrap();
        let (a, object) = Object::new(ObjectKind::Blob, *b"a").unwrap();
        store.write(&[(a, object)]).unwrap();
        let b = Id::EMPTY_TREE;
        let go = |from, to| store.update(&[], &[RefUpdate { branch: &branch, from, to }]).unwrap();
        assert!(!go(Some(a), Some(b)));
        assert!(go(None, Some(a)));
        assert!(!go(None, Some(b)) && !go(Some(b), None));
        assert!(go(Some(a), Some(b)) && go(Some(b), None));
        assert_eq!(store.heads().unwrap(), []);
        assert_eq!(store.header(a).unwrap(), Some((ObjectKind::Blob, 1)));
    }
}
