//! Step caches: directories that later builds reuse.
//!
//! A cache is a directory on the CI server's disk rather than a database branch, because caches are
//! large and can be recreated. The directory's name contains a hash of all parts of the cache's
//! key. A cache never changes after it has been written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datakit_github::Repo;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::files::{self, FileLimits};
use super::model::CacheSpec;
use super::names::part;
use super::plan::Task;
use super::trust::Trust;
use crate::git::remove_tree;
use crate::state::hex;

/// The maximum size of a file whose contents are part of a key.
const KEY_FILE_MAX: u64 = 16 << 20;

/// The directory for caches written by steps that can read secrets. Steps of untrusted commits do
/// not read these caches, because the caches could contain a secret.
const PRIVATE: &str = "private";
const PUBLIC: &str = "public";
/// The file in a cache that contains the total size of its files, in bytes.
const SIZE: &str = "size";
/// The prefix of the name of a cache that is being written.
const TEMPORARY: &str = ".tmp-";

/// All caches of a CI server.
#[derive(Debug, Clone)]
pub struct Caches {
    dir: PathBuf,
    limits: FileLimits,
    /// The maximum total size of all caches, in bytes.
    total: u64,
    /// The caches that are being copied, which must not be removed.
    in_use: Arc<Mutex<Vec<PathBuf>>>,
}

