//! Connects a client command to the server.

use std::time::Duration;

use datakit_client::{Client, Dialect, Error, Options, Result};

use crate::args::Connection;
use crate::error::CliResult;

/// Before it exits, a command waits at most this long for the server to clean up.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects, runs `command` and closes the connection.
pub(crate) async fn with_client(
    connection: &Connection,
    command: impl AsyncFnOnce(&Client) -> CliResult,
) -> CliResult {
    let address = &connection.address;
    let client = connect(connection, None).await.map_err(|error| match error {
        Error::Lost(why) => format!("{address}: {why}"),
        other => format!("{address}: {other}"),
    })?;
    let result = command(&client).await;
    close(client).await;
    result
}

/// Connects to the server. The dialect is `only` or, if `only` is `None`, the one given on the
/// command line. If neither is given, the dialect is negotiated.
pub(crate) async fn connect(connection: &Connection, only: Option<Dialect>) -> Result<Client> {
    let options = Options::default().timeout(Duration::from_secs(connection.timeout));
    let options = match only.or(connection.dialect.map(Dialect::from)) {
        Some(dialect) => options.dialect(dialect),
        None => options,
    };
    Client::connect(&connection.address, options).await
}

/// Closes a connection and waits for the server to close it as well. If the process exited before
/// reading all received data, the connection would be reset, and the server would log the reset.
pub(crate) async fn close(client: Client) {
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, client.close()).await;
}
