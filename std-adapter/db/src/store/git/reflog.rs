//! `logs/`: who moved a branch, from where to where, and why.
//!
//! A log that is there is continued, and one is begun when `core.logAllRefUpdates` says so, as Git
//! does it: `true` is the default of a repository with a work tree. The log of a branch goes with
//! the branch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use gix::actor::Signature;
use gix::bstr::{BString, ByteSlice};
use gix::refs::store::WriteReflog;

use super::refs::{HEADS, Refs};
use crate::Id;
use crate::model::identity::{Authorship, Identity};
use crate::model::object::{Object, ObjectKind};

/// Why branches move.
pub(super) struct Reason<'a> {
    /// What was written for the moves. A commit in it says who made it.
    pub(super) objects: &'a [(Id, Object)],
    /// Whoever does all else.
    pub(super) identity: &'a Identity,
}

impl Reason<'_> {
    /// Who moves a branch to `to`, and the message.
    fn of(&self, to: Id) -> (Signature, BString) {
        let found = self
            .objects
            .iter()
            .rev()
            .find(|(id, object)| *id == to && object.kind == ObjectKind::Commit);
        let forward = || (Authorship::now(self.identity).committer, "fast-forward".into());
        found.and_then(|(_, object)| committed(object)).unwrap_or_else(forward)
    }
}

fn committed(object: &Object) -> Option<(Signature, BString)> {
    let commit = gix::objs::CommitRef::from_bytes(&object.data, gix::hash::Kind::Sha1).ok()?;
    let by = commit.committer().ok()?.to_owned().ok()?;
    let kind = match commit.parents().count() {
        0 => "commit (initial)",
        1 => "commit",
        _ => "commit (merge)",
    };
    let mut message: BString = format!("{kind}: ").into();
    let subject = commit.message.lines().next().unwrap_or_default();
    // One line: a tab ends what is before the message, and a carriage return would be another line
    // to some.
    message.extend(subject.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
    Some((by, message))
}

impl Refs<'_> {
    /// Logs that `name` is about to move.
    pub(super) fn log_move(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Id,
        reason: &Reason<'_>,
    ) -> io::Result<()> {
        self.log(name, from, to, || reason.of(to))
    }

    /// Logs that `new` was `old` before.
    pub(super) fn log_rename(
        &self,
        old: &[u8],
        new: &[u8],
        at: Id,
        reason: &Reason<'_>,
    ) -> io::Result<()> {
        let message = format!("Branch: renamed {} to {}", old.as_bstr(), new.as_bstr());
        self.log(new, Some(at), at, || (Authorship::now(reason.identity).committer, message.into()))
    }

    /// In the log of the ref, and in that of `HEAD` where it leads there.
    fn log(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Id,
        reason: impl FnOnce() -> (Signature, BString),
    ) -> io::Result<()> {
        let logs = self.common().join("logs");
        let own = self.open_log(
            &logs,
            &logs.join(gix::path::from_byte_slice(name).map_err(io::Error::other)?),
            name,
        )?;
        let head = if self.is_head(name) {
            let logs = self.repository.git_dir().join("logs");
            self.open_log(&logs, &logs.join("HEAD"), b"HEAD")?
        } else {
            None
        };
        if own.is_none() && head.is_none() {
            return Ok(());
        }
        let (by, message) = reason();
        let mut line =
            format!("{} {to} ", from.map_or_else(|| "0".repeat(40), |from| from.to_string()))
                .into_bytes();
        by.write_to(&mut line)?;
        line.push(b'\t');
        line.extend_from_slice(&message);
        line.push(b'\n');
        own.into_iter().chain(head).try_for_each(|mut log| log.write_all(&line))
    }

    /// The log of a ref, which is made if it is wanted. `None`: there is none.
    fn open_log(&self, logs: &Path, path: &Path, name: &[u8]) -> io::Result<Option<File>> {
        let wanted = match self.repository.refs.write_reflog {
            WriteReflog::Disable => false,
            WriteReflog::Normal => name == b"HEAD" || name.starts_with(HEADS),
            WriteReflog::Always => true,
        };
        let mut log = OpenOptions::new();
        log.append(true);
        match log.open(path) {
            Err(error) if !super::refs::is_absent(&error) => Err(error),
            Err(_) if !wanted => Ok(None),
            Err(error) => {
                if error.kind() == io::ErrorKind::IsADirectory {
                    // Of branches that are gone.
                    super::lock::remove_empty(path);
                }
                self.files.make_dir(logs)?;
                path.parent().map_or(Ok(()), |dir| self.files.make_dirs(logs, dir))?;
                let log = log.create(true).open(path)?;
                self.files.adopt(&log)?;
                Ok(Some(log))
            }
            opened => opened.map(Some),
        }
    }

    /// Whether `HEAD` leads to this branch.
    fn is_head(&self, name: &[u8]) -> bool {
        let head = fs::read(self.repository.git_dir().join("HEAD")).unwrap_or_default();
        head.strip_prefix(b"ref:").is_some_and(|to| to.trim_ascii() == name)
    }
}
