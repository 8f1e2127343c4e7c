//! The connection that a client command uses.

use std::time::Duration;

use datakit_client::{Client, Dialect, Error, Options};

use crate::args::Connection;
use crate::error::CliResult;

/// The maximum time that a command waits for the server to clean up before the command exits.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects, runs `command` and closes the connection. Offers `preferred` first if the command line
/// does not name a dialect.
pub(crate) async fn with_client(
    connection: Connection,
    preferred: Option<Dialect>,
    command: impl AsyncFnOnce(&Client) -> CliResult,
) -> CliResult {
    let Connection { address, dialect, timeout } = connection;
    let options = Options::default().timeout(Duration::from_secs(timeout));
    let options = match (dialect, preferred) {
        (Some(dialect), _) => options.dialect(dialect.into()),
        (None, Some(preferred)) => options.prefer(preferred),
        (None, None) => options,
    };
    let client = Client::connect(&address, options).await.map_err(|error| match error {
        Error::Lost(why) => format!("{address}: {why}"),
        other => format!("{address}: {other}"),
    })?;
    let result = command(&client).await;
    // Exiting with unread data would reset the connection, and the server would log the reset.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, client.close()).await;
    result
}
