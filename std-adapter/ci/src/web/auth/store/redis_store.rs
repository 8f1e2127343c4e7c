//! Stores sessions on a Redis server, so they survive a restart of the CI.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult, cmd};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{IDLE, RedisServer};
use crate::web::auth::user::SessionData;

/// The prefix of the keys.
const PREFIX: &str = "datakit-ci:session:";

/// The time limit for a command, including the time spent waiting for earlier commands and for a
/// connection.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A Redis client with a single connection.
pub(in crate::web::auth) struct Redis {
    client: Client,
    /// The URL to show in error messages.
    url: String,
    /// The connection, or `None` if it has not been opened yet or has been closed.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    pub(super) fn new(server: &RedisServer) -> Redis {
        // `redis` uses the TLS provider of the process. The call fails if a provider is already
        // installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Redis {
            client: server.client.clone(),
            url: server.url.clone(),
            connection: Mutex::new(None),
        }
    }

    /// Reads a session and resets its idle timeout.
    pub(super) async fn get(&self, key: &str) -> io::Result<Option<SessionData>> {
        let mut command = named("GETEX", key);
        let value: Option<Vec<u8>> = self.call(command.arg("EX").arg(IDLE.as_secs())).await?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    pub(super) async fn insert(&self, key: &str, data: &SessionData) -> io::Result<()> {
        let mut command = named("SET", key);
        command.arg(serde_json::to_vec(data)?).arg("EX").arg(IDLE.as_secs());
        self.call(&command).await
    }

    pub(super) async fn remove(&self, key: &str) -> io::Result<()> {
        self.call(&named("DEL", key)).await
    }

    /// Sends a command and receives its reply. Opens a connection first if there is none. All
    /// commands are idempotent, so a command is retried if an existing connection turns out to be
    /// closed.
    async fn call<T: FromRedisValue>(&self, command: &Cmd) -> io::Result<T> {
        let called = timeout(TIMEOUT, async {
            let mut slot = self.connection.lock().await;
            // If this future is dropped, the connection is also dropped, because the server may
            // never respond on it again.
            if let Some(mut connection) = slot.take()
                && let Ok(reply) = command.query_async(&mut connection).await
            {
                *slot = Some(connection);
                return Ok(reply);
            }
            let mut connection = self.connect().await?;
            let reply = command.query_async(&mut connection).await?;
            *slot = Some(connection);
            Ok(reply)
        });
        match called.await {
            Ok(reply) => reply.map_err(|error: redis::RedisError| {
                io::Error::other(format!("{}: {error}", self.url))
            }),
            Err(_) => {
                let message = format!("{}: no response within 3 s", self.url);
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        // `call` enforces a time limit.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Returns a command whose first argument is the key of a session.
fn named(name: &str, key: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(format!("{PREFIX}{key}"));
    command
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("url", &self.url).finish_non_exhaustive()
    }
}
