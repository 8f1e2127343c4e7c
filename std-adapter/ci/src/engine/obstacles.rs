//! Removes entries that prevent files from being written.

use datakit_client::db::{EntryKind, Path, Result, TransactionOps, TreeOps};

/// Removes every directory or link at the path of a given file, and every file or link at the path
/// of one of its parent directories. Any client of the database can write such entries.
pub(super) async fn remove_obstacles<T: TransactionOps>(
    transaction: &T,
    files: &[Path],
) -> Result<()> {
    for file in files {
        let mut path = Path::ROOT;
        for name in file.names() {
            path = path.join(name)?;
            let Some(found) = transaction.tree().stat(&path).await? else { break };
            let fits = match found.kind {
                EntryKind::Dir => path != *file,
                EntryKind::File | EntryKind::Exec => path == *file,
                EntryKind::Link => false,
            };
            if !fits {
                tracing::warn!(%path, "removed, because the CI writes to this path");
                transaction.remove(&path).await?;
                break;
            }
        }
    }
    Ok(())
}
