//! Writes changes to a transaction.

use std::collections::{BTreeMap, BTreeSet};

use datakit_client::db::{
    BranchExt, BranchOps, Database, Error, Path, Result, TransactionExt, TransactionOps, TreeOps,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::read::CONCURRENCY;
use crate::{Diff, DirtyId, Element, ElementId, Pr, Repo, StatusId, files, layout};

/// The default name of the metadata branch.
pub const DEFAULT_BRANCH: &str = "github-metadata";

/// The content of the `README.md` file in the branch's initial commit.
const README: &[u8] = b"### DataKit -- GitHub bridge\n";

/// Returns a handle to the metadata branch. If the branch has no commits, an initial commit is
/// created, with a `README.md` file that describes the purpose of the branch.
///
/// # Errors
/// Returns [`Error::InvalidBranch`] if the name is invalid, or any other error reported by the
/// database.
pub async fn ensure_branch<D: Database>(db: &D, name: &str) -> Result<D::Branch> {
    let branch = db.branch(name).await?;
    if branch.head().await?.is_none() {
        let commit = branch.with_transaction(async |transaction| {
            transaction.create_file(&layout::path(["README.md"]), README, false).await?;
            transaction.commit("Initial commit").await
        });
        commit.await?;
    }
    Ok(branch)
}

/// Applies a diff to the files in a transaction, using many concurrent requests. Removes all
/// obsolete files before writing new files. Keeps `.dirty` files and unknown files, unless they are
/// in the directory of a removed commit or pull request.
///
/// # Errors
/// Returns the first error that the database reports. Abort the transaction after an error, because
/// some of the files may already have been written.
pub async fn write<T: TransactionOps>(transaction: &T, diff: &Diff) -> Result<()> {
    remove_all(transaction, removed_paths(diff)).await?;
    // Collect the reads in a loop, because a future that contains a closure over these references
    // would not be `Send`.
    let mut reads = Vec::new();
    for element in diff.updates() {
        if let Element::Pr(pr) = element {
            reads.push(surplus_comments(transaction, pr));
        }
    }
    let surplus: Vec<Vec<Path>> =
        stream::iter(reads).buffer_unordered(CONCURRENCY).try_collect().await?;
    remove_all(transaction, surplus.into_iter().flatten()).await?;

    let (mut written, mut removed) = (Vec::new(), Vec::new());
    for (path, content) in diff.updates().flat_map(files::files_of) {
        match content {
            Some(content) => written.push((path, content)),
            None => removed.push(path),
        }
    }
    remove_all(transaction, removed).await?;
    write_all(transaction, written).await
}

/// Adds a `.monitor` file to each repository in `repos` that does not have one. Returns the number
/// of files added.
///
/// # Errors
/// Returns the first error that the database reports.
pub async fn add_monitors<T: TransactionOps>(transaction: &T, repos: &[Repo]) -> Result<usize> {
    let mut missing = Vec::new();
    for path in repos.iter().map(layout::monitor).collect::<BTreeSet<Path>>() {
        if !transaction.tree().exists(&path).await? {
            missing.push((path, Vec::new()));
        }
    }
    let count = missing.len();
    write_all(transaction, missing).await?;
    Ok(count)
}

/// Removes `.dirty` files. Ignores files that do not exist.
///
/// # Errors
/// Returns the first error that the database reports.
pub async fn remove_dirty<T: TransactionOps>(
    transaction: &T,
    dirty: impl IntoIterator<Item = &DirtyId>,
) -> Result<()> {
    remove_all(transaction, dirty.into_iter().map(layout::dirty)).await
}

fn removed_paths(diff: &Diff) -> impl Iterator<Item = Path> {
    let commits: BTreeSet<ElementId> =
        diff.removals().filter(|id| matches!(id, ElementId::Commit(_))).cloned().collect();
    diff.removals().flat_map(move |id| match id {
        ElementId::Commit(_) | ElementId::Pr(_) => vec![layout::dir(id)],
        // The status is removed along with its commit's directory.
        ElementId::Status(StatusId { commit, .. }) if commits.contains(&commit.clone().into()) => {
            Vec::new()
        }
        // Remove the files separately, because their directory may also contain other refs and
        // statuses.
        ElementId::Repo(_) | ElementId::Ref(_) | ElementId::Status(_) => files::paths_of(id),
    })
}

/// Returns the directories of the comments that no longer belong to the pull request.
async fn surplus_comments<T: TransactionOps>(transaction: &T, pr: &Pr) -> Result<Vec<Path>> {
    let dir = files::comments_dir(&pr.id);
    let names = match transaction.tree().read_dir(&dir).await {
        Ok(names) => names,
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let needed: BTreeSet<String> = (0..pr.comments.len()).map(|index| index.to_string()).collect();
    let surplus =
        names.iter().filter(|name| !name.to_str().is_some_and(|name| needed.contains(name)));
    surplus.map(|name| dir.clone().join(name)).collect()
}

async fn remove_all<T: TransactionOps>(
    transaction: &T,
    paths: impl IntoIterator<Item = Path>,
) -> Result<()> {
    let removals = paths
        .into_iter()
        .map(|path| async move { transaction.remove_if_present(&path).await.map(drop) });
    stream::iter(removals).buffer_unordered(CONCURRENCY).try_collect().await
}

/// Writes files, creating missing directories.
async fn write_all<T: TransactionOps>(transaction: &T, files: Vec<(Path, Vec<u8>)>) -> Result<()> {
    // All directories at one level are created before the directories at the next level.
    let mut levels: BTreeMap<usize, BTreeSet<Path>> = BTreeMap::new();
    for (path, _) in &files {
        let mut dir = path.parent();
        while !dir.is_root() && levels.entry(dir.names().len()).or_default().insert(dir.clone()) {
            dir = dir.parent();
        }
    }
    let existing = existing_dirs(transaction, levels.values().flatten()).await?;
    for dirs in levels.into_values() {
        let mut created = Vec::new();
        for dir in dirs {
            if !existing.contains(&dir) {
                created.push(create_dir(transaction, dir));
            }
        }
        stream::iter(created).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    }
    let files = files.into_iter().map(|(path, content)| async move {
        match transaction.create_file(&path, &content, false).await {
            // A directory at this path belongs to a ref, status or pull request that no longer
            // exists. For example, the directory of the ref `x/head` is at the same path as the
            // head file of the ref `x`.
            Err(Error::IsDirectory) => {
                transaction.remove(&path).await?;
                transaction.create_file(&path, &content, false).await
            }
            other => other,
        }
    });
    stream::iter(files).buffer_unordered(CONCURRENCY).try_collect().await
}

/// Creates a directory unless the path already exists.
async fn create_dir<T: TransactionOps>(transaction: &T, dir: Path) -> Result<()> {
    match transaction.create_dir(&dir).await {
        Ok(()) | Err(Error::Exists) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Looks up directories with concurrent requests. Returns the directories that exist, or an empty
/// set if there are so many directories that looking them up would take longer than creating them
/// all.
async fn existing_dirs<T: TransactionOps>(
    transaction: &T,
    dirs: impl Iterator<Item = &Path>,
) -> Result<BTreeSet<Path>> {
    let dirs: Vec<Path> = dirs.take(CONCURRENCY + 1).cloned().collect();
    if dirs.len() > CONCURRENCY {
        return Ok(BTreeSet::new());
    }
    let mut found = Vec::with_capacity(dirs.len());
    for dir in dirs {
        found.push(existing_dir(transaction.tree(), dir));
    }
    let found: Vec<_> = stream::iter(found).buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn existing_dir<T: TreeOps>(tree: T, dir: Path) -> Result<Option<Path>> {
    Ok(tree.exists_dir(&dir).await?.then_some(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Snapshot, read, update};

    #[allow(dead_code)]
    fn a_round_can_be_spawned<D: Database>(db: D) {
        // `tokio::spawn` requires the futures of generic functions to be `Send`.
        tokio::spawn(async move {
            let branch = ensure_branch(&db, DEFAULT_BRANCH).await?;
            let transaction = branch.transaction().await?;
            let state = read(&transaction.tree()).await?;
            let state =
                update(&state.snapshot, &transaction.tree(), &crate::Changes::default()).await?;
            remove_dirty(&transaction, &state.dirty).await?;
            add_monitors(&transaction, &[]).await?;
            write(&transaction, &Diff::between(&state.snapshot, &Snapshot::new())).await
        });
    }
}
