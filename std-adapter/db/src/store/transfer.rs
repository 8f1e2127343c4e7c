//! Objects from one store to another.

use super::Store;
use crate::model::object::{Commit, EntryMode, Object, ObjectKind, TreeEntries};
use crate::{Error, Id, Result};

/// What is left to do with an object.
enum Step {
    /// It may be there already.
    Look(Id),
    /// All that it refers to is there.
    Keep(Id, Object),
}

/// Has `to` keep an object of `from` with everything that can be reached from it. What `to` has it
/// has with everything already.
pub(super) fn transfer(from: &dyn Store, to: &dyn Store, top: Id) -> Result<()> {
    // No recursion: a history may have any length.
    let mut left = vec![Step::Look(top)];
    while let Some(step) = left.pop() {
        match step {
            Step::Keep(id, object) => to.write(&[(id, object)])?,
            Step::Look(id) if to.header(id)?.is_some() => {}
            Step::Look(id) => {
                let found = from.read(id)?;
                let object =
                    found.ok_or_else(|| Error::Store(format!("object {id} is missing")))?;
                let below = references(&object)?;
                left.push(Step::Keep(id, object));
                left.extend(below.into_iter().map(Step::Look));
            }
        }
    }
    Ok(())
}

/// The objects that one refers to.
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
    // It is there whether anybody wrote it or not.
    references.retain(|id| *id != Id::EMPTY_TREE);
    Ok(references)
}
