//! Branches: loose or packed, moved under their locks.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use gix::Repository;
use gix::bstr::{BStr, ByteSlice};
use gix::lock::acquire::Fail;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};

use super::fsync::Fsync;
use super::sync_dir;
use crate::db::store::Move;
use crate::db::{BranchName, Error, Id, Result};

/// How long another program may hold the lock of a branch, or of `packed-refs`.
const PATIENCE: Fail = Fail::AfterDurationWithBackoff(Duration::from_secs(5));

pub(super) fn head(repository: &Repository, branch: &BranchName) -> Result<Option<Id>> {
    let name = full(branch)?;
    // Twice: a branch that is packed between a look at its file and one at `packed-refs` is found the second time.
    match find(repository, &name)? {
        Some(id) => Ok(Some(id)),
        None => {
            look_again(repository);
            find(repository, &name)
        }
    }
}

/// Reads `packed-refs` anew, whatever its time says.
fn look_again(repository: &Repository) {
    // An error where there is none, which is as good; any other comes back at the next look.
    let _ = repository.refs.force_refresh_packed_buffer();
}

fn find(repository: &Repository, name: &FullName) -> Result<Option<Id>> {
    let found = repository.refs.try_find(name.as_ref().as_partial_name()).map_err(|error| store(name, &error))?;
    // Of this very name: what is not found is looked for in other places as well.
    let found = found.filter(|found| found.name == *name);
    Ok(found.and_then(|found| Some(found.target.try_id()?.to_owned().into())))
}

fn full(branch: &BranchName) -> Result<FullName> {
    let name = branch.full();
    FullName::try_from(name.as_bstr()).map_err(|error| Error::Store(format!("branch {branch}: {error}")))
}

fn store(name: &FullName, error: &dyn std::fmt::Display) -> Error {
    Error::Store(format!("{}: {error}", name.as_bstr()))
}

pub(super) fn heads(repository: &Repository) -> Result<Vec<(BranchName, Id)>> {
    const PREFIX: &[u8] = b"refs/heads/";
    let failed = |error: &dyn std::fmt::Display| Error::Store(format!("branches: {error}"));
    let all = repository.refs.iter().map_err(|error| failed(&error))?;
    let prefix = PREFIX.try_into().map_err(|error: gix::Error| failed(&error))?;
    let mut heads = Vec::new();
    for found in all.prefixed(prefix).map_err(|error| failed(&error))? {
        // One that vanishes meanwhile, the lock or leftover of another program: no branch.
        let Ok(found) = found else { continue };
        let name = found.name.as_bstr().strip_prefix(PREFIX).and_then(|name| BranchName::new(name).ok());
        heads.extend(name.zip(found.target.try_id().map(|id| id.to_owned().into())));
    }
    heads.sort();
    Ok(heads)
}

