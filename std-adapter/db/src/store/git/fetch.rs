//! Branches of other repositories, by the `git` program.
//!
//! What comes is kept apart until Git has checked it: a repository of its own, which has our
//! objects as alternates. Its objects come to ours when `git fetch` has succeeded, which checks
//! each (`fetch.fsckObjects`) and that none is missing. Until then nobody sees them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::Repository;

use super::files::Files;
use super::program::{self, Ended};
use super::refs::Refs;
use super::sync_dir;
use crate::store::{FetchError, Stop};
use crate::{BranchName, Error, Id, Result};

/// How long and how much another repository may say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without a sign of life for so long it is given up; `None` is never.
    pub(super) patience: Option<Duration>,
    /// Bytes of one fetch; `None` is any number.
    pub(super) bytes: Option<u64>,
}

/// Fetches a branch to `refs/remotes/REMOTE/BRANCH`.
pub(super) fn fetch(
    refs: &Refs<'_>,
    remote: &str,
    url: &str,
    branch: &BranchName,
    limits: Limits,
    stop: &Stop,
) -> std::result::Result<Id, FetchError> {
    let apart = Quarantine::new(refs)?;
    let ended = program::fetch(&apart.dir, refs.repository, url, branch, limits, stop)?;
    match ended {
        Ended::Well => {}
        Ended::NoSuchBranch => return Err(FetchError::NoHead),
    }
    let id = apart.head(branch)?;
    apart.publish(refs.files)?;
    refs.keep_remote(remote, branch, id)?;
    Ok(id)
}

/// A repository for what comes. It goes when this is dropped.
struct Quarantine {
    dir: PathBuf,
    objects: PathBuf,
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("{}: what was fetched stays: {error}", self.dir.display());
        }
    }
}

impl Quarantine {
    fn new(refs: &Refs<'_>) -> Result<Quarantine> {
        let repository: &Repository = refs.repository;
        let objects = repository.objects.store_ref().path().to_owned();
        let objects =
            objects.canonicalize().map_err(|error| Error::io(objects.display(), &error))?;
        // Where a server that is killed leaves it the next one removes it.
        let name = format!(
            "{}fetch-{}-{}",
            super::loose::PREFIX,
            std::process::id(),
            datakit_server::inode_numbers::next()
        );
        let apart = Quarantine { dir: objects.join(name), objects };
        let failed = |error: io::Error| Error::io(apart.dir.display(), &error);
        for dir in ["", "objects", "objects/info", "objects/pack", "refs", "refs/heads"] {
            fs::create_dir(apart.dir.join(dir)).map_err(failed)?;
        }
        fs::write(apart.dir.join("HEAD"), "ref: refs/heads/-\n").map_err(failed)?;
        fs::write(
            apart.dir.join("config"),
            "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
        )
        .map_err(failed)?;
        let mut alternate = apart.objects.clone().into_os_string();
        alternate.push("\n");
        fs::write(apart.dir.join("objects/info/alternates"), alternate.as_encoded_bytes())
            .map_err(failed)?;
        // Histories of ours that end somewhere end there for Git as well.
        match fs::copy(refs.common().join("shallow"), apart.dir.join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(apart)
    }

    /// Where the branch came to be.
    fn head(&self, branch: &BranchName) -> Result<Id> {
        use std::os::unix::ffi::OsStrExt;
        let path = self.dir.join("refs/heads").join(std::ffi::OsStr::from_bytes(branch.as_bytes()));
        let text = fs::read(&path).map_err(|error| Error::io(path.display(), &error))?;
        Ok(Id::parse(&text)?)
    }

    /// Moves the objects to ours: packs before their indexes, without which nobody looks for them.
    fn publish(&self, files: &Files) -> Result<()> {
        let failed = |error: io::Error| Error::io("objects that were fetched", &error);
        let (mut moves, mut dirs) = (Vec::new(), Vec::new());
        for dir in entries(&self.dir.join("objects")).map_err(failed)? {
            let Some(name) = dir.file_name().map(ToOwned::to_owned) else { continue };
            if name == "info" || !dir.is_dir() {
                continue;
            }
            let to = self.objects.join(&name);
            dirs.push(to.clone());
            for file in entries(&dir).map_err(failed)? {
                let kept = name != "pack"
                    || file
                        .extension()
                        .is_some_and(|end| ["pack", "rev", "idx"].iter().any(|kept| end == *kept));
                if kept && let Some(name) = file.file_name() {
                    moves.push((file.clone(), to.join(name)));
                }
            }
        }
        moves.sort_by_key(|(from, _)| from.extension().is_some_and(|end| end == "idx"));
        for dir in &dirs {
            files.make_dir(dir).map_err(failed)?;
        }
        for (from, to) in moves {
            if !to.exists() {
                files.adopt_path(&from).map_err(failed)?;
                fs::rename(&from, &to).map_err(failed)?;
            }
        }
        if files.sync.names() {
            dirs.push(self.objects.clone());
            dirs.iter().try_for_each(|dir| sync_dir(dir)).map_err(failed)?;
        }
        Ok(())
    }
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
