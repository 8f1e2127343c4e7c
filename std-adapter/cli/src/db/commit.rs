//! The `datakit db commit` command.

use std::os::unix::fs::PermissionsExt;

use datakit_client::db::{Db, Path, Transaction};

use super::text::parse_path;
use crate::error::{CliError, CliResult, at, io_reason};
use crate::operand::FileUpdate;
use crate::stdio::{self, read_stdin};

/// The content and options of a commit.
pub(super) struct CommitRequest<'a> {
    pub(super) message: &'a str,
    pub(super) author: Option<&'a str>,
    pub(super) allow_empty: bool,
    pub(super) removals: &'a [String],
    pub(super) updates: &'a [FileUpdate],
}

/// The new content of a file.
struct Content {
    bytes: Vec<u8>,
    executable: bool,
}

impl Content {
    async fn read(update: &FileUpdate) -> CliResult<Content> {
        let Some(path) = &update.source else {
            return Ok(Content { bytes: read_stdin().await?, executable: false });
        };
        let shown = path.display();
        let reason = |error: std::io::Error| at(&shown)(io_reason(&error));
        // Blocking this thread is harmless, because the connection runs on another thread.
        let mode = std::fs::metadata(path).map_err(reason)?.permissions().mode();
        let bytes = std::fs::read(path).map_err(reason)?;
        Ok(Content { bytes, executable: mode & 0o100 != 0 })
    }
}

pub(super) async fn commit(db: &Db, branch: &str, request: &CommitRequest<'_>) -> CliResult {
    let CommitRequest { message, author, allow_empty, removals, updates } = *request;
    if message.trim().is_empty() && !allow_empty {
        let text = "the commit message is empty: use --allow-empty to commit anyway";
        return Err(CliError::Failed(text.to_owned()));
    }
    if updates.iter().filter(|update| update.source.is_none()).count() > 1 {
        let text = "standard input can be the content of only one file";
        return Err(CliError::Failed(text.to_owned()));
    }
    // All input is read before the transaction begins.
    let mut contents = Vec::new();
    for update in updates {
        contents.push((&update.file, Content::read(update).await?));
    }
    let handle = db.branch(branch).await.map_err(at(&branch))?;
    let transaction = handle.transaction().await.map_err(at(&branch))?;
    if let Some(author) = author {
        transaction.set_author(&format!("{author}\n")).await.map_err(at(&"author"))?;
    }
    for path in removals {
        let parsed = parse_path(path)?;
        transaction.remove(&parsed).await.map_err(at(path))?;
    }
    for (path, content) in &contents {
        put_file(&transaction, path, content).await?;
    }
    if !allow_empty && is_unchanged(&transaction).await.map_err(at(&branch))? {
        transaction.abort().await;
        return Err(at(&branch)("nothing to commit: use --allow-empty to commit anyway"));
    }
    let head = transaction.commit(message).await.map_err(at(&branch))?;
    stdio::print(format!("{}\n", head.id()).as_bytes())
}

async fn put_file(transaction: &Transaction, path: &Path, content: &Content) -> CliResult {
    let parent = path.parent();
    transaction.make_dirs(&parent).await.map_err(at(&parent))?;
    transaction.create_file(path, &content.bytes, content.executable).await.map_err(at(path))
}

/// Returns whether the transaction's tree equals the tree of its first parent. For a transaction
/// without parents, returns whether the tree is empty.
async fn is_unchanged(transaction: &Transaction) -> datakit_client::db::Result<bool> {
    match transaction.parents().await?.first() {
        Some(head) => Ok(transaction.diff(head).await?.is_empty()),
        None => Ok(transaction.tree().read_dir(&Path::ROOT).await?.is_empty()),
    }
}
