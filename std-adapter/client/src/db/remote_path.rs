//! A path on the server, and the file operations that the database client needs.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::error::{Error, Result};
use crate::{ByteString, Client, Fid, File, OpenMode};

/// The maximum length, in bytes, of a text file that is read as a whole, such as a message or a
/// list.
const MAX_TEXT: usize = 1 << 24;

/// A path on the server. The path need not exist. Every operation walks to the path and then clunks
/// the resulting fid.
#[derive(Debug, Clone)]
pub(super) struct RemotePath {
    pub(super) client: Client,
    names: Vec<ByteString>,
}

impl RemotePath {
    pub(super) fn root(client: &Client) -> RemotePath {
        RemotePath { client: client.clone(), names: Vec::new() }
    }

    /// Appends a name.
    pub(super) fn join(&self, name: impl AsRef<[u8]>) -> RemotePath {
        self.join_all([name])
    }

    /// Appends names. The caller must have validated the path components.
    pub(super) fn join_all<N: AsRef<[u8]>>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> RemotePath {
        let mut path = self.clone();
        path.names.extend(names.into_iter().map(|name| ByteString::from(name.as_ref())));
        path
    }

    pub(super) async fn walk(&self) -> Result<Fid> {
        let names: Vec<&[u8]> = self.names.iter().map(ByteString::as_bytes).collect();
        Ok(self.client.root.walk_names(&names).await?)
    }

    /// Walks to a file. Fails if the path is a directory, because servers silently ignore some
    /// requests for directories.
    pub(super) async fn walk_to_file(&self) -> Result<Fid> {
        let fid = self.walk().await?;
        if fid.is_dir() { Err(Error::IsDirectory) } else { Ok(fid) }
    }

    /// Reads an entire file, or the first value of a stream.
    pub(super) async fn read(&self) -> Result<Vec<u8>> {
        Ok(self.walk().await?.open(OpenMode::READ).await?.read_all().await?)
    }

    pub(super) async fn read_text(&self) -> Result<String> {
        let file = self.walk().await?.open(OpenMode::READ).await?;
        Ok(String::from_utf8_lossy(&file.read_up_to(MAX_TEXT).await?).into_owned())
    }

    /// Reads the first line of a file, without the line feed.
    pub(super) async fn read_line(&self) -> Result<String> {
        read_line(&self.walk().await?.open(OpenMode::READ).await?).await
    }

    pub(super) async fn list(&self) -> Result<Vec<ByteString>> {
        list(self.walk().await?).await
    }

    pub(super) async fn mkdir(&self, name: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.walk().await?.into_mkdir(name, 0o755).await?)
    }

    pub(super) async fn remove(&self) -> Result<()> {
        Ok(self.walk().await?.remove().await?)
    }

    /// Writes a command.
    pub(super) async fn command(&self, text: &str) -> Result<()> {
        let file = self.walk().await?.open(OpenMode::WRITE).await?;
        file.write_all_at(0, text.as_bytes()).await?;
        Ok(file.close().await?)
    }

    /// Writes a command to a file that, when read, returns the reason for the last failure. If the
    /// command fails, the returned error contains that reason, because the error reply itself
    /// contains only the beginning of the reason, or no text at all in 9P2000.L.
    pub(super) async fn explained_command(&self, text: &str) -> Result<()> {
        let Err(error) = self.command(text).await else { return Ok(()) };
        let Error::Client(crate::Error::Server { errno, .. }) = error else { return Err(error) };
        match self.read_text().await.as_deref().map(str::trim_end) {
            // The original server does not explain failures.
            Err(_) | Ok("") => Err(error),
            Ok(reason) => Err(crate::Error::from_reply(errno, reason.to_owned()).into()),
        }
    }

    /// Opens a file for writing commands and reading their replies.
    pub(super) async fn open_read_write(&self) -> Result<File> {
        Ok(self.walk().await?.open(OpenMode::READ_WRITE).await?)
    }

    /// Replaces the content of an existing file. Truncates the file with a separate request,
    /// because the original server ignores Topen's truncation flag.
    pub(super) async fn replace(&self, content: &[u8]) -> Result<()> {
        replace(self.walk_to_file().await?, content).await
    }
}

/// Replaces the content of a file.
pub(super) async fn replace(fid: Fid, content: &[u8]) -> Result<()> {
    let file = fid.open_truncated().await?;
    file.write_all_at(0, content).await?;
    Ok(file.close().await?)
}

/// Reads the names in a directory.
pub(super) async fn list(dir: Fid) -> Result<Vec<ByteString>> {
    let entries = dir.open(OpenMode::READ).await?.read_dir().await?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

/// Reads up to the first line feed, which is not included, or to the end of the file.
pub(super) async fn read_line(file: &File) -> Result<String> {
    let (mut line, mut chunks) = (Vec::new(), file.chunks());
    while let Some(data) = chunks.next().await? {
        let end = data.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(data.get(..end.unwrap_or(data.len())).unwrap_or_default());
        if end.is_some() {
            break;
        }
        if line.len() > MAX_TEXT {
            return Err(Error::unreadable("a line is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Returns a name that is very unlikely to be used by any other task on this connection. The name
/// is a random 63-bit number in decimal.
pub(super) fn unique_name() -> String {
    (RandomState::new().build_hasher().finish() >> 1).to_string()
}
