//! Copies objects from one store to another.

use super::Store;
use crate::model::commit::Commit;
use crate::model::object::{Object, ObjectKind};
use crate::model::tree_entry::EntryMode;
use crate::model::tree_text::TreeEntries;
use crate::{Error, Id, Result};

/// A step of the depth-first walk that [`transfer`] performs.
enum WalkStep {
    /// Visit an object, unless the target store already contains it.
    Visit(Id),
    /// Write an object once all objects that it refers to have been written.
    Write(Id, Object),
}

/// Copies an object and all objects that are reachable from it. Skips objects that already exist in
/// `to`, along with all objects reachable from them.
pub(super) fn transfer(from: &dyn Store, to: &dyn Store, top: Id) -> Result<()> {
    // Use an explicit stack instead of recursion, because a history can be arbitrarily long.
    let mut stack = vec![WalkStep::Visit(top)];
    while let Some(step) = stack.pop() {
        match step {
            WalkStep::Write(id, object) => to.write(&[(id, object)])?,
            WalkStep::Visit(id) if to.header(id)?.is_some() => {}
            WalkStep::Visit(id) => {
                let found = from.read(id)?;
                let object =
                    found.ok_or_else(|| Error::store(format!("object {id} is missing")))?;
                let children = references(&object)?;
                stack.push(WalkStep::Write(id, object));
                stack.extend(children.into_iter().map(WalkStep::Visit));
            }
        }
    }
    Ok(())
}

/// Returns the hashes of all objects that an object refers to.
fn references(object: &Object) -> Result<Vec<Id>> {
    let mut references = match object.kind {
        ObjectKind::Blob => Vec::new(),
        ObjectKind::Tree => {
            let entries = TreeEntries::parse(&object.data)?;
            entries
                .iter()
                .filter(|entry| entry.mode != EntryMode::Submodule)
                .map(|entry| entry.id)
                .collect()
        }
        ObjectKind::Commit => {
            let commit = Commit::decode(&object.data)?;
            commit.parents.into_iter().chain([commit.tree]).collect()
        }
    };
    // Leave out the empty tree, which exists in every store even if it has never been written.
    references.retain(|id| *id != Id::EMPTY_TREE);
    Ok(references)
}
