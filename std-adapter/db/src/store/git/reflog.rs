//! Writes reflogs. Each reflog entry records who changed a branch, the old and new commits, and the
//! reason for the change.
//!
//! As in Git, an entry is always added if the reflog already exists. A new reflog is created only
//! if `core.logAllRefUpdates` is enabled. By default, this setting is enabled in repositories that
//! have a work tree. A branch's reflog is removed along with the branch.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use gix_actor::Signature;
use gix_ref::store::WriteReflog;

use super::config::is_set;
use super::discover::MainWorkTree;
use super::lock_file::remove_empty_dirs;
use super::refs::{HEADS, Refs, is_absent};
use crate::Id;
use crate::model::identity::{Authorship, Identity};
use crate::model::object::{Object, ObjectKind};

/// The data that determines the author and the message of a reflog entry.
pub(super) struct ReflogReason<'a> {
    /// The objects that were written for the update. If these objects include the branch's new
    /// head, the reflog entry contains that commit's committer and subject.
    pub(super) objects: &'a [(Id, Object)],
    /// The author of reflog entries for updates that do not write a commit.
    pub(super) identity: &'a Identity,
}

impl ReflogReason<'_> {
    /// Returns the author and the message to record in the reflog when a branch is set to commit
    /// `to`.
    fn describe(&self, to: Id) -> (Signature, BString) {
        let commits =
            self.objects.iter().rev().filter(|(_, object)| object.kind == ObjectKind::Commit);
        let commit = commits.filter(|(id, _)| *id == to).map(|(_, commit)| commit).next();
        commit
            .and_then(describe_commit)
            .unwrap_or_else(|| (self.signature(), "fast-forward".into()))
    }

    fn signature(&self) -> Signature {
        Authorship::now(self.identity).committer
    }
}

fn describe_commit(object: &Object) -> Option<(Signature, BString)> {
    let commit = gix_object::CommitRef::from_bytes(&object.data, gix_hash::Kind::Sha1).ok()?;
    let committer = commit.committer().ok()?.to_owned().ok()?;
    let kind = match commit.parents().count() {
        0 => "commit (initial)",
        1 => "commit",
        _ => "commit (merge)",
    };
    let mut message: BString = format!("{kind}: ").into();
    let subject = commit.message.lines().next().unwrap_or_default();
    // A reflog entry is a single line, so replace control characters, including tabs and carriage
    // returns, with spaces.
    message.extend(subject.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
    Some((committer, message))
}

impl Refs<'_> {
    /// Adds an entry to the reflog of the ref `name` before the ref changes.
    pub(super) fn log_update(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Id,
        reason: &ReflogReason<'_>,
    ) -> io::Result<()> {
        self.log(name, from, to, || reason.describe(to))
    }

    /// Records in the reflog that `old` was renamed to `new`.
    pub(super) fn log_rename(
        &self,
        old: &[u8],
        new: &[u8],
        head: Id,
        reason: &ReflogReason<'_>,
    ) -> io::Result<()> {
        let message = format!("Branch: renamed {} to {}", old.as_bstr(), new.as_bstr());
        self.log(new, Some(head), head, || (reason.signature(), message.into()))
    }

    /// Appends an entry to the reflog of a ref. If `HEAD` points to the ref, the entry is also
    /// appended to the reflog of `HEAD`.
    fn log(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Id,
        describe: impl FnOnce() -> (Signature, BString),
    ) -> io::Result<()> {
        let logs = self.common().join("logs");
        let path = logs.join(OsStr::from_bytes(name));
        let own = self.open_log(&logs, &path, name)?;
        let head = if self.head_points_to(name) {
            let logs = self.common().join("logs");
            self.open_log(&logs, &logs.join("HEAD"), b"HEAD")?
        } else {
            None
        };
        if own.is_none() && head.is_none() {
            return Ok(());
        }
        let (author, message) = describe();
        let from = from.map_or_else(|| "0".repeat(40), |from| from.to_string());
        let mut line = format!("{from} {to} ").into_bytes();
        author.write_to(&mut line)?;
        line.push(b'\t');
        line.extend_from_slice(&message);
        line.push(b'\n');
        own.into_iter().chain(head).try_for_each(|mut log| log.write_all(&line))
    }

    /// Determines which refs get a new reflog when they are updated.
    fn new_logs(&self) -> WriteReflog {
        let (config, key) = (self.repository.config(), "core.logAllRefUpdates");
        if config.string(key).is_some_and(|value| value.eq_ignore_ascii_case(b"always")) {
            return WriteReflog::Always;
        }
        let has_work_tree = !matches!(self.work_tree, MainWorkTree::None);
        if is_set(config, key, has_work_tree) { WriteReflog::Normal } else { WriteReflog::Disable }
    }

    /// Opens the reflog of a ref, creating it if it is missing and the configuration requires it.
    /// Returns `None` if there is no reflog.
    fn open_log(&self, logs: &Path, path: &Path, name: &[u8]) -> io::Result<Option<File>> {
        let create = match self.new_logs() {
            WriteReflog::Disable => false,
            WriteReflog::Normal => name == b"HEAD" || name.starts_with(HEADS),
            WriteReflog::Always => true,
        };
        let mut log = OpenOptions::new();
        log.append(true);
        match log.open(path) {
            Err(error) if !is_absent(&error) => Err(error),
            Err(_) if !create => Ok(None),
            Err(error) => {
                if error.kind() == io::ErrorKind::IsADirectory {
                    // The reflog's path may be occupied by a directory that contains only empty
                    // directories. Such directories are left behind when branches are removed.
                    remove_empty_dirs(path);
                }
                self.policy.create_dir(logs)?;
                path.parent().map_or(Ok(()), |dir| self.policy.create_dirs(logs, dir))?;
                let log = log.create(true).open(path)?;
                self.policy.apply(&log)?;
                Ok(Some(log))
            }
            opened => opened.map(Some),
        }
    }

    fn head_points_to(&self, name: &[u8]) -> bool {
        let head = fs::read(self.common().join("HEAD")).unwrap_or_default();
        head.strip_prefix(b"ref:").is_some_and(|to| to.trim_ascii() == name)
    }
}
