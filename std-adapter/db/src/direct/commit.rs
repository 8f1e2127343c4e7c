//! Commits and the differences between them.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datakit_client::db::{Change, CommitOps, Details, Path, Result};

use super::tree::DirectTree;
use crate::model::diff::{self, ChangeKind};
use crate::model::tree::Tree;
use crate::object::Commit;
use crate::{Database, Id};

/// A commit in a [`DirectDb`](super::DirectDb).
#[derive(Clone)]
pub struct DirectCommit {
    database: Database,
    pub(super) id: Id,
}

impl DirectCommit {
    pub(super) fn new(database: &Database, id: Id) -> DirectCommit {
        DirectCommit { database: database.clone(), id }
    }

    async fn read(&self) -> Result<Arc<Commit>> {
        let id = self.id;
        Ok(self.database.run(move |database| database.objects().named_commit(id)).await?)
    }
}

/// Compares two trees.
pub(super) fn changes(
    database: &Database,
    old: &Tree,
    new: &Tree,
) -> crate::Result<Vec<diff::Change>> {
    diff::diff(database.objects(), old, new)
}

/// Converts changes to the type that all back ends share. Parsing the paths cannot fail, because
/// every name in a Git tree is valid in a [`Path`].
pub(super) fn to_changes(changes: Vec<diff::Change>) -> Result<Vec<Change>> {
    let change = |diff::Change { kind, path }| {
        let path = Path::parse(path)?;
        Ok(match kind {
            ChangeKind::Added => Change::Added(path),
            ChangeKind::Removed => Change::Removed(path),
            ChangeKind::Changed => Change::Updated(path),
        })
    };
    changes.into_iter().map(change).collect()
}

impl CommitOps for DirectCommit {
    type Tree = DirectTree;

    fn id(&self) -> Id {
        self.id
    }

    fn tree(&self) -> DirectTree {
        DirectTree::of_commit(&self.database, self.id)
    }

    async fn message(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read().await?.message).into_owned())
    }

    async fn parents(&self) -> Result<Vec<DirectCommit>> {
        let commit = self.read().await?;
        Ok(commit.parents.iter().map(|id| DirectCommit::new(&self.database, *id)).collect())
    }

    async fn diff(&self, old: &DirectCommit) -> Result<Vec<Change>> {
        let (old, new) = (old.id, self.id);
        let compare = move |database: &Database| {
            let tree =
                |id| crate::Result::Ok(Tree::stored(database.objects().named_commit(id)?.tree));
            changes(database, &tree(old)?, &tree(new)?)
        };
        to_changes(self.database.run(compare).await?)
    }

    async fn details(&self) -> Result<Details<DirectCommit>> {
        let commit = self.read().await?;
        let mut details = Details::new(self.id);
        details.parents = self.parents().await?;
        details.author.clone_from(&commit.author);
        details.date = commit.date();
        details.message = String::from_utf8_lossy(&commit.message).into_owned();
        Ok(details)
    }
}

/// Handles to the same commit are equal.
impl PartialEq for DirectCommit {
    fn eq(&self, other: &DirectCommit) -> bool {
        self.id == other.id
    }
}

impl Eq for DirectCommit {}

impl Debug for DirectCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectCommit({})", self.id)
    }
}
