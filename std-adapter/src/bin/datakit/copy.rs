//! `datakit cp`: one file, between this machine and the server or within the server.

use std::path::Path;

use datakit::client::{Client, File, Open};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::commands::{Done, at, join, last};

/// One end of a copy: an open file and how far it is.
enum End {
    Host(tokio::fs::File),
    Server(File, u64),
}

impl End {
    /// Reads what comes next into `buf`; 0 is the end.
    async fn read(&mut self, buf: &mut [u8]) -> Done<usize> {
        match self {
            End::Host(file) => file.read(buf).await.map_err(|error| reason(&error)),
            End::Server(file, offset) => {
                let count = file.read_at(*offset, buf).await.map_err(|error| error.to_string())?;
                *offset += count as u64;
                Ok(count)
            }
        }
    }

    async fn write(&mut self, data: &[u8]) -> Done {
        match self {
            End::Host(file) => file.write_all(data).await.map_err(|error| reason(&error)),
            End::Server(file, offset) => {
                file.write_all_at(*offset, data).await.map_err(|error| error.to_string())?;
                *offset += data.len() as u64;
                Ok(())
            }
        }
    }

    async fn close(self) -> Done {
        match self {
            End::Host(mut file) => file.flush().await.map_err(|error| reason(&error)),
            End::Server(file, _) => file.close().await.map_err(|error| error.to_string()),
        }
    }
}

/// The system's text without its number, as for the server's errors.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

pub(crate) async fn cp(client: &Client, from: &str, to: &str) -> Done {
    if !from.starts_with(':') && !to.starts_with(':') {
        return Err("cp: neither path is on the server: write it as :PATH".to_owned());
    }
    let (mut source, length, unit) = open_source(client, from).await.map_err(at(from))?;
    let to = target(client, from, to).await;
    // Emptying the one would empty the other.
    if let (End::Server(file, _), Some(path)) = (&source, to.strip_prefix(':'))
        && client.stat(path).await.is_ok_and(|metadata| metadata.qid.path == file.qid().path)
    {
        return Err(format!("{from} and {to} are the same file"));
    }
    let mut copy = open_target(client, &to).await.map_err(at(&to))?;
    let bar = progress(length);
    let mut buf = vec![0; unit];
    loop {
        let count = source.read(&mut buf).await.map_err(at(from))?;
        let Some(data) = buf.get(..count).filter(|data| !data.is_empty()) else { break };
        copy.write(data).await.map_err(at(&to))?;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    copy.close().await.map_err(at(&to))
}

/// Opens a file; also its length and how much to read at a time, in bytes.
async fn open_source(client: &Client, path: &str) -> Done<(End, u64, usize)> {
    let Some(path) = path.strip_prefix(':') else {
        let file = tokio::fs::File::open(path).await.map_err(|error| reason(&error))?;
        let metadata = file.metadata().await.map_err(|error| reason(&error))?;
        if metadata.is_dir() {
            return Err("Is a directory".to_owned());
        }
        return Ok((End::Host(file), metadata.len(), 1 << 17));
    };
    let node = client.walk(path).await.map_err(|error| error.to_string())?;
    let metadata = node.stat().await.map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("Is a directory".to_owned());
    }
    let file = node.open(Open::READ).await.map_err(|error| error.to_string())?;
    let unit = file.unit();
    Ok((End::Server(file, 0), metadata.len, unit))
}

/// The path of the copy: in a directory it keeps the name.
async fn target(client: &Client, from: &str, to: &str) -> String {
    let name = last(from.strip_prefix(':').unwrap_or(from));
    let into = match to.strip_prefix(':') {
        Some(path) => client.stat(path).await.is_ok_and(|metadata| metadata.is_dir()),
        None => Path::new(to).is_dir(),
    };
    if into { join(to, name) } else { to.to_owned() }
}

async fn open_target(client: &Client, path: &str) -> Done<End> {
    match path.strip_prefix(':') {
        Some(path) => {
            client.open_to_write(path).await.map(|file| End::Server(file, 0)).map_err(|error| error.to_string())
        }
        None => tokio::fs::File::create(path).await.map(End::Host).map_err(|error| reason(&error)),
    }
}

/// A bar on a terminal, nothing elsewhere. A length of 0 is "not known": streams say so.
fn progress(length: u64) -> ProgressBar {
    if length == 0 {
        return ProgressBar::new_spinner();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
