//! Moves a branch to a new commit, either by a fast-forward or by a merge.

use crate::branch::Branch;
use crate::model::commit::Commit;
use crate::model::connected;
use crate::model::history;
use crate::model::identity::Authorship;
use crate::model::merge::{self, Conflicts};
use crate::model::object::NewObjects;
use crate::model::object::Object;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::Tree;
use crate::{Database, Error, Id, Result};

/// The maximum number of compare-and-swap attempts. This process locks the branch, so an attempt
/// fails only if another program changes the branch at the same time.
const MAX_RETRIES: u32 = 1000;

/// The policy for a commit to a branch that has moved since the transaction began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergePolicy {
    /// Merge the commit with the new head.
    #[default]
    Merge,
    /// Fail if the branch has moved, or if the new commit does not descend from the branch's head.
    FastForward,
}

/// Moves `branch` to the last commit in `new`, or to a merge of that commit with the current head.
/// Returns the new head. The commit needs the other objects in `new`, which are not in the store
/// yet. `start` is the head that the branch had when the transaction began.
///
/// Concurrent commits to a branch are serialized by the branch's lock. A merge therefore cannot be
/// made obsolete by another commit while it is being computed.
///
/// # Errors
/// If an error is returned, the branch has not moved. Returns [`Error::Conflict`] if the merge
/// conflicts. Returns [`Error::NotFastForward`] if the branch has moved and `policy` does not allow
/// a merge. Returns [`Error::Removed`] if the branch was removed. Returns [`Error::Io`] if a system
/// call fails, or [`Error::Store`] if the objects cannot be written for another reason.
pub(crate) fn integrate(
    database: &Database,
    branch: &Branch,
    start: Option<Id>,
    parents: &[Id],
    new: &NewObjects,
    by: &Authorship,
    policy: MergePolicy,
) -> Result<Id> {
    let commit = new.last().map(|(id, _)| *id).ok_or(Error::NotFound)?;
    match policy {
        MergePolicy::FastForward => compare_and_swap(database, branch, start, parents, new, commit),
        MergePolicy::Merge => integrate_merged(database, branch, start, parents, new, by),
    }
}

