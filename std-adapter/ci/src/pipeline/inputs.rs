//! The artifacts of needed steps.
//!
//! A task reads them from a directory outside its work tree, because the tasks of a matrix often
//! have artifacts with the same paths, and because an artifact must not replace a file of the
//! commit.

use std::path::Path;

use datakit_client::db::{self, BranchOps, CommitOps, Database, EntryKind, TreeOps};
use tempfile::TempDir;

use super::artifacts::{self, Artifact, Artifacts};
use super::execute::TaskError;
use super::files::FileLimits;
use super::names::task_branch;
use super::step_key::StepKey;
use crate::SharedDb;

/// The limits for the artifacts that a task can read.
pub const INPUT_LIMITS: FileLimits = FileLimits { count: 10_000, bytes: 256 << 20 };

/// Writes the artifacts of the needed tasks to a new directory next to the work tree. Each needed
/// task has a subdirectory. Returns `None` if there are no artifacts.
pub(super) async fn fetch<D: Database>(
    db: &SharedDb<D>,
    key: &StepKey,
    work_tree: &Path,
) -> Result<Option<TempDir>, TaskError> {
    if key.task.inputs.is_empty() {
        return Ok(None);
    }
    let setup = |error: std::io::Error| TaskError::Setup(format!("artifacts: {error}"));
    let dir = new_dir(work_tree).map_err(setup)?;
    let mut limits = INPUT_LIMITS;
    for input in &key.task.inputs {
        let target = input.per_target.then_some(&key.target);
        let branch = task_branch(&input.task, &key.commit, target, key.trust);
        let (branch, left) = (&branch, limits);
        let stored = db.retry(|db| async move {
            let mut left = left;
            match stored(&db, branch, &mut left).await {
                Ok(files) => Ok(Ok((files, left))),
                Err(ReadError::Limit(error)) => Ok(Err(error)),
                Err(ReadError::Database(error)) => Err(error),
            }
        });
        let failed = |reason: String| format!("artifacts of {}: {reason}", input.task);
        let files = match stored.await {
            Ok(Ok((Some(files), left))) => {
                limits = left;
                files
            }
            // Somebody has requested a rebuild of the needed step, and the rebuild failed.
            Ok(Ok((None, _))) => {
                return Err(TaskError::Temporary(failed("there is no result".to_owned())));
            }
            Err(error) => {
                return Err(TaskError::Temporary(failed(format!("database: {error}"))));
            }
            Ok(Err(error)) => {
                return Err(TaskError::Setup(failed(error.to_string())));
            }
        };
        let to = dir.path().join(&*input.task);
        let written = tokio::task::spawn_blocking(move || artifacts::write(&to, &files)).await;
        written.map_err(|error| setup(std::io::Error::other(error)))?.map_err(setup)?;
    }
    Ok(Some(dir))
}

/// Creates a directory for artifacts next to a work tree.
pub(super) fn new_dir(work_tree: &Path) -> std::io::Result<TempDir> {
    let parent = work_tree.parent().unwrap_or(work_tree);
    tempfile::Builder::new().prefix("artifacts-").tempdir_in(parent)
}

enum ReadError {
    Database(db::Error),
    Limit(std::io::Error),
}

impl From<db::Error> for ReadError {
    fn from(error: db::Error) -> ReadError {
        ReadError::Database(error)
    }
}

/// Reads the artifacts in the branch of a task. Returns `None` if the task has not succeeded.
async fn stored<D: Database>(
    db: &D,
    branch: &str,
    limits: &mut FileLimits,
) -> Result<Option<Artifacts>, ReadError> {
    let Some(head) = db.branch(branch).await?.head().await? else { return Ok(None) };
    let tree = head.tree();
    if !tree.exists(&db::Path::from_names(["value", "result"])?).await? {
        return Ok(None);
    }
    let root = db::Path::from_names(["value", "artifacts"])?;
    let mut waiting: Vec<(db::Path, Vec<u8>)> = vec![(root, Vec::new())];
    let mut files = Artifacts::new();
    while let Some((path, name)) = waiting.pop() {
        let Some(stat) = tree.stat(&path).await? else { continue };
        match stat.kind {
            EntryKind::Dir => {
                for entry in tree.read_dir(&path).await? {
                    let separator: &[u8] = if name.is_empty() { b"" } else { b"/" };
                    let name = [name.as_slice(), separator, entry.as_bytes()].concat();
                    limits.take(0).map_err(ReadError::Limit)?;
                    waiting.push((path.clone().join(entry)?, name));
                }
            }
            EntryKind::File | EntryKind::Exec => {
                limits.take(stat.size).map_err(ReadError::Limit)?;
                let content = tree.read_file(&path).await?;
                let executable = stat.kind == EntryKind::Exec;
                files.insert(name, Artifact { content, executable });
            }
            // A step cannot store links.
            EntryKind::Link => {}
        }
    }
    Ok(Some(files))
}
