//! Manages the `refs/remotes/REMOTE/BRANCH` refs, which protect fetched objects from garbage
//! collection.

use std::io::{self, Write};
use std::time::Instant;

use bstr::ByteSlice;

use super::lock_file::remove_empty_parents;
use super::ref_update::LOCK_TIMEOUT;
use super::refs::Refs;
use crate::{BranchName, Error, Id, Result};

/// The prefix of all refs that belong to remotes.
const REMOTES: &str = "refs/remotes/";

impl Refs<'_> {
    /// Returns a variant of the name `remote` such that the ref for `branch` does not conflict with
    /// any existing ref. Appends `+` to the name until there is no conflict. For example, the ref
    /// of a branch `a/b` conflicts with the ref of a branch `a` that was fetched earlier.
    pub(super) fn free_remote_name(&self, remote: &str, branch: &BranchName) -> Result<String> {
        let mut remote = remote.to_owned();
        while self.conflicting_ref(&full_name(&remote, branch), None)?.is_some() {
            remote.push('+');
        }
        Ok(remote)
    }

    /// Protects a fetched commit from garbage collection until
    /// [`forget_remote`](Refs::forget_remote) is called.
    pub(super) fn keep_remote(&self, remote: &str, branch: &BranchName, id: Id) -> Result<()> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let name = full_name(remote, branch);
        let remotes = self.common().join("refs/remotes");
        self.policy.create_dir(&remotes).map_err(|error| Error::io(remotes.display(), error))?;
        let mut lock = self.lock(&name, deadline)?;
        let failed = |error: io::Error| Error::io(name.as_bstr(), error);
        writeln!(lock.file, "{id}").map_err(failed)?;
        if self.policy.fsync.syncs_files() {
            lock.file.sync_all().map_err(failed)?;
        }
        lock.commit(deadline).map_err(failed)?;
        self.sync_parents(std::iter::once(&*name))
    }

    /// Removes all refs that belong to a remote.
    pub(super) fn forget_remote(&self, remote: &str) -> Result<()> {
        self.forget_remotes(|name| name.trim_end_matches('+') == remote)
    }

    /// Removes the refs of remotes left behind by killed servers. Servers name their remotes
    /// `datakit-PID-NUMBER`.
    pub(super) fn forget_stale_remotes(&self) -> Result<()> {
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        self.forget_remotes(|name| {
            let parts = name.strip_prefix("datakit-").and_then(|name| name.split_once('-'));
            parts.is_some_and(|(pid, number)| {
                is_number(pid) && is_number(number.trim_end_matches('+'))
            })
        })
    }

    /// Removes the refs of every remote whose name `matches` accepts. The refs need not be locked,
    /// because no other program updates them.
    fn forget_remotes(&self, matches: impl Fn(&str) -> bool) -> Result<()> {
        let found = self.with_prefix(REMOTES.as_bytes())?;
        let names: Vec<_> = found
            .keys()
            .map(|name| &**name)
            .filter(|name| {
                let name = name.to_str_lossy();
                let remote = name.strip_prefix(REMOTES).and_then(|name| name.split_once('/'));
                remote.is_some_and(|(remote, _)| matches(remote))
            })
            .collect();
        self.remove_all(&names, Instant::now() + LOCK_TIMEOUT)?;
        for name in &names {
            remove_empty_parents(&self.path(name), &self.top(name));
        }
        self.sync_parents(names.iter().copied())
    }
}

fn full_name(remote: &str, branch: &BranchName) -> Vec<u8> {
    [REMOTES.as_bytes(), remote.as_bytes(), b"/", branch.as_bytes()].concat()
}