impl Caches {
    /// Opens the cache directory, or creates it if it does not exist. Removes everything that a
    /// crashed process left behind.
    ///
    /// # Errors
    /// Returns any I/O error.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Caches> {
        let limits = FileLimits { count: 500_000, bytes: 4 << 30 };
        let caches = Caches { dir: dir.into(), limits, total: 20 << 30, in_use: Arc::default() };
        for kind in [PRIVATE, PUBLIC] {
            fs::create_dir_all(caches.dir.join(kind))?;
        }
        for entry in caches.entries()? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) {
                remove_tree(&entry)?;
            }
        }
        Ok(caches)
    }

    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets the limits for a single cache. The default limits are 500,000 files and 4 GiB.
    #[must_use]
    pub fn with_limits(mut self, limits: FileLimits) -> Caches {
        self.limits = limits;
        self
    }

    /// Sets the maximum total size of all caches, in bytes. If a new cache exceeds this limit, the
    /// least recently used caches are removed. The default is 20 GiB.
    #[must_use]
    pub fn with_total(mut self, bytes: u64) -> Caches {
        self.total = bytes;
        self
    }

    /// Removes the least recently used caches until the total size of all caches is at most
    /// `bytes`. Returns the number of removed caches.
    ///
    /// # Errors
    /// Returns any I/O error.
    pub fn prune(&self, bytes: u64) -> io::Result<usize> {
        let mut entries = Vec::new();
        for entry in self.entries()? {
            // Another task could have removed the cache.
            if let Ok(used) = entry.metadata().and_then(|found| found.modified()) {
                entries.push((used, size(&entry), entry));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        let mut removed = 0;
        for (_, size, entry) in entries {
            if total <= bytes {
                break;
            }
            // Steps never see a partly removed cache.
            let hidden = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent(&entry))?;
            let in_use = self.in_use.lock();
            if in_use.contains(&entry) {
                continue;
            }
            match fs::rename(&entry, hidden.path().join("removed")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (total, removed) = (total.saturating_sub(size), removed + 1),
            }
            drop(in_use);
            remove_tree(&hidden.keep())?;
        }
        Ok(removed)
    }

    /// Returns the directories of all caches.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        let mut level = vec![self.dir.join(PRIVATE), self.dir.join(PUBLIC)];
        // In each of these directories, every repository has a directory that contains its caches.
        for _ in 0..2 {
            let mut next = Vec::new();
            for dir in level {
                for entry in fs::read_dir(dir)? {
                    next.push(entry?.path());
                }
            }
            level = next;
        }
        Ok(level)
    }

    /// Copies a task's caches to a new work tree. Returns the caches that do not exist yet.
    ///
    /// # Errors
    /// Returns a message if a cache cannot be copied.
    pub(super) fn restore(
        &self,
        task: &Task,
        repo: &Repo,
        trust: Trust,
        dir: &Path,
        mut report: impl FnMut(String),
    ) -> Result<Vec<(CacheSpec, PathBuf)>, String> {
        let mut missing = Vec::new();
        for cache in &task.caches {
            let Some(digest) = key(cache, task, dir) else {
                report(format!(
                    "The cache {} is not used: a file in its key is missing",
                    cache.name
                ));
                continue;
            };
            let name = format!("{}-{digest}", part(cache.name.as_bytes()));
            let entry = |kind: &str| self.dir.join(kind).join(repo_dir(repo)).join(&name);
            let kinds = match trust {
                Trust::Trusted => &[PUBLIC, PRIVATE][..],
                Trust::Untrusted => &[PUBLIC],
            };
            let found = kinds.iter().find_map(|kind| self.use_entry(entry(kind)));
            if let Some(found) = found {
                report(format!("Restoring the cache {}", cache.name));
                self.copy_in(cache, &found.entry, dir)
                    .map_err(|error| format!("the cache {}: {error}", cache.name))?;
            } else if trust == Trust::Trusted {
                let kind = if task.reads_secrets { PRIVATE } else { PUBLIC };
                missing.push((cache.clone(), entry(kind)));
            }
        }
        Ok(missing)
    }

    /// Prevents a cache from being removed while the returned guard exists. Returns `None` if the
    /// cache does not exist.
    fn use_entry(&self, entry: PathBuf) -> Option<InUse<'_>> {
        let mut in_use = self.in_use.lock();
        if !entry.is_dir() {
            return None;
        }
        in_use.push(entry.clone());
        Some(InUse { caches: self, entry })
    }

    fn copy_in(&self, cache: &CacheSpec, entry: &Path, dir: &Path) -> io::Result<()> {
        let mut limits = self.limits;
        for (index, path) in cache.paths.iter().enumerate() {
            let from = entry.join(index.to_string());
            let to = files::inside_or_create(dir, path)?;
            // The repository could already contain the path.
            if exists(&from) && !exists(&to) {
                files::copy(&from, &to, &mut limits)?;
            }
        }
        fs::File::open(entry)?.set_modified(std::time::SystemTime::now())
    }

    /// Stores a cache that does not exist yet. The caller has checked that the commit is trusted.
    ///
    /// # Errors
    /// Returns any I/O error, or an error if the limits are exceeded.
    pub(super) fn save(&self, cache: &CacheSpec, entry: &Path, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(parent(entry))?;
        let new = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent(entry))?;
        let mut limits = self.limits;
        let content = new.path().join("content");
        fs::create_dir(&content)?;
        for (index, path) in cache.paths.iter().enumerate() {
            let from = match files::inside(dir, path) {
                Ok(from) if exists(&from) => from,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            files::copy(&from, &content.join(index.to_string()), &mut limits)?;
        }
        let size = self.limits.bytes - limits.bytes;
        fs::write(content.join(SIZE), size.to_string())?;
        match fs::rename(&content, entry) {
            // Another task has written the same cache.
            Err(_) if entry.is_dir() => return Ok(()),
            renamed => renamed?,
        }
        self.prune(self.total).map(drop)
    }
}

/// Returns a hash of everything that distinguishes this cache from others with the same name.
fn key(cache: &CacheSpec, task: &Task, dir: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(cache.key.as_bytes());
    add(task.image.as_deref().unwrap_or_default().as_bytes());
    cache.paths.iter().for_each(|path| add(path.as_bytes()));
    for path in &cache.files {
        let content = files::inside(dir, path).and_then(|path| files::read(&path, KEY_FILE_MAX));
        add(path.as_bytes());
        add(&content.ok()?);
    }
    Some(hex(&hash.finalize(), 32))
}

fn repo_dir(repo: &Repo) -> String {
    format!("{}-{}", part(repo.user().as_bytes()), part(repo.name().as_bytes()))
}

fn parent(entry: &Path) -> &Path {
    entry.parent().unwrap_or(entry)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Returns the size of a cache. A cache without a size file is being written or removed.
fn size(entry: &Path) -> u64 {
    let size = fs::read_to_string(entry.join(SIZE));
    size.ok().and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// A cache that is being copied.
struct InUse<'c> {
    caches: &'c Caches,
    entry: PathBuf,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut in_use = self.caches.in_use.lock();
        if let Some(index) = in_use.iter().position(|entry| *entry == self.entry) {
            in_use.swap_remove(index);
        }
    }
}
