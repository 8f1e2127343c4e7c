//! The `datakit watch` command.

use std::time::{Duration, SystemTime};

use datakit_client::{Client, OpenMode, Qid, Result, Watch};

use crate::connect::CLOSE_TIMEOUT;
use crate::error::{CliResult, at};
use crate::operand::ServerPath;
use crate::stdio;

/// The interval at which a file that is not a stream is checked for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum size, in bytes, of a file whose content is compared to detect changes.
const MAX_POLLED: usize = 16 << 20;

/// Prints the content of a stream, or each change to a file, until SIGINT arrives.
pub(super) async fn watch(client: &Client, path: &ServerPath) -> CliResult {
    let fid = client.walk(path).await.map_err(at(path))?;
    if fid.qid().kind & Qid::DIR != 0 {
        return Err(at(path)("Is a directory: only a stream or a file can be watched"));
    }
    // Streams have version 0, so a file with a nonzero version is not a stream.
    if fid.stat().await.map_err(at(path))?.qid.version != 0 {
        return poll_until_interrupt(client, path, Vec::new()).await;
    }
    drop(fid);
    let mut stream = client.watch(path).await.map_err(at(path))?;
    let ended = tokio::select! {
        ended = print_stream(&mut stream, path) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    // Closing the stream flushes the pending read. Ignore errors, because all text has already been
    // printed.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, stream.close()).await;
    match ended.transpose()? {
        // If the file ended after at most one chunk, it is probably not a stream, so poll it for
        // changes.
        Some(Printed { texts: 0 | 1, last }) => poll_until_interrupt(client, path, last).await,
        _ => Ok(()),
    }
}

/// The last chunk received from a stream, and the total number of chunks.
struct Printed {
    texts: u64,
    last: Vec<u8>,
}

async fn print_stream(stream: &mut Watch, path: &ServerPath) -> CliResult<Printed> {
    let mut printed = Printed { texts: 0, last: Vec::new() };
    while let Some(text) = stream.next().await.map_err(at(path))? {
        stdio::print(&text)?;
        printed = Printed { texts: printed.texts.saturating_add(1), last: text };
    }
    Ok(printed)
}

async fn poll_until_interrupt(client: &Client, path: &ServerPath, printed: Vec<u8>) -> CliResult {
    tokio::select! {
        result = poll(client, path, printed) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Prints the changes to a file whose `content` has already been printed.
async fn poll(client: &Client, path: &ServerPath, mut content: Vec<u8>) -> CliResult {
    let mut state = None;
    loop {
        if let Some(read) = read_changed(client, path, &mut state).await.map_err(at(path))? {
            match read.strip_prefix(&*content) {
                Some(added) => stdio::print(added)?,
                None => stdio::print(&read)?,
            }
            content = read;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The version, length and modification time of a file. The file is considered unchanged if none of
/// these values have changed.
type FileState = (u32, u64, SystemTime);

/// Reads a file if it has changed. A file with version 0 is always read.
async fn read_changed(
    client: &Client,
    path: &ServerPath,
    state: &mut Option<FileState>,
) -> Result<Option<Vec<u8>>> {
    let metadata = client.stat(path).await?;
    let now = Some((metadata.qid.version, metadata.len, metadata.modified));
    if metadata.qid.version != 0 && *state == now {
        return Ok(None);
    }
    let content = client.open(path, OpenMode::READ).await?.read_up_to(MAX_POLLED).await?;
    *state = now;
    Ok(Some(content))
}
