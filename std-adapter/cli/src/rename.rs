//! Renames files on the server.

use std::sync::Arc;

use datakit_client::{Client, Dialect, Error, Fid, File, Result};
use tokio::sync::OnceCell;

use crate::args::Connection;
use crate::connect::{close, connect};
use crate::operand::ServerPath;

const EEXIST: u32 = 17;
const EXDEV: u32 = 18;

/// Renames files over the command's connection or over a second connection.
///
/// Commands prefer 9P2000.u because its errors contain text. Only 9P2000.L allows a rename to
/// replace a file or to move a file to another directory, so the first such rename opens a second
/// connection in that dialect. Clones share the second connection.
#[derive(Clone)]
pub(crate) struct Renames {
    connection: Connection,
    /// The second connection, or `None` if it cannot be opened, for example because the server does
    /// not support 9P2000.L.
    linux: Arc<OnceCell<Option<Client>>>,
}

impl Renames {
    pub(crate) fn new(connection: &Connection) -> Renames {
        Renames { connection: connection.clone(), linux: Arc::default() }
    }

    /// Renames `from` to `to`.
    ///
    /// Returns the same errors as [`Client::rename`], with the server's text if the server sent
    /// any.
    pub(crate) async fn rename(
        &self,
        client: &Client,
        from: &ServerPath,
        to: &ServerPath,
    ) -> Result<()> {
        match client.rename(from, to).await {
            Err(refusal) if client.dialect() != Dialect::Linux => {
                self.retry(refusal, from, to).await
            }
            other => other,
        }
    }

    /// Renames the open file `file` from `from` to `to`. Both paths must be in the same directory.
    /// Passing the open directory as `dir` saves a walk.
    ///
    /// Returns the same errors as [`rename`](Renames::rename).
    pub(crate) async fn rename_open(
        &self,
        client: &Client,
        file: &File,
        dir: Option<&Fid>,
        from: &ServerPath,
        to: &ServerPath,
    ) -> Result<()> {
        match dir {
            Some(dir) if client.dialect() == Dialect::Linux => {
                dir.rename_at(from.last(), dir, to.last()).await
            }
            None if client.dialect() == Dialect::Linux => client.rename(from, to).await,
            _ => match file.set_name(to.last()).await {
                Err(refusal) => self.retry(refusal, from, to).await,
                Ok(()) => Ok(()),
            },
        }
    }

    /// Retries a failed rename over 9P2000.L if that dialect might allow it.
    async fn retry(&self, refusal: Error, from: &ServerPath, to: &ServerPath) -> Result<()> {
        if !matches!(refusal.errno(), Some(EEXIST | EXDEV)) {
            return Err(refusal);
        }
        let Some(linux) = self.linux().await else { return Err(refusal) };
        match linux.rename(from, to).await {
            // Prefer the first error, because it may contain the server's text.
            Err(error @ Error::Server { .. }) if error.errno() == refusal.errno() => Err(refusal),
            other => other,
        }
    }

    async fn linux(&self) -> Option<&Client> {
        if self.connection.dialect.is_some() {
            return None;
        }
        let open = || async { connect(&self.connection, Some(Dialect::Linux)).await.ok() };
        self.linux.get_or_init(open).await.as_ref()
    }

    /// Closes the second connection if it is open.
    pub(crate) async fn close(self) {
        if let Some(Some(client)) = Arc::into_inner(self.linux).and_then(OnceCell::into_inner) {
            close(client).await;
        }
    }
}
