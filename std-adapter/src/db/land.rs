//! Bringing a commit to a branch.

use std::time::{SystemTime, UNIX_EPOCH};

use super::branch::Branch;
use super::merge::{self, Conflict};
use super::object::{Commit, Object};
use super::objects::Objects;
use super::tree::{Batch, Tree};
use super::{Database, Error, Id, Result, history};

/// Tries while the others of this process wait: only other programs can be in the way, and none of them moves a branch so often.
const TRIES: u32 = 1000;

/// How a commit comes to a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Merged with what came meanwhile.
    Merge,
    /// Only if nothing came meanwhile.
    FastForward,
}

/// Moves `branch` to the commit that ends `new`, or to a merge of both where each has what the other has not: where the branch is then.
/// The rest of `new` is what the commit needs; the store has none of it yet.
///
/// Many that commit to one branch at once get there one after the other: nobody merges with what the next one makes old.
///
/// # Errors
/// [`Error::Conflict`], [`Error::NotFastForward`], and those of the store. The branch is where it was.
pub fn land(database: &Database, branch: &Branch, parents: &[Id], new: &Batch, how: How) -> Result<Id> {
    let commit = new.last().map(|(id, _)| *id).ok_or(Error::NotFound)?;
    if let Some(head) = land_alone(database, branch, parents, new, commit)? {
        return Ok(head);
    }
    // Not while others wait for the branch.
    database.objects().store().write(new)?;
    let hold = branch.hold();
    for _ in 0..TRIES {
        let head = database.objects().store().head(branch.name())?;
        let (to, merge) = match head {
            None => (commit, Batch::new()),
            Some(head) => meet(database.objects(), head, commit, how).inspect_err(|error| {
                if matches!(error, Error::Conflict(_)) {
                    database.counters().conflicts.count();
                }
            })?,
        };
        if branch.advance_held(&hold, &merge, head, Some(to))? {
            drop(hold);
            landed(database, [new, &merge]);
            return Ok(to);
        }
        database.counters().retries.count();
    }
    Err(Error::Store(format!("branch {} was moved by another program {TRIES} times", branch.name())))
}

/// The same where nobody is in the way: the branch is where the commit comes from, and nobody else moves it. Objects and branch go to
/// the disk together then.
fn land_alone(database: &Database, branch: &Branch, parents: &[Id], new: &Batch, commit: Id) -> Result<Option<Id>> {
    let Some(hold) = branch.try_hold() else { return Ok(None) };
    let head = database.objects().store().head(branch.name())?;
    if head.is_some_and(|head| !parents.contains(&head)) || !branch.advance_held(&hold, new, head, Some(commit))? {
        return Ok(None);
    }
    drop(hold);
    landed(database, [new, &Batch::new()]);
    Ok(Some(commit))
}

fn landed(database: &Database, batches: [&Batch; 2]) {
    keep_again(database.objects(), batches);
    database.counters().commits.count();
}

/// Writes again what was dropped before a branch led to it: `git gc` moves such objects to a pack, and `git repack -ad` drops that pack.
/// From now on neither does.
fn keep_again(objects: &Objects, batches: [&Batch; 2]) {
    for batch in batches {
        if let Err(error) = objects.store().write_again(batch) {
            // The branch has moved, and nearly always nothing was to be written.
            tracing::warn!("whether all of a commit is there is not known: {error}");
        }
    }
}

/// The commit that has both, one of the two or a merge that is made of them, and what is to be kept for the merge.
fn meet(objects: &Objects, head: Id, commit: Id, how: How) -> Result<(Id, Batch)> {
    let bases = history::merge_bases(objects, head, commit)?;
    if bases == [head] {
        return Ok((commit, Batch::new()));
    }
    if bases == [commit] {
        return Ok((head, Batch::new()));
    }
    if how == How::FastForward {
        return Err(Error::NotFastForward);
    }
    let tree = |id| Ok::<_, Error>(Tree::stored(objects.commit(id)?.tree));
    let base = merge::base_tree(objects, head, commit)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
    let merged = merge::merge(objects, &base, &tree(head)?, &tree(commit)?)?;
    if !merged.conflicts.is_empty() {
        return Err(Error::Conflict(conflict_text(&merged.conflicts)));
    }
    let mut batch = Batch::new();
    let tree = merged.tree.write(&mut batch)?;
    let (id, object) = Commit::encode(tree, &[head, commit], b"Merge", now())?;
    batch.push((id, object));
    Ok((id, batch))
}

/// What was in the way, and where. An error has room for some of the paths.
fn conflict_text(conflicts: &[Conflict]) -> String {
    let mut paths: Vec<_> = conflicts.iter().map(|conflict| String::from_utf8_lossy(&conflict.path)).collect();
    let more = paths.len().saturating_sub(SHOWN);
    paths.truncate(SHOWN);
    let why = conflicts.first().map(|conflict| conflict.why.to_string()).unwrap_or_default();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{why}: {}{more}", paths.join(", "))
}

/// Paths that are named in an error.
const SHOWN: usize = 3;

/// Stores a commit behind all that it needs.
pub(super) fn keep(objects: &Objects, mut batch: Batch, id: Id, commit: Object) -> Result<()> {
    batch.push((id, commit));
    objects.store().write(&batch)
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Moves `branch` forward to a commit that is there already.
///
/// # Errors
/// [`Error::NotFound`] for a commit that is not there; [`Error::NotFastForward`], also if the branch moved meanwhile.
pub fn fast_forward(database: &Database, branch: &Branch, commit: Id) -> Result<()> {
    database.objects().commit(commit)?;
    let head = branch.head()?;
    let forward = match head {
        None => true,
        Some(head) => head == commit || history::is_ancestor(database.objects(), head, commit)?,
    };
    if forward && branch.advance(head, Some(commit))? { Ok(()) } else { Err(Error::NotFastForward) }
}
