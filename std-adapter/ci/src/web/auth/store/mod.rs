//! The storage of sessions.

mod memory;
mod redis_store;
#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::session_id::SessionId;
use super::user::SessionData;
use memory::MemorySessions;
use redis_store::Redis;

/// The idle timeout: a session ends after this time without a request.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// The maximum lifetime of a local user's session after the login.
pub(super) const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The maximum lifetime of a GitHub user's session. It is shorter than the lifetime of other
/// sessions, because GitHub permissions are read only at login.
const GITHUB_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where sessions are stored. By default, they are kept in memory.
///
/// ```
/// # use datakit_ci::web::auth::SessionsBackend;
/// for text in ["memory://", "redis://127.0.0.1:6379", "redis+unix:///run/redis.sock"] {
///     assert_eq!(text.parse::<SessionsBackend>()?.to_string(), text);
/// }
/// let secret: SessionsBackend = "rediss://ci:password@[::1]:6379/2".parse()?;
/// assert_eq!(secret.to_string(), "rediss://ci:***@[::1]:6379/2");
/// # Ok::<(), datakit_ci::web::auth::InvalidBackend>(())
/// ```
#[derive(Clone, Default)]
pub struct SessionsBackend(Backend);

#[derive(Clone, Default)]
#[allow(clippy::large_enum_variant, reason = "a program has few values of this type")]
enum Backend {
    #[default]
    Memory,
    Redis(RedisServer),
}

/// A Redis server.
#[derive(Clone)]
struct RedisServer {
    client: redis::Client,
    /// The URL. The password is replaced with `***`.
    url: String,
}

impl FromStr for SessionsBackend {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<SessionsBackend, InvalidBackend> {
        if text == "memory://" {
            return Ok(SessionsBackend(Backend::Memory));
        }
        let mut url = redis::parse_redis_url(text).ok_or(InvalidBackend)?;
        let client = redis::Client::open(url.clone()).map_err(|_| InvalidBackend)?;
        // The URL of a Unix socket can contain the password in its query.
        url.set_query(None);
        if url.password().is_some() {
            url.set_password(Some("***")).map_err(|()| InvalidBackend)?;
        }
        Ok(SessionsBackend(Backend::Redis(RedisServer { client, url: url.into() })))
    }
}

impl fmt::Display for SessionsBackend {
    /// Writes the URL. The password is replaced with `***`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Backend::Memory => f.write_str("memory://"),
            Backend::Redis(server) => f.write_str(&server.url),
        }
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
            "invalid sessions backend: expected memory://, \
             redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], the same with rediss:// for TLS, or \
             redis+unix:///PATH",
        )
    }
}

impl std::error::Error for InvalidBackend {}

/// The sessions of all logged-in users.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a program has few values of this type")]
pub(super) enum Sessions {
    Memory(MemorySessions),
    Redis(Redis),
}

impl Sessions {
    pub(super) fn new(backend: &SessionsBackend) -> Sessions {
        match &backend.0 {
            Backend::Memory => Sessions::Memory(MemorySessions::default()),
            Backend::Redis(server) => Sessions::Redis(Redis::new(server)),
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
