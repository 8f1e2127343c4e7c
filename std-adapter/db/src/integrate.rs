//! Bringing a commit to a branch.

use crate::branch::Branch;
use crate::model::connected;
use crate::model::history;
use crate::model::identity::Authorship;
use crate::model::merge::{self, Conflicts};
use crate::model::object::{Commit, Object};
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{NewObjects, Tree};
use crate::{Database, Error, Id, Result};

/// Tries while the others of this process wait: only other programs can be in the way, and none of
/// them moves a branch so often.
const MAX_RETRIES: u32 = 1000;

/// How a commit comes to a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergePolicy {
    /// Merged with what came meanwhile.
    Merge,
    /// Compare-and-swap: only if the branch is where the transaction began, on top of that.
    FastForward,
}

/// Moves `branch` to the commit that ends `new`, or to a merge of both where each has what the
/// other has not: where the branch is then. The rest of `new` is what the commit needs; the store
/// has none of it yet. The transaction began at `start`.
///
/// Many that commit to one branch at once get there one after the other: nobody merges with what
/// the next one makes old.
///
/// # Errors
/// [`Error::Conflict`], [`Error::NotFastForward`], [`Error::Removed`], and those of the store. The
/// branch is where it was.
pub fn integrate(
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

/// Compare-and-swap from `start`. The commit is made on top of it, so it is never `start` itself,
/// and of all that begin there one succeeds, also where their commits are the same object.
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
            "parents do not lead to {start}, where the transaction began"
        )));
    }
    let hold = branch.lock();
    for _ in 0..MAX_RETRIES {
        check_start(branch, start)?;
        if branch.advance_held(&hold, new, start, Some(commit))? {
            drop(hold);
            finish_commit(database, [new, &NewObjects::new()]);
            return Ok(commit);
        }
        // The store may also refuse because another program is just looking at the branch.
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}

fn moved_too_often(branch: &Branch) -> Error {
    Error::Store(format!(
        "branch {} was moved by another program {MAX_RETRIES} times",
        branch.name()
    ))
}

/// Whether the branch still is where a transaction began.
///
/// # Errors
/// [`Error::NotFastForward`] if not.
pub(super) fn check_start(branch: &Branch, start: Option<Id>) -> Result<()> {
    let head = branch.head()?;
    if head == start { Ok(()) } else { Err(Error::NotFastForward(moved_text(branch, start, head))) }
}

/// Where a branch was and is.
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
    // Not while others wait for the branch.
    database.objects().store().write(new)?;
    let hold = branch.lock();
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
        // Of a commit that is written already, the reflog is told.
        let batch =
            if merge.is_empty() { new.get(new.len() - 1..).unwrap_or_default() } else { &merge };
        if branch.advance_held(&hold, batch, head, Some(to))? {
            drop(hold);
            finish_commit(database, [new, &merge]);
            return Ok(to);
        }
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}

/// A branch that is not there is made by the commit, unless that would bring back what somebody
/// removed.
fn check_removed(start: Option<Id>, parents: &[Id]) -> Result<()> {
    match start {
        Some(start) if parents.contains(&start) => Err(Error::Removed(start)),
        _ => Ok(()),
    }
}

/// The same where nobody is in the way: the branch is where the commit comes from, and nobody else
/// moves it. Objects and branch go to the disk together then.
fn integrate_uncontended(
    database: &Database,
    branch: &Branch,
    start: Option<Id>,
    parents: &[Id],
    new: &NewObjects,
    commit: Id,
) -> Result<Option<Id>> {
    let Some(hold) = branch.try_lock() else { return Ok(None) };
    let head = database.objects().store().head(branch.name())?;
    if head.is_none() {
        check_removed(start, parents)?;
    }
    if head.is_some_and(|head| !parents.contains(&head))
        || !branch.advance_held(&hold, new, head, Some(commit))?
    {
        return Ok(None);
    }
    drop(hold);
    finish_commit(database, [new, &NewObjects::new()]);
    Ok(Some(commit))
}

fn finish_commit(database: &Database, batches: [&NewObjects; 2]) {
    rewrite_missing(database.objects(), batches);
    database.counters().commits.count();
}

/// Writes again what was dropped before a branch led to it: `git gc` moves such objects to a pack,
/// and `git repack -ad` drops that pack. From now on neither does.
fn rewrite_missing(objects: &ObjectCache, batches: [&NewObjects; 2]) {
    for batch in batches {
        if let Err(error) = objects.store().rewrite_missing(batch) {
            // The branch has moved, and nearly always nothing was to be written.
            tracing::warn!("whether all of a commit is there is not known: {error}");
        }
    }
}

/// The commit that has both, one of the two or a merge that is made of them, and what is to be kept
/// for the merge.
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

/// Stores a commit behind all that it needs.
pub(super) fn store_commit(
    objects: &ObjectCache,
    mut batch: NewObjects,
    id: Id,
    commit: Object,
) -> Result<()> {
    batch.push((id, commit));
    objects.store().write(&batch)
}

/// Moves `branch` forward to a commit that is there already.
///
/// # Errors
/// [`Error::NotFound`] for a commit that is not there; [`Error::NotFastForward`], also if the
/// branch moved meanwhile.
pub fn fast_forward(database: &Database, branch: &Branch, commit: Id) -> Result<()> {
    database.objects().named_commit(commit)?;
    let head = branch.head()?;
    if let Some(head) = head
        && head != commit
        && !history::is_ancestor(database.objects(), head, commit)?
    {
        let name = branch.name();
        return Err(Error::NotFastForward(format!(
            "branch {name} is at {head}, from which {commit} does not come"
        )));
    }
    if head == Some(commit) {
        return Ok(());
    }
    let gathered = connected::gather_commit(database.objects(), head, commit)?;
    let hold = branch.lock();
    for _ in 0..MAX_RETRIES {
        check_start(branch, head)?;
        if branch.advance_held(&hold, &gathered, head, Some(commit))? {
            drop(hold);
            rewrite_missing(database.objects(), [&gathered, &NewObjects::new()]);
            return Ok(());
        }
        database.counters().retries.count();
    }
    Err(moved_too_often(branch))
}
