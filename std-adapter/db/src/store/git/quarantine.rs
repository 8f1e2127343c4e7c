//! Fetches branches into a temporary quarantine repository.
//!
//! The quarantine uses the store's repository as an alternate. `git` fetches objects into the
//! quarantine, checks every object (`fetch.fsckObjects`), and verifies that no object is missing.
//! The objects are moved to the store's repository only if `git` succeeds, so a partial fetch is
//! never visible.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::file_policy::FilePolicy;
use super::fsync::sync_dir;
use super::loose_writer::STAGING_PREFIX;
use super::refs::Refs;
use super::repository::read_config;
use crate::remote::fetch::{self, CancelFlag, FetchError, FetchLimits};
use crate::{BranchName, Error, Id, Result};

/// Fetches a branch, stores its head in `refs/remotes/REMOTE/BRANCH`, and returns the head.
pub(super) fn fetch(
    refs: &Refs<'_>,
    remote: &str,
    url: &str,
    branch: &BranchName,
    limits: FetchLimits,
    cancel: &CancelFlag,
) -> std::result::Result<Id, FetchError> {
    let quarantine = Quarantine::new(refs)?;
    // Read the settings again, because they may have changed since the server started.
    let config = read_config(refs.repository.dir())?;
    fetch::fetch(&quarantine.dir, &config, url, branch, limits, cancel)?;
    let head = quarantine.head(branch)?;
    quarantine.publish(refs.policy)?;
    refs.keep_remote(remote, branch, head)?;
    Ok(head)
}

/// A temporary repository, which is removed when the `Quarantine` is dropped.
struct Quarantine {
    dir: PathBuf,
    /// The `objects` directory of the store's repository.
    objects: PathBuf,
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

impl Quarantine {
    fn new(refs: &Refs<'_>) -> Result<Quarantine> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let objects = refs.repository.objects_dir();
        let objects =
            objects.canonicalize().map_err(|error| Error::io(objects.display(), error))?;
        // If this server is killed, the next server recognizes the directory by this prefix and
        // removes it.
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}fetch-{}-{number}", STAGING_PREFIX, std::process::id());
        let quarantine = Quarantine { dir: objects.join(name), objects };
        let failed = |error: io::Error| Error::io(quarantine.dir.display(), error);
        quarantine.init(refs.common()).map_err(failed)?;
        Ok(quarantine)
    }

    fn init(&self, common: &Path) -> io::Result<()> {
        for dir in ["", "objects", "objects/info", "objects/pack", "refs", "refs/heads"] {
            fs::create_dir(self.dir.join(dir))?;
        }
        fs::write(self.dir.join("HEAD"), "ref: refs/heads/-\n")?;
        let config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";
        fs::write(self.dir.join("config"), config)?;
        let alternates = [self.objects.as_os_str().as_bytes(), b"\n"].concat();
        fs::write(self.dir.join("objects/info/alternates"), alternates)?;
        // Copy the list of shallow commits. Otherwise, `git` would look for the missing parents of
        // these commits.
        match fs::copy(common.join("shallow"), self.dir.join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the head of the fetched branch.
    fn head(&self, branch: &BranchName) -> Result<Id> {
        let path = self.dir.join("refs/heads").join(OsStr::from_bytes(branch.as_bytes()));
        let text = fs::read(&path).map_err(|error| Error::io(path.display(), error))?;
        Ok(Id::parse(&text)?)
    }

    /// Moves the fetched objects to the store's repository.
    fn publish(&self, policy: &FilePolicy) -> Result<()> {
        let failed = |error: io::Error| Error::io("objects that were fetched", error);
        let (mut moves, mut dirs) = (Vec::new(), Vec::new());
        for dir in list(&self.dir.join("objects")).map_err(failed)? {
            let Some(name) = dir.file_name().filter(|name| *name != "info" && dir.is_dir()) else {
                continue;
            };
            let target = self.objects.join(name);
            for file in list(&dir).map_err(failed)? {
                if let Some(file_name) = file.file_name()
                    && (name != "pack" || is_pack_file(&file))
                {
                    moves.push((file.clone(), target.join(file_name)));
                }
            }
            dirs.push(target);
        }
        // A pack becomes visible as soon as its index exists, so move the index last.
        moves.sort_by_key(|(from, _)| from.extension().is_some_and(|end| end == "idx"));
        dirs.iter().try_for_each(|dir| policy.create_dir(dir)).map_err(failed)?;
        for (from, to) in moves {
            if !to.exists() {
                policy.apply_to_path(&from).map_err(failed)?;
                fs::rename(&from, &to).map_err(failed)?;
            }
        }
        if policy.fsync.syncs_dirs() {
            dirs.push(self.objects.clone());
            dirs.iter().try_for_each(|dir| sync_dir(dir)).map_err(failed)?;
        }
        Ok(())
    }
}

fn is_pack_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["pack", "rev", "idx"].iter().any(|known| end == *known))
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