/// All of the moves or none, after `keep` has kept what they lead to, and the files that it is given: the new values of the branches,
/// under their locks. False when a branch is not where it was thought to be; nothing need have been kept then.
pub(super) fn update(
    repository: &Repository,
    sync: Fsync,
    moves: &[Move<'_>],
    keep: impl FnOnce(&[File]) -> Result<()>,
) -> Result<bool> {
    let mut edits = Vec::new();
    for motion in moves {
        match edit(motion)? {
            Some(edit) => edits.push(edit),
            None if head(repository, motion.branch)?.is_some() => return Ok(false),
            None => {}
        }
    }
    apply(repository, sync, edits, keep)
}

fn edit(Move { branch, from, to }: &Move<'_>) -> Result<Option<RefEdit>> {
    let target = |id: Id| Target::Object(id.into());
    let expected = from.map_or(PreviousValue::MustNotExist, |from| PreviousValue::MustExistAndMatch(target(from)));
    let log = LogChange { mode: RefLog::AndReference, force_create_reflog: false, message: "datakit".into() };
    let change = match (to, from) {
        (Some(to), _) => Change::Update { log, expected, new: target(*to) },
        (None, Some(_)) => Change::Delete { expected, log: RefLog::AndReference },
        (None, None) => return Ok(None),
    };
    Ok(Some(RefEdit { change, name: full(branch)?, deref: false }))
}

fn apply(
    repository: &Repository,
    sync: Fsync,
    edits: Vec<RefEdit>,
    keep: impl FnOnce(&[File]) -> Result<()>,
) -> Result<bool> {
    let names: Vec<_> = edits.iter().map(|edit| (edit.name.clone(), is_removal(edit))).collect();
    // What was packed is compared as it is now.
    look_again(repository);
    let prepared = match repository.refs.transaction().prepare(edits, PATIENCE, PATIENCE) {
        Ok(prepared) => prepared,
        Err(error) if is_elsewhere(&error) => return Ok(false),
        Err(error) => return Err(refused(&error)),
    };
    let mut locks = Vec::new();
    for (name, _) in names.iter().filter(|(_, removed)| sync.files() && !removed) {
        locks.extend(lock(repository, name).map_err(|error| Error::io(name.as_bstr(), &error))?);
    }
    keep(&locks)?;
    prepared.commit(None).map_err(|error| refused(&error))?;
    for (name, removed) in names.iter().filter(|_| sync.names()) {
        sync_names(repository, name, *removed).map_err(|error| Error::io(name.as_bstr(), &error))?;
    }
    Ok(true)
}

fn is_removal(edit: &RefEdit) -> bool {
    matches!(edit.change, Change::Delete { .. })
}

fn is_elsewhere(error: &gix::Error) -> bool {
    use gix::refs::file::transaction::prepare::{MustNotExist, ReferenceOutOfDate};
    error.downcast_any_ref::<ReferenceOutOfDate>().is_some()
        || error.downcast_any_ref::<MustNotExist>().is_some()
        || error.is_not_found()
}

/// Full and read-only disks are told from all else.
fn refused(error: &gix::Error) -> Error {
    match error.downcast_any_ref::<io::Error>() {
        Some(cause) => Error::io("branches", cause),
        None => Error::Store(format!("branches: {error}")),
    }
}

/// The new value, which is to be on the disk before it gets its name. `None` where nothing changes.
fn lock(repository: &Repository, name: &FullName) -> io::Result<Option<File>> {
    let mut lock = path(repository, name)?.into_os_string();
    lock.push(".lock");
    match File::open(lock) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Directories below `refs`, each of which may be new but for `heads`; of a removal, `packed-refs` also.
fn sync_names(repository: &Repository, name: &FullName, removed: bool) -> io::Result<()> {
    let (path, refs) = (path(repository, name)?, repository.common_dir().join("refs"));
    for dir in path.ancestors().skip(1).take_while(|dir| *dir != refs) {
        there(sync_dir(dir))?;
    }
    if removed {
        there(sync_dir(&repository.refs.packed_refs_path()))?;
        sync_dir(repository.common_dir())?;
    }
    Ok(())
}

/// A directory goes with its last branch.
fn there(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn path(repository: &Repository, name: &FullName) -> io::Result<PathBuf> {
    let relative = gix::path::from_bstr(name.as_bstr()).map_err(io::Error::other)?;
    Ok(repository.common_dir().join(relative))
}

/// Removes what was fetched under a name.
pub(super) fn forget(repository: &Repository, sync: Fsync, remote: &str) -> Result<()> {
    let prefix = format!("refs/remotes/{remote}/");
    remove(repository, sync, &prefix, |_| true)
}

/// Removes what servers fetched that were killed.
pub(super) fn forget_left(repository: &Repository, sync: Fsync) -> Result<()> {
    const PREFIX: &str = "refs/remotes/datakit-";
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    remove(repository, sync, PREFIX, |name| {
        let name = name.to_str_lossy();
        let remote = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
        remote.and_then(|(remote, _)| remote.split_once('-')).is_some_and(|(pid, n)| number(pid) && number(n))
    })
}

fn remove(repository: &Repository, sync: Fsync, prefix: &str, which: impl Fn(&BStr) -> bool) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Store(format!("{prefix}: {error}"));
    let all = repository.refs.iter().map_err(|error| failed(&error))?;
    let within = prefix.as_bytes().try_into().map_err(|error: gix::Error| failed(&error))?;
    let found = all.prefixed(within).map_err(|error| failed(&error))?.flatten();
    let edits = found.filter(|found| which(found.name.as_bstr())).map(|found| RefEdit {
        change: Change::Delete { expected: PreviousValue::Any, log: RefLog::AndReference },
        name: found.name,
        deref: false,
    });
    let edits: Vec<_> = edits.collect();
    if edits.is_empty() { Ok(()) } else { apply(repository, sync, edits, |_| Ok(())).map(drop) }
}