/// Moves the branch from `start` to `commit` with a compare-and-swap. The commit must descend from
/// `start` and differ from it. If several transactions started from `start`, only one of them
/// succeeds, even if their commits are identical.
fn compare_and_swap(
    database: &Database,
    branch: &Branch,
    start: Option<Id>,
    parents: &[Id],
    new: &NewObjects,
    commit: Id,
) -> Result<Id> {
    if let Some(start) = start
        && !leads_to(database.objects(), parents, start)?
    {
        return Err(Error::NotFastForward(format!(
            "no parent descends from {start}, where the transaction began"
        )));
    }
    let lock = branch.lock();
    for _ in 0..MAX_RETRIES {
        check_start(branch, start)?;
        if branch.advance_locked(&lock, new, start, Some(commit))? {
            drop(lock);
            finish_commit(database, [new, &NewObjects::new()]);
            return Ok(commit);
        }
        // An attempt also fails if another program holds the lock on the ref.
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}

fn moved_too_often(branch: &Branch) -> Error {
    Error::store(format!(
        "gave up after {MAX_RETRIES} attempts: other programs keep moving branch {}",
        branch.name()
    ))
}

/// Checks that the branch is still at `start`, the head that it had when the transaction began.
///
/// # Errors
/// Returns [`Error::NotFastForward`] if the branch has moved.
pub(super) fn check_start(branch: &Branch, start: Option<Id>) -> Result<()> {
    let head = branch.head()?;
    if head == start { Ok(()) } else { Err(Error::NotFastForward(moved_text(branch, start, head))) }
}

/// Returns a description of how a branch moved from one commit to another.
fn moved_text(branch: &Branch, from: Option<Id>, to: Option<Id>) -> String {
    let at = |id: Option<Id>| id.map_or_else(|| "no commit".to_owned(), |id| id.to_string());
    format!("branch {} moved from {} to {}", branch.name(), at(from), at(to))
}

fn leads_to(objects: &ObjectCache, parents: &[Id], ancestor: Id) -> Result<bool> {
    for parent in parents {
        if *parent == ancestor || history::is_ancestor(objects, ancestor, *parent)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn integrate_merged(
    database: &Database,
    branch: &Branch,
    start: Option<Id>,
    parents: &[Id],
    new: &NewObjects,
    by: &Authorship,
) -> Result<Id> {
    let commit = new.last().map(|(id, _)| *id).ok_or(Error::NotFound)?;
    if let Some(head) = integrate_uncontended(database, branch, start, parents, new, commit)? {
        return Ok(head);
    }
    // Write the objects before taking the lock so that other commits do not have to wait for the
    // write.
    database.objects().store().write(new)?;
    let lock = branch.lock();
    for _ in 0..MAX_RETRIES {
        let head = database.objects().store().head(branch.name())?;
        let (to, merge) = match head {
            None => {
                check_removed(start, parents)?;
                (commit, NewObjects::new())
            }
            Some(head) => merge_with_head(database.objects(), head, commit, by, || {
                moved_text(branch, start, Some(head))
            })
            .inspect_err(|error| {
                if matches!(error, Error::Conflict(_)) {
                    database.counters().conflicts.count();
                }
            })?,
        };
        // Pass the commit to the store even though it has already been written, because the store
        // copies the commit's message to the reflog.
        let batch =
            if merge.is_empty() { new.get(new.len() - 1..).unwrap_or_default() } else { &merge };
        if branch.advance_locked(&lock, batch, head, Some(to))? {
            drop(lock);
            finish_commit(database, [new, &merge]);
            return Ok(to);
        }
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}

/// Returns an error if creating the branch would restore the history of a removed branch.
fn check_removed(start: Option<Id>, parents: &[Id]) -> Result<()> {
    match start {
        Some(start) if parents.contains(&start) => Err(Error::Removed(start)),
        _ => Ok(()),
    }
}

/// Fast-forwards the branch if its head is a parent of the commit and no other thread holds the
/// lock on the branch. Otherwise, returns `None`, and the caller must merge. To save time, the
/// store writes the objects and updates the ref in a single call.
fn integrate_uncontended(
    database: &Database,
    branch: &Branch,
    start: Option<Id>,
    parents: &[Id],
    new: &NewObjects,
    commit: Id,
) -> Result<Option<Id>> {
    let Some(lock) = branch.try_lock() else { return Ok(None) };
    let head = database.objects().store().head(branch.name())?;
    if head.is_none() {
        check_removed(start, parents)?;
    }
    if head.is_some_and(|head| !parents.contains(&head))
        || !branch.advance_locked(&lock, new, head, Some(commit))?
    {
        return Ok(None);
    }
    drop(lock);
    finish_commit(database, [new, &NewObjects::new()]);
    Ok(Some(commit))
}

fn finish_commit(database: &Database, batches: [&NewObjects; 2]) {
    rewrite_missing(database.objects(), batches);
    database.counters().commits.count();
}

/// Writes objects again if they were pruned before the branch was updated to refer to them. For
/// example, `git gc` may have packed the objects while they were unreachable, and `git repack -ad`
/// may then have deleted the pack. Git does not prune the new copies, because they are reachable
/// from the branch.
fn rewrite_missing(objects: &ObjectCache, batches: [&NewObjects; 2]) {
    for batch in batches {
        if let Err(error) = objects.store().rewrite_missing(batch) {
            // Log the error but do not return it, because the branch has already been updated.
            tracing::warn!("cannot check that all objects of a commit exist: {error}");
        }
    }
}

/// Returns a commit whose history contains both `head` and `commit`. The result is one of these two
/// commits or a new merge commit. Also returns the new objects that a new merge commit needs.
fn merge_with_head(
    objects: &ObjectCache,
    head: Id,
    commit: Id,
    by: &Authorship,
    moved: impl Fn() -> String,
) -> Result<(Id, NewObjects)> {
    let bases = history::merge_bases(objects, head, commit)?;
    if bases == [head] {
        return Ok((commit, NewObjects::new()));
    }
    if bases == [commit] {
        return Ok((head, NewObjects::new()));
    }
    let tree = |id| Ok::<_, Error>(Tree::stored(objects.commit(id)?.tree));
    let base = merge::base_tree(objects, head, commit)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
    let merged = merge::merge(objects, &base, &tree(head)?, &tree(commit)?)?;
    if !merged.conflicts.is_empty() {
        return Err(Error::Conflict(Box::new(Conflicts {
            conflicts: merged.conflicts,
            moved: moved(),
        })));
    }
    let mut batch = NewObjects::new();
    let tree = merged.tree.write(&mut batch)?;
    let (id, object) = Commit::encode_by(
        tree,
        &[head, commit],
        b"Merge",
        &Authorship { author: by.committer.clone(), ..by.clone() },
    )?;
    batch.push((id, object));
    Ok((id, batch))
}

/// Stores a commit and the objects that it needs.
pub(super) fn store_commit(
    objects: &ObjectCache,
    mut batch: NewObjects,
    id: Id,
    commit: Object,
) -> Result<()> {
    batch.push((id, commit));
    objects.store().write(&batch)
}

/// Fast-forwards `branch` to an existing commit.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such commit. Returns [`Error::NotFastForward`] if the
/// commit does not descend from the head or if the branch moves during the call.
pub fn fast_forward(database: &Database, branch: &Branch, commit: Id) -> Result<()> {
    database.objects().named_commit(commit)?;
    let head = branch.head()?;
    if let Some(head) = head
        && head != commit
        && !history::is_ancestor(database.objects(), head, commit)?
    {
        let name = branch.name();
        return Err(Error::NotFastForward(format!(
            "branch {name} is at {head}, which is not an ancestor of {commit}"
        )));
    }
    if head == Some(commit) {
        return Ok(());
    }
    let gathered = connected::gather_commit(database.objects(), head, commit)?;
    let lock = branch.lock();
    for _ in 0..MAX_RETRIES {
        check_start(branch, head)?;
        if branch.advance_locked(&lock, &gathered, head, Some(commit))? {
            drop(lock);
            rewrite_missing(database.objects(), [&gathered, &NewObjects::new()]);
            return Ok(());
        }
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}
