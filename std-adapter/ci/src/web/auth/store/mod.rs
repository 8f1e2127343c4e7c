//! The storage of sessions.

mod memory;
mod redis;
mod resp;
#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::session_id::SessionId;
use super::user::SessionData;
use memory::Memory;
use redis::Redis;

/// The idle timeout: a session ends after this time without a request.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// The maximum lifetime of a local user's session after the login.
pub(super) const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The maximum lifetime of a GitHub user's session. It is shorter because GitHub permissions are
/// read only at login.
const GITHUB_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where sessions are stored. The default is memory.
///
/// ```
/// # use datakit_ci::web::auth::SessionsBackend;
/// for text in ["memory://", "redis://127.0.0.1:6379", "redis+unix:///run/redis.sock"] {
///     assert_eq!(text.parse::<SessionsBackend>()?.to_string(), text);
/// }
/// let secret: SessionsBackend = "redis://:password@[::1]:6379/2".parse()?;
/// assert_eq!(secret.to_string(), "redis://:***@[::1]:6379/2");
/// # Ok::<(), datakit_ci::web::auth::InvalidBackend>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SessionsBackend(Backend);

#[derive(Clone, PartialEq, Eq, Default)]
enum Backend {
    #[default]
    Memory,
    Redis(RedisAddress),
}

/// The address of a Redis server.
#[derive(Clone, PartialEq, Eq)]
struct RedisAddress {
    socket: RedisSocket,
    password: Option<String>,
    database: Option<u32>,
}

#[derive(Clone, PartialEq, Eq)]
enum RedisSocket {
    /// A host and a port, for example `127.0.0.1:6379`.
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for SessionsBackend {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<SessionsBackend, InvalidBackend> {
        if text == "memory://" {
            return Ok(SessionsBackend(Backend::Memory));
        }
        let redis = match text.strip_prefix("redis+unix://") {
            Some(path) => unix_address(path),
            None => text.strip_prefix("redis://").and_then(tcp_address),
        };
        redis.map(|redis| SessionsBackend(Backend::Redis(redis))).ok_or(InvalidBackend)
    }
}

fn unix_address(path: &str) -> Option<RedisAddress> {
    let socket = RedisSocket::Unix(path.into());
    path.starts_with('/').then_some(RedisAddress { socket, password: None, database: None })
}

fn tcp_address(text: &str) -> Option<RedisAddress> {
    let (password, rest) = match text.rsplit_once('@') {
        Some((login, rest)) => (Some(login.strip_prefix(':')?.to_owned()), rest),
        None => (None, text),
    };
    let (address, database) = match rest.split_once('/') {
        Some((address, "")) => (address, None),
        Some((address, number)) => (address, Some(number.parse().ok()?)),
        None => (rest, None),
    };
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !bare.is_empty() && (bare.len() < host.len() || !host.contains(':'));
    (is_host && port.parse::<u16>().is_ok()).then(|| RedisAddress {
        socket: RedisSocket::Tcp(address.to_owned()),
        password,
        database,
    })
}

impl fmt::Display for SessionsBackend {
    /// Writes the URL. The password is replaced with `***`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Backend::Redis(redis) = &self.0 else { return f.write_str("memory://") };
        match &redis.socket {
            RedisSocket::Unix(path) => return write!(f, "redis+unix://{}", path.display()),
            RedisSocket::Tcp(address) => {
                let password = if redis.password.is_some() { ":***@" } else { "" };
                write!(f, "redis://{password}{address}")?;
            }
        }
        redis.database.map_or(Ok(()), |database| write!(f, "/{database}"))
    }
}

impl fmt::Debug for SessionsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionsBackend({self})")
    }
}

/// The error returned if a string is not a valid session backend URL. The error does not contain
/// the string, because it could contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBackend;

impl fmt::Display for InvalidBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "invalid sessions backend: expected memory://, redis://[:PASSWORD@]HOST:PORT[/DATABASE] \
             or redis+unix:///PATH",
        )
    }
}

impl std::error::Error for InvalidBackend {}

/// The sessions of all logged-in users.
#[derive(Debug)]
pub(super) enum Sessions {
    Memory(Memory),
    Redis(Redis),
}

impl Sessions {
    pub(super) fn new(backend: &SessionsBackend) -> Sessions {
        match &backend.0 {
            Backend::Memory => Sessions::Memory(Memory::default()),
            Backend::Redis(address) => Sessions::Redis(Redis::new(address.clone())),
        }
    }

    /// Returns the data of a session and resets its idle timeout.
    ///
    /// # Errors
    /// Returns an error if the Redis server does not respond.
    pub(super) async fn get(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
        let data = match self {
            Sessions::Memory(memory) => memory.get(&id.key()),
            Sessions::Redis(redis) => redis.get(&id.key()).await?,
        };
        match data {
            Some(data) if has_ended(&data) => {
                self.remove(id).await?;
                Ok(None)
            }
            data => Ok(data),
        }
    }

    /// Stores a session.
    ///
    /// # Errors
    /// Returns an error if the Redis server does not respond.
    pub(super) async fn insert(&self, id: &SessionId, data: SessionData) -> io::Result<()> {
        match self {
            Sessions::Memory(memory) => {
                memory.insert(id.key(), data);
                Ok(())
            }
            Sessions::Redis(redis) => redis.insert(&id.key(), &data).await,
        }
    }

    /// Removes a session, if it exists.
    ///
    /// # Errors
    /// Returns an error if the Redis server does not respond.
    pub(super) async fn remove(&self, id: &SessionId) -> io::Result<()> {
        match self {
            Sessions::Memory(memory) => {
                memory.remove(&id.key());
                Ok(())
            }
            Sessions::Redis(redis) => redis.remove(&id.key()).await,
        }
    }

    /// Returns the number of sessions in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        match self {
            Sessions::Memory(memory) => memory.len(),
            Sessions::Redis(_) => 0,
        }
    }
}

/// Returns `true` if the login was too long ago. If the clock was set back, the session is not
/// considered too old.
fn has_ended(data: &SessionData) -> bool {
    now().saturating_sub(data.created) >= lifetime(data).as_secs()
}

/// Returns the maximum lifetime of a session.
pub(super) fn lifetime(data: &SessionData) -> Duration {
    if data.user.github_login().is_some() { GITHUB_LIFETIME } else { LIFETIME }
}

/// Returns the time in seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
