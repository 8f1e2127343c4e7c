//! One place in the server's tree, by its names, and the few things that are done with files there.

use super::error::{Error, Result};
use crate::file::MAX_TEXT;
use crate::{ByteString, Client, Node, OpenMode, Qid};

/// A place that need not be there. Every call walks anew to a fid of its own, which is clunked at
/// the end.
#[derive(Clone)]
pub(super) struct At {
    pub(super) client: Client,
    names: Vec<ByteString>,
}

impl At {
    pub(super) fn root(client: &Client) -> At {
        At { client: client.clone(), names: Vec::new() }
    }

    /// The place of one more name.
    pub(super) fn to(&self, name: impl AsRef<[u8]>) -> At {
        self.below([name])
    }

    /// The place some names below. They are sent as they are: the caller knows that they are names.
    pub(super) fn below<N: AsRef<[u8]>>(&self, names: impl IntoIterator<Item = N>) -> At {
        let mut below = self.clone();
        below.names.extend(names.into_iter().map(|name| ByteString::from(name.as_ref())));
        below
    }

    /// The last name; empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.names.last().map(ByteString::as_bytes).unwrap_or_default()
    }

    pub(super) async fn walk(&self) -> Result<Node> {
        let names: Vec<&[u8]> = self.names.iter().map(ByteString::as_bytes).collect();
        Ok(self.client.root.walk_names(&names).await?)
    }

    /// The same for anything but a directory: servers take some requests to directories, and do
    /// nothing.
    pub(super) async fn walk_to_file(&self) -> Result<Node> {
        let node = self.walk().await?;
        if node.qid().kind & Qid::DIR == 0 { Ok(node) } else { Err(Error::IsDirectory) }
    }

    /// All of a file; of a stream, what it delivers first.
    pub(super) async fn read(&self) -> Result<Vec<u8>> {
        Ok(self.walk().await?.open(OpenMode::READ).await?.read_all().await?)
    }

    pub(super) async fn read_text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(
            &self.walk().await?.open(OpenMode::READ).await?.read_up_to(MAX_TEXT).await?,
        )
        .into_owned())
    }

    pub(super) async fn list(&self) -> Result<Vec<ByteString>> {
        let entries = self.walk().await?.open(OpenMode::READ).await?.read_dir().await?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    pub(super) async fn mkdir(&self, name: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.walk().await?.mkdir(name, 0o755).await?)
    }

    pub(super) async fn remove(&self) -> Result<()> {
        Ok(self.walk().await?.remove().await?)
    }

    /// Writes to the start of a command file.
    pub(super) async fn command(&self, text: &str) -> Result<()> {
        let file = self.walk().await?.open(OpenMode::WRITE).await?;
        file.write_all_at(0, text.as_bytes()).await?;
        Ok(file.close().await?)
    }

    /// The same, and reads the reply.
    pub(super) async fn ask(&self, text: &str) -> Result<String> {
        let file = self.walk().await?.open(OpenMode::READ_WRITE).await?;
        file.write_all_at(0, text.as_bytes()).await?;
        let reply = file.read_all().await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// Makes `content` all of a file that is there. Not by opening it with "truncate", which the
    /// original server ignores.
    pub(super) async fn replace(&self, content: &[u8]) -> Result<()> {
        let node = self.walk_to_file().await?;
        node.set_len(0).await?;
        let file = node.open(OpenMode::WRITE).await?;
        file.write_all_at(0, content).await?;
        Ok(file.close().await?)
    }
}
