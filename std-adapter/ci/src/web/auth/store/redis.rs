//! Stores sessions on a Redis server, so they survive a restart of the CI.
//!
//! None of the `tower-sessions` stores is suitable: the newest Redis store requires an older
//! version of that crate and adds about 50 packages. Sessions need only four Redis commands.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::resp::{Reply, receive, send};
use super::{IDLE, RedisAddress, RedisSocket};
use crate::web::auth::user::SessionData;

/// The prefix of the keys.
const PREFIX: &str = "datakit-ci:session:";

/// The time limit for a command, including the time spent waiting for earlier commands and for a
/// connection.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A Redis client with a single connection.
pub(in crate::web::auth) struct Redis {
    address: RedisAddress,
    /// The connection. `None` if it has to be opened first.
    connection: Mutex<Option<Connection>>,
}

type Connection = BufReader<Pin<Box<dyn Stream>>>;

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Redis {
    pub(super) fn new(address: RedisAddress) -> Redis {
        Redis { address, connection: Mutex::new(None) }
    }

    /// Reads a session and resets its idle timeout.
    pub(super) async fn get(&self, key: &str) -> io::Result<Option<SessionData>> {
        let key = format!("{PREFIX}{key}");
        let idle = IDLE.as_secs().to_string();
        let reply = self.call(&[b"GETEX", key.as_bytes(), b"EX", idle.as_bytes()]).await?;
        match reply {
            Reply::Nothing => Ok(None),
            Reply::Value(value) => Ok(serde_json::from_slice(&value).ok()),
            Reply::Simple(text) => Err(unexpected("GETEX", &text)),
        }
    }

    pub(super) async fn insert(&self, key: &str, data: &SessionData) -> io::Result<()> {
        let key = format!("{PREFIX}{key}");
        let value = serde_json::to_vec(data)?;
        let idle = IDLE.as_secs().to_string();
        let reply = self.call(&[b"SET", key.as_bytes(), &value, b"EX", idle.as_bytes()]).await?;
        match reply {
            Reply::Simple(text) if text == "OK" => Ok(()),
            other => Err(unexpected("SET", &format!("{other:?}"))),
        }
    }

    pub(super) async fn remove(&self, key: &str) -> io::Result<()> {
        let key = format!("{PREFIX}{key}");
        self.call(&[b"DEL", key.as_bytes()]).await.map(drop)
    }

    /// Sends a command and receives its reply. Opens a connection first if there is none. All
    /// commands are idempotent, so a command is retried if an existing connection turns out to be
    /// closed.
    async fn call(&self, parts: &[&[u8]]) -> io::Result<Reply> {
        let called = timeout(TIMEOUT, async {
            let mut slot = self.connection.lock().await;
            // If this future is dropped, the connection is also dropped, because a reply to this
            // command could still arrive on it.
            if let Some(mut connection) = slot.take()
                && let Ok(reply) = exchange(&mut connection, parts).await
            {
                *slot = Some(connection);
                return Ok(reply);
            }
            let mut connection = self.connect().await?;
            let reply = exchange(&mut connection, parts).await?;
            *slot = Some(connection);
            Ok(reply)
        });
        let expired = || io::Error::new(io::ErrorKind::TimedOut, "no response within 3 s");
        called.await.unwrap_or_else(|_| Err(expired())).map_err(|error| {
            let address = super::SessionsBackend(super::Backend::Redis(self.address.clone()));
            io::Error::new(error.kind(), format!("{address}: {error}"))
        })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream: Pin<Box<dyn Stream>> = match &self.address.socket {
            RedisSocket::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::pin(stream)
            }
            RedisSocket::Unix(path) => Box::pin(UnixStream::connect(path).await?),
        };
        let mut connection = BufReader::new(stream);
        if let Some(password) = &self.address.password {
            exchange(&mut connection, &[b"AUTH", password.as_bytes()]).await?;
        }
        if let Some(database) = self.address.database {
            let database = database.to_string();
            exchange(&mut connection, &[b"SELECT", database.as_bytes()]).await?;
        }
        Ok(connection)
    }
}

async fn exchange(connection: &mut Connection, parts: &[&[u8]]) -> io::Result<Reply> {
    send(connection, parts).await?;
    receive(connection).await
}

fn unexpected(command: &str, reply: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected reply {reply} to {command}"))
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}
