//! The `datakit rm` command.

use datakit_client::Client;

use crate::error::{CliResult, at, is_a_directory};
use crate::operand::ServerPath;
use crate::parallel::{Batch, ConcurrencyLimits, WorkFuture, check_depth};

/// Removes a file or, if `recursive` is set, a directory and everything below it.
pub(super) async fn rm(
    client: &Client,
    path: &ServerPath,
    recursive: bool,
    force: bool,
) -> CliResult {
    let metadata = match client.stat(path).await {
        Err(error) if force && error.is_not_found() => return Ok(()),
        other => other.map_err(at(path))?,
    };
    match (metadata.is_dir(), recursive) {
        (true, false) => Err(is_a_directory(path)),
        (true, true) => remove_dir(client.clone(), path.clone(), ConcurrencyLimits::new()).await,
        (false, _) => client.remove(path).await.map_err(at(path)),
    }
}

fn remove_dir(client: Client, path: ServerPath, limits: ConcurrencyLimits) -> WorkFuture {
    Box::pin(async move {
        check_depth(&path)?;
        // Some directories, such as transactions, can be removed as a whole but not file by file.
        match limits.run(|| client.remove(&path)).await {
            // 9P2000 servers send text instead of the error number ENOTEMPTY (39).
            Err(error) if error.errno().is_none_or(|errno| errno == 39) => {}
            other => return other.map_err(at(&path)),
        }
        let mut batch = Batch::new(&limits);
        for entry in limits.run(|| client.read_dir(&path)).await.map_err(at(&path))? {
            let child = path.join(&entry.name);
            if entry.kind == datakit_client::FileType::Dir {
                batch.add_dir(remove_dir(client.clone(), child, limits.clone())).await?;
            } else {
                batch.add_file(remove_file(client.clone(), child, limits.clone())).await?;
            }
        }
        batch.finish().await?;
        limits.run(|| client.remove(&path)).await.map_err(at(&path))
    })
}

async fn remove_file(client: Client, path: ServerPath, limits: ConcurrencyLimits) -> CliResult {
    limits.run(|| client.remove(&path)).await.map_err(at(&path))
}
