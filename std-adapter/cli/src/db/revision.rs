//! Looks up commits by branch, hash or hash prefix.

use std::collections::HashSet;

use datakit_client::db::{Commit, Db, Error, Id, Result};

use super::history::Commits;
use crate::error::{CliResult, at};

/// The minimum length of a hash prefix.
const MIN_PREFIX: usize = 4;

/// Finds a commit. `name` is a branch, a hash, or an unambiguous prefix of a hash.
pub(super) async fn find_commit(db: &Db, name: &str) -> CliResult<Commit> {
    if name.parse::<Id>().is_ok() {
        return db.commit(name).await.map_err(|error| match error {
            Error::NotFound => at(&name)("no such commit"),
            other => at(&name)(other),
        });
    }
    let is_prefix = name.len() >= MIN_PREFIX && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let head = db.branch(name).await.map_err(at(&name))?.head().await.map_err(at(&name))?;
    if let Some(head) = head {
        return Ok(head);
    }
    if !is_prefix {
        return Err(at(&name)("no such branch or commit"));
    }
    let found = find_prefix(db, &name.to_ascii_lowercase()).await.map_err(at(&name))?;
    let mut hashes = found.iter();
    match (hashes.next(), hashes.next()) {
        (None, _) => Err(at(&name)("no such branch, and no commit of a branch has this prefix")),
        (Some(hash), None) => db.commit(hash.to_string()).await.map_err(at(&name)),
        (Some(one), Some(other)) => {
            Err(at(&name)(format!("ambiguous: {one} and {other} have this prefix")))
        }
    }
}

/// Searches the histories of all branches for commits whose hashes start with `prefix`. Returns the
/// sorted hashes.
async fn find_prefix(db: &Db, prefix: &str) -> Result<Vec<Id>> {
    let (mut found, mut searched) = (Vec::new(), HashSet::new());
    for name in db.branches().await? {
        let Some(head) = db.branch(&name).await?.head().await? else { continue };
        if !searched.insert(head.id()) {
            continue;
        }
        let mut commits = Commits::from(&head).await?;
        while let Some(details) = commits.next().await? {
            if details.id.to_string().starts_with(prefix)
                && let Err(position) = found.binary_search(&details.id)
            {
                found.insert(position, details.id);
            }
        }
    }
    Ok(found)
}
