//! Moves of branches, under their locks.
//!
//! What another program sees is always one or the other: a branch moves when its lock file gets its
//! name, and a renamed one when `packed-refs` does, which has neither both names nor none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice;

use super::checkout::{Follower, program};
use super::lock::{Lock, NoLock, remove_empty, remove_empty_above};
use super::packed::Packed;
use super::reflog::Reason;
use super::refs::{Refs, Value, failed, is_absent, short};
use super::sync_dir;
use crate::store::RefUpdate;
use crate::{BranchName, Error, Id, Result};

/// How long another program may hold the lock of a branch, or of `packed-refs`.
const PATIENCE: Duration = Duration::from_secs(5);

/// One ref that is locked, and where it is to go.
struct Edit {
    name: Vec<u8>,
    from: Option<Id>,
    to: Option<Id>,
    lock: Lock,
}

impl Refs<'_> {
    /// All of the moves or none, after `keep` has kept what they lead to, and the files that it is
    /// given: the new values of the branches. False when a branch is not where it was thought to
    /// be; nothing need have been kept then.
    pub(super) fn update(
        &self,
        moves: &[RefUpdate<'_>],
        reason: &Reason<'_>,
        keep: impl FnOnce(&[File]) -> Result<()>,
    ) -> Result<bool> {
        let until = Instant::now() + PATIENCE;
        let mut edits = Vec::new();
        // In the order of their names: two who want the same locks do not wait for each other.
        let mut moves = moves.to_vec();
        moves.sort_by_key(|motion| motion.branch);
        for motion in &moves {
            match self.edit(motion, until)? {
                Some(edit) => edits.push(edit),
                None => return Ok(false),
            }
        }
        let mut new = Vec::new();
        for edit in &mut edits {
            let Some(to) = edit.to else { continue };
            let kept = |error| Error::io(edit.name.as_bstr(), &error);
            writeln!(edit.lock.file, "{to}").map_err(kept)?;
            if self.files.sync.files() {
                new.push(edit.lock.file.try_clone().map_err(kept)?);
            }
        }
        let mut followers = Vec::new();
        for edit in &edits {
            followers.extend(self.followers(&edit.name, edit.from, edit.to)?);
        }
        keep(&new)?;
        with_followers(&followers, || {
            edits.iter_mut().try_for_each(|edit| {
                let Some(to) = edit.to else { return Ok(()) };
                let logged = self.log_move(&edit.name, edit.from, to, reason);
                logged.map_err(|error| {
                    Error::io(format_args!("log of {}", edit.name.as_bstr()), &error)
                })?;
                edit.lock.place(until).map_err(|error| Error::io(edit.name.as_bstr(), &error))
            })
        })?;
        let removed: Vec<_> =
            edits.iter().filter(|edit| edit.to.is_none() && edit.from.is_some()).collect();
        self.remove_all(&removed.iter().map(|edit| &*edit.name).collect::<Vec<_>>(), until)?;
        self.sync_all(edits.iter().map(|edit| &*edit.name))?;
        removed.iter().for_each(|edit| self.settings(&edit.name, None));
        Ok(true)
    }

    /// Locks what is to be moved. `None`: it is elsewhere.
    fn edit(
        &self,
        RefUpdate { branch, from, to }: &RefUpdate<'_>,
        until: Instant,
    ) -> Result<Option<Edit>> {
        let (name, at) = self.resolve(&branch.full())?;
        // A symbolic branch is removed itself, everything else is done to the one that it leads to.
        let name = if to.is_some() { name } else { branch.full() };
        if at != *from {
            return Ok(None);
        }
        let lock = self.lock(&name, until)?;
        let now = match self.value(&name)? {
            Value::At(id) => Some(id),
            Value::Missing => None,
            // It has become one meanwhile, unless it was one.
            Value::Symbolic(_) if to.is_some() => return Ok(None),
            Value::Symbolic(_) => self.resolve(&name)?.1,
        };
        if now != *from {
            return Ok(None);
        }
        // A packed one that is there may be beside others in a repository that was damaged before.
        if to.is_some() && (from.is_none() || self.path(&name).is_dir()) {
            self.check_free(&name, None)?;
        }
        Ok(Some(Edit { name, from: *from, to: *to, lock }))
    }

    fn lock(&self, name: &[u8], until: Instant) -> Result<Lock> {
        Lock::take(&self.path(name), &self.top(name), self.files, until).map_err(
            |error| match error {
                NoLock::Blocked(file) => in_the_way(name, self.name_of(&file).as_bytes()),
                other => no_lock(name, other),
            },
        )
    }

    fn name_of(&self, file: &Path) -> std::ffi::OsString {
        file.strip_prefix(self.common()).unwrap_or(file).as_os_str().to_owned()
    }

    fn check_free(&self, name: &[u8], but: Option<&[u8]>) -> Result<()> {
        self.in_the_way(name, but)?.map_or(Ok(()), |other| Err(in_the_way(name, &other)))
    }

    /// Gives a branch another name, whatever the two have in common. False: it is not at `head`, or
    /// the new name is taken.
    pub(super) fn rename(
        &self,
        old: &BranchName,
        new: &BranchName,
        head: Id,
        reason: &Reason<'_>,
    ) -> Result<bool> {
        let until = Instant::now() + PATIENCE;
        let (old, new) = (old.full(), new.full());
        let old_lock = self.lock(&old, until)?;
        match self.value(&old)? {
            Value::At(at) if at == head => {}
            Value::Symbolic(to) => {
                return Err(is_symbolic(&old, &to));
            }
            _ => return Ok(false),
        }
        self.check_free(&new, Some(&old))?;
        let work_trees = self.checked_out_in(&old)?;
        let followers = self.followers(&new, None, Some(head))?;
        let packed = self.lock_packed(until)?;
        let written = |error: io::Error| Error::io("packed-refs", &error);
        // Packed only, so that one step changes the name. No directory of the new name is in the
        // way of the file then.
        packed.change(&BTreeSet::new(), &BTreeMap::from([(&*old, head)])).map_err(written)?;
        self.remove_file(&old)?;
        let new_lock = self.lock(&new, until)?;
        match self.value(&new)? {
            Value::Missing => {}
            Value::At(_) => return Ok(false),
            Value::Symbolic(to) => return Err(is_symbolic(&new, &to)),
        }
        self.check_free(&new, Some(&old))?;
        with_followers(&followers, || {
            packed
                .change(&BTreeSet::from([&*old]), &BTreeMap::from([(&*new, head)]))
                .map_err(written)
        })?;
        // The branch has its name. What fails from here on is no reason to say that it has not.
        for tree in &work_trees {
            if let Err(error) = self.set_head(tree, &new, until) {
                tracing::error!(
                    "{tree:?} is left on {}, which is {} now: {error}",
                    short(&old),
                    short(&new)
                );
            }
        }
        self.move_log(&old, &new);
        self.settings(&old, Some(&new));
        if let Err(error) = self.log_rename(&old, &new, head, reason) {
            tracing::warn!("the log of {} is not continued: {error}", short(&new));
        }
        drop((new_lock, old_lock, packed));
        Ok(true)
    }

    /// The log of a renamed branch goes with it. The branch has its name already, whatever becomes
    /// of the log.
    fn move_log(&self, old: &[u8], new: &[u8]) {
        let [from, to, aside] = [old, new, b"refs/.datakit-renamed"]
            .map(|name| self.common().join("logs").join(std::ffi::OsStr::from_bytes(name)));
        let top = self.common().join("logs/refs/heads");
        let moved = (|| {
            if let Err(error) = fs::rename(&from, &aside) {
                return if is_absent(&error) { Ok(()) } else { Err(error) };
            }
            remove_empty_above(&from, &top);
            remove_empty(&to);
            to.parent().map_or(Ok(()), |dir| self.files.make_dirs(&top, dir))?;
            fs::rename(&aside, &to)
        })();
        if let Err(error) = moved {
            tracing::warn!("the log of {} stays behind: {error}", short(new));
        }
    }

    /// The settings of a branch, as what it is pulled from, go with it when it gets another name or
    /// none. The branch has it already, whatever becomes of them.
    fn settings(&self, old: &[u8], new: Option<&[u8]>) {
        let config = self.common().join("config");
        let title = format!("[branch \"{}\"]", short(old).replace('"', "\\\""));
        if !fs::read(&config).is_ok_and(|text| text.contains_str(&title)) {
            return;
        }
        let section = |name: &[u8]| format!("branch.{}", short(name));
        let mut git = program(self.files.owner());
        git.args(["config", "--file"]).arg(&config);
        match new {
            Some(new) => git.args(["--rename-section", &section(old), &section(new)]),
            None => git.args(["--remove-section", &section(old)]),
        };
        match git.output() {
            Ok(out) if out.status.success() => {}
            Ok(out) => {
                tracing::warn!(
                    "{title} stays in {}: {}",
                    config.display(),
                    String::from_utf8_lossy(&out.stderr)
                )
            }
            Err(error) => {
                tracing::warn!("{title} stays in {}: cannot start git: {error}", config.display())
            }
        }
    }

    /// Removes refs that are locked or nobody else's.
    fn remove_all(&self, names: &[&[u8]], until: Instant) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        // Also if none is packed: `git pack-refs` may be about to do it.
        let packed = self.lock_packed(until)?;
        let removed = names.iter().copied().collect();
        packed
            .change(&removed, &BTreeMap::new())
            .map_err(|error| Error::io("packed-refs", &error))?;
        for name in names {
            self.remove_file(name)?;
            let (log, top) = (
                self.common().join("logs").join(std::ffi::OsStr::from_bytes(name)),
                self.common().join("logs/refs"),
            );
            if fs::remove_file(&log).is_ok() {
                remove_empty_above(&log, &top);
            }
        }
        Ok(())
    }

    fn lock_packed(&self, until: Instant) -> Result<Packed<'_>> {
        Packed::lock(self.common(), self.files, until)
            .map_err(|error| no_lock(b"packed-refs", error))
    }

    fn remove_file(&self, name: &[u8]) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            // A packed one has no file, and others may be in a directory of its name.
            Err(error) if !is_absent(&error) && !path.is_dir() => {
                Err(Error::io(name.as_bstr(), &error))
            }
            _ => Ok(()),
        }
    }

    /// The name under which a branch is fetched: that of the remote, or with `+` behind it where
    /// another one is in the way. The remote had `a` before it had `a/b`, and what was fetched then
    /// is kept.
    pub(super) fn free_remote(&self, remote: &str, branch: &BranchName) -> Result<String> {
        let mut remote = remote.to_owned();
        while self
            .in_the_way(
                &[format!("refs/remotes/{remote}/").as_bytes(), branch.as_bytes()].concat(),
                None,
            )?
            .is_some()
        {
            remote.push('+');
        }
        Ok(remote)
    }

    /// Keeps what was fetched for as long as the remote is not [forgotten](Refs::forget_remote).
    pub(super) fn keep_remote(&self, remote: &str, branch: &BranchName, id: Id) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let name = [b"refs/remotes/", remote.as_bytes(), b"/", branch.as_bytes()].concat();
        let remotes = self.common().join("refs/remotes");
        self.files.make_dir(&remotes).map_err(|error| Error::io(remotes.display(), &error))?;
        let mut lock = self.lock(&name, until)?;
        let written = |error: io::Error| Error::io(name.as_bstr(), &error);
        writeln!(lock.file, "{id}").map_err(written)?;
        if self.files.sync.files() {
            lock.file.sync_all().map_err(written)?;
        }
        lock.place(until).map_err(written)?;
        self.sync_all(std::iter::once(&*name))
    }

    /// Removes what was fetched under a name.
    pub(super) fn forget_remote(&self, remote: &str) -> Result<()> {
        self.forget("refs/remotes/", |name| {
            let name = name.to_str_lossy();
            let within = name.strip_prefix("refs/remotes/").and_then(|name| name.split_once('/'));
            within.is_some_and(|(name, _)| name.trim_end_matches('+') == remote)
        })
    }

    /// Removes what servers fetched that were killed.
    pub(super) fn forget_left(&self) -> Result<()> {
        const PREFIX: &str = "refs/remotes/datakit-";
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        self.forget("refs/remotes/", |name| {
            let name = name.to_str_lossy();
            let remote = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
            remote
                .and_then(|(remote, _)| remote.split_once('-'))
                .is_some_and(|(pid, n)| number(pid) && number(n.trim_end_matches('+')))
        })
    }

    /// Removes the refs below a prefix that `which` wants, without their locks: nobody else moves
    /// them.
    fn forget(&self, prefix: &str, which: impl Fn(&[u8]) -> bool) -> Result<()> {
        let found = self.below(prefix.as_bytes())?;
        let names: Vec<_> = found.keys().map(|name| &**name).filter(|name| which(name)).collect();
        self.remove_all(&names, Instant::now() + PATIENCE)?;
        for name in &names {
            remove_empty_above(&self.path(name), &self.top(name));
        }
        self.sync_all(names.iter().copied())
    }

    /// Directories below `refs`, each of which may be new but for `heads`.
    fn sync_all<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Result<()> {
        if !self.files.sync.names() {
            return Ok(());
        }
        let refs = self.common().join("refs");
        let paths: Vec<_> = names.map(|name| self.path(name)).collect();
        let dirs: BTreeSet<_> = paths
            .iter()
            .flat_map(|path| path.ancestors().skip(1).take_while(|dir| *dir != refs))
            .collect();
        // The deepest first. A directory goes with its last branch.
        for dir in dirs.into_iter().rev() {
            match sync_dir(dir) {
                Err(error) if !is_absent(&error) => return Err(Error::io(dir.display(), &error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Moves branches after the work trees that go with them, which go back if the branches do not
/// move.
fn with_followers(followers: &[Follower], moved: impl FnOnce() -> Result<()>) -> Result<()> {
    for (done, follower) in followers.iter().enumerate() {
        if let Err(error) = follower.go() {
            followers.iter().take(done).for_each(Follower::back);
            return Err(error);
        }
    }
    moved().inspect_err(|_| followers.iter().for_each(Follower::back))
}

fn is_symbolic(name: &[u8], to: &[u8]) -> Error {
    Error::Refused(format!("branch {:?} is symbolic, of {:?}", short(name), short(to)))
}

fn in_the_way(name: &[u8], other: &[u8]) -> Error {
    Error::InTheWay { branch: short(name), other: short(other) }
}

fn no_lock(name: &[u8], error: NoLock) -> Error {
    match error {
        NoLock::Held(path) => {
            failed(name, &format_args!("another program holds {}", path.display()))
        }
        NoLock::Blocked(path) => failed(name, &format_args!("{} is no directory", path.display())),
        NoLock::Io(error) => Error::io(name.as_bstr(), &error),
    }
}
