//! Updates, renames and removes branches while holding their locks.
//!
//! Other programs see either the old state or the new state of a branch. A branch is updated by
//! renaming its lock file. A branch is renamed by replacing the `packed-refs` file, which contains
//! exactly one of the two names at any time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bstr::ByteSlice;

use super::fsync::sync_dir;
use super::lock_file::{LockError, LockFile, remove_empty_dirs, remove_empty_parents};
use super::packed_refs::PackedRefsLock;
use super::reflog::ReflogReason;
use super::refs::{RefTarget, Refs, is_absent, ref_error, short_name};
use super::work_trees::{WorkTreeUpdate, isolated_git};
use crate::store::RefUpdate;
use crate::{BranchName, Error, Id, Result};

/// The maximum time to wait for the lock on a branch or on `packed-refs`.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A ref that is locked for an update.
struct LockedRef {
    name: Vec<u8>,
    from: Option<Id>,
    to: Option<Id>,
    lock: LockFile,
}

impl Refs<'_> {
    /// Applies either all of the updates or none of them. Returns `false` if any branch is not at
    /// its expected commit.
    ///
    /// The `write` function must store the objects and sync the files that it receives. These files
    /// are the lock files, which contain the new values of the refs. If any branch is not at its
    /// expected commit, `write` is not called.
    pub(super) fn update(
        &self,
        updates: &[RefUpdate<'_>],
        reason: &ReflogReason<'_>,
        write: impl FnOnce(&[File]) -> Result<()>,
    ) -> Result<bool> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let mut locked = Vec::new();
        // Lock the branches in alphabetical order, so that concurrent updates cannot deadlock.
        let mut updates = updates.to_vec();
        updates.sort_by_key(|update| update.branch);
        for update in &updates {
            match self.lock_and_check(update, deadline)? {
                Some(found) => locked.push(found),
                None => return Ok(false),
            }
        }
        let mut lock_files = Vec::new();
        for LockedRef { name, to, lock, .. } in &mut locked {
            let Some(to) = to else { continue };
            let failed = |error| Error::io(name.as_bstr(), error);
            writeln!(lock.file, "{to}").map_err(failed)?;
            if self.policy.fsync.syncs_files() {
                lock_files.push(lock.file.try_clone().map_err(failed)?);
            }
        }
        let mut work_trees = Vec::new();
        for found in &locked {
            work_trees.extend(self.work_tree_updates(&found.name, found.from, found.to)?);
        }
        write(&lock_files)?;
        with_work_trees(&work_trees, || {
            locked.iter_mut().try_for_each(|LockedRef { name, from, to, lock }| {
                let Some(to) = *to else { return Ok(()) };
                self.log_update(name, *from, to, reason)
                    .map_err(|error| Error::io(format_args!("log of {}", name.as_bstr()), error))?;
                lock.commit(deadline).map_err(|error| Error::io(name.as_bstr(), error))
            })
        })?;
        let removed: Vec<_> =
            locked.iter().filter(|found| found.to.is_none() && found.from.is_some()).collect();
        self.remove_all(&removed.iter().map(|found| &*found.name).collect::<Vec<_>>(), deadline)?;
        self.sync_parents(locked.iter().map(|found| &*found.name))?;
        removed.iter().for_each(|found| self.move_settings(&found.name, None));
        Ok(true)
    }

    /// Locks a branch. Returns `None` if the branch is not at its expected commit.
    fn lock_and_check(
        &self,
        RefUpdate { branch, from, to }: &RefUpdate<'_>,
        deadline: Instant,
    ) -> Result<Option<LockedRef>> {
        let (name, head) = self.resolve(&branch.full())?;
        // Removing a symbolic branch does not affect its target. Any other update to a symbolic
        // branch changes the target.
        let name = if to.is_some() { name } else { branch.full() };
        if head != *from {
            return Ok(None);
        }
        let lock = self.lock(&name, deadline)?;
        let now = match self.target(&name)? {
            RefTarget::Object(id) => Some(id),
            RefTarget::Missing => None,
            // Another program replaced the ref with a symbolic ref after the ref had been resolved.
            RefTarget::Symbolic(_) if to.is_some() => return Ok(None),
            RefTarget::Symbolic(_) => self.resolve(&name)?.1,
        };
        if now != *from {
            return Ok(None);
        }
        // In a damaged repository, a packed branch `a` and a branch `a/b` can both exist.
        if to.is_some() && (from.is_none() || self.path(&name).is_dir()) {
            self.check_no_conflict(&name, None)?;
        }
        Ok(Some(LockedRef { name, from: *from, to: *to, lock }))
    }

    pub(super) fn lock(&self, name: &[u8], deadline: Instant) -> Result<LockFile> {
        LockFile::acquire(&self.path(name), &self.top(name), self.policy, deadline).map_err(
            |error| match error {
                LockError::NotADirectory(file) => {
                    let other = file.strip_prefix(self.common()).unwrap_or(&file);
                    conflict(name, other.as_os_str().as_bytes())
                }
                other => lock_error(name, other),
            },
        )
    }

    fn check_no_conflict(&self, name: &[u8], except: Option<&[u8]>) -> Result<()> {
        self.conflicting_ref(name, except)?.map_or(Ok(()), |other| Err(conflict(name, &other)))
    }

    /// Renames a branch. The new name can be a parent or a child of the old name. For example, `a`
    /// can be renamed to `a/b`. Returns `false` if the branch is not at `head` or if the new name
    /// already exists.
    pub(super) fn rename(
        &self,
        old: &BranchName,
        new: &BranchName,
        head: Id,
        reason: &ReflogReason<'_>,
    ) -> Result<bool> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let (old, new) = (old.full(), new.full());
        let old_lock = self.lock(&old, deadline)?;
        match self.target(&old)? {
            RefTarget::Object(id) if id == head => {}
            RefTarget::Symbolic(to) => return Err(is_symbolic(&old, &to)),
            _ => return Ok(false),
        }
        self.check_no_conflict(&new, Some(&old))?;
        let work_trees = self.checked_out_in(&old)?;
        let updates = self.work_tree_updates(&new, None, Some(head))?;
        let packed = self.lock_packed_refs(deadline)?;
        let failed = |error: io::Error| Error::io("packed-refs", error);
        // Pack the branch and remove its loose file, so that it can be renamed with a single change
        // to `packed-refs`. The loose file must also be removed because the new name may require a
        // directory at the same path.
        packed.change(&[], Some((&old, head))).map_err(failed)?;
        self.remove_loose(&old)?;
        let new_lock = self.lock(&new, deadline)?;
        match self.target(&new)? {
            RefTarget::Missing => {}
            RefTarget::Object(_) => return Ok(false),
            RefTarget::Symbolic(to) => return Err(is_symbolic(&new, &to)),
        }
        self.check_no_conflict(&new, Some(&old))?;
        with_work_trees(&updates, || packed.change(&[&old], Some((&new, head))).map_err(failed))?;
        // From here on, errors are logged but not returned, because the branch has already been
        // renamed.
        for tree in &work_trees {
            if let Err(error) = self.set_head(tree, &new, deadline) {
                tracing::error!(
                    "HEAD of {tree:?} still points to {}, which was renamed to {}: {error}",
                    short_name(&old),
                    short_name(&new)
                );
            }
        }
        self.move_log(&old, &new);
        self.move_settings(&old, Some(&new));
        if let Err(error) = self.log_rename(&old, &new, head, reason) {
            tracing::warn!("cannot write to the log of {}: {error}", short_name(&new));
        }
        drop((new_lock, old_lock, packed));
        Ok(true)
    }

    /// Renames a branch's reflog. Errors are logged but not returned.
    fn move_log(&self, old: &[u8], new: &[u8]) {
        let [from, to, temporary] = [old, new, b"refs/.datakit-renamed"]
            .map(|name| self.common().join("logs").join(OsStr::from_bytes(name)));
        let top = self.common().join("logs/refs/heads");
        let moved = (|| {
            if let Err(error) = fs::rename(&from, &temporary) {
                return if is_absent(&error) { Ok(()) } else { Err(error) };
            }
            remove_empty_parents(&from, &top);
            remove_empty_dirs(&to);
            to.parent().map_or(Ok(()), |dir| self.policy.create_dirs(&top, dir))?;
            fs::rename(&temporary, &to)
        })();
        if let Err(error) = moved {
            tracing::warn!("cannot rename the log of {}: {error}", short_name(new));
        }
    }

    /// Renames or removes the `[branch "NAME"]` section in the configuration, as `git branch` does.
    /// Errors are logged but not returned.
    fn move_settings(&self, old: &[u8], new: Option<&[u8]>) {
        let config = self.common().join("config");
        let title = format!("[branch \"{}\"]", short_name(old).replace('"', "\\\""));
        if !fs::read(&config).is_ok_and(|text| text.contains_str(&title)) {
            return;
        }
        let section = |name: &[u8]| format!("branch.{}", short_name(name));
        let mut git = isolated_git(self.policy.owner());
        git.args(["config", "--file"]).arg(&config);
        match new {
            Some(new) => git.args(["--rename-section", &section(old), &section(new)]),
            None => git.args(["--remove-section", &section(old)]),
        };
        let failure = match git.output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => format!("cannot run git: {error}"),
        };
        tracing::warn!("cannot change {title} in {}: {failure}", config.display());
    }

    /// Removes refs and their reflogs. The caller must hold the locks on the refs, unless nothing
    /// else uses the refs.
    pub(super) fn remove_all(&self, names: &[&[u8]], deadline: Instant) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        // Lock `packed-refs` even if none of the refs are packed, because `git pack-refs` may be
        // about to pack them.
        let packed = self.lock_packed_refs(deadline)?;
        packed.change(names, None).map_err(|error| Error::io("packed-refs", error))?;
        for name in names {
            self.remove_loose(name)?;
            let logs = self.common().join("logs");
            let log = logs.join(OsStr::from_bytes(name));
            if fs::remove_file(&log).is_ok() {
                remove_empty_parents(&log, &logs.join("refs"));
            }
        }
        Ok(())
    }

    fn lock_packed_refs(&self, deadline: Instant) -> Result<PackedRefsLock<'_>> {
        PackedRefsLock::acquire(self.common(), self.policy, deadline)
            .map_err(|error| lock_error(b"packed-refs", error))
    }

    fn remove_loose(&self, name: &[u8]) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            // Ignore the error if the ref has no loose file, because the ref may be packed. There
            // can even be a directory at the path of a packed ref.
            Err(error) if !is_absent(&error) && !path.is_dir() => {
                Err(Error::io(name.as_bstr(), error))
            }
            _ => Ok(()),
        }
    }

    /// Syncs the directories that contain the given loose refs, and their parents up to the
    /// directory directly below `refs`.
    pub(super) fn sync_parents<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Result<()> {
        if !self.policy.fsync.syncs_dirs() {
            return Ok(());
        }
        let refs = self.common().join("refs");
        let mut dirs = BTreeSet::new();
        for name in names {
            let path = self.path(name);
            let parents = path.ancestors().skip(1).take_while(|dir| *dir != refs);
            dirs.extend(parents.map(Path::to_owned));
        }
        // Sync the deepest directories first. If a directory is missing, it was removed along with
        // its last branch.
        for dir in dirs.into_iter().rev() {
            match sync_dir(&dir) {
                Err(error) if !is_absent(&error) => return Err(Error::io(dir.display(), error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Updates work trees and then calls `update_refs`. Reverts the work tree updates if either step
/// fails.
fn with_work_trees(
    updates: &[WorkTreeUpdate],
    update_refs: impl FnOnce() -> Result<()>,
) -> Result<()> {
    for (done, update) in updates.iter().enumerate() {
        if let Err(error) = update.apply() {
            updates.iter().take(done).for_each(WorkTreeUpdate::revert);
            return Err(error);
        }
    }
    update_refs().inspect_err(|_| updates.iter().for_each(WorkTreeUpdate::revert))
}

fn is_symbolic(name: &[u8], to: &[u8]) -> Error {
    let (name, to) = (short_name(name), short_name(to));
    Error::Refused(format!("branch {name:?} is a symbolic ref to {to:?}"))
}

fn conflict(name: &[u8], other: &[u8]) -> Error {
    Error::BranchConflict { branch: short_name(name), other: short_name(other) }
}

fn lock_error(name: &[u8], error: LockError) -> Error {
    match error {
        LockError::Timeout(path) => {
            ref_error(name, format!("another program holds {}", path.display()))
        }
        LockError::NotADirectory(path) => {
            ref_error(name, format!("{} is not a directory", path.display()))
        }
        LockError::Io(error) => Error::io(name.as_bstr(), error),
    }
}
