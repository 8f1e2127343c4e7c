//! Hashes passwords with argon2id.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::session_id::random_bytes;

/// The maximum number of hashes that are computed at the same time. Each hash takes 19 MiB of
/// memory.
const PARALLEL: usize = 2;

/// The maximum number of requests that can wait for a hash.
const MAX_WAITING: usize = 16;

/// Computes hashes on the blocking thread pool.
#[derive(Clone)]
pub(super) struct Hasher(Arc<HasherInner>);

struct HasherInner {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash of a random password. Logins by nonexistent users are verified against it, so the
    /// response time does not reveal which users exist.
    dummy: String,
    computed: AtomicU64,
}

/// The error returned if a hash cannot be computed.
#[derive(Debug)]
pub(super) enum HashError {
    /// Too many requests are waiting for a hash.
    Busy,
    Failed(io::Error),
}

impl Hasher {
    /// Creates a hasher.
    ///
    /// # Errors
    /// Returns an error if the first hash cannot be computed.
    pub(super) fn new(cost: Cost) -> io::Result<Hasher> {
        let params = match cost {
            Cost::Recommended => Params::default(),
            Cost::Minimal => {
                Params::new(Params::MIN_M_COST, 1, 1, None).map_err(|error| failed(&error))?
            }
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, &random_bytes::<16>()?)?;
        Ok(Hasher(Arc::new(HasherInner {
            argon2,
            permits: Arc::new(Semaphore::new(PARALLEL)),
            waiting: AtomicUsize::new(0),
            dummy,
            computed: AtomicU64::new(0),
        })))
    }

    /// Returns the hash of a password, in the PHC string format.
    ///
    /// # Errors
    /// Returns an error if too many requests are waiting.
    pub(super) async fn hash(&self, password: String) -> Result<String, HashError> {
        self.run(move |shared| hash(&shared.argon2, password.as_bytes())).await
    }

    /// Returns `true` if a password matches the given hash. If `hash` is `None`, the result is
    /// `false`, but takes just as long to compute.
    ///
    /// # Errors
    /// Returns an error if too many requests are waiting or the hash is malformed.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, HashError> {
        self.run(move |shared| {
            let expected = hash.as_deref().unwrap_or(&shared.dummy);
            let parsed = PasswordHash::new(expected).map_err(|error| failed(&error))?;
            let verified = shared.argon2.verify_password(password.as_bytes(), &parsed);
            Ok(verified.is_ok() && hash.is_some())
        })
        .await
    }

    /// Returns the number of hashes computed for requests.
    #[cfg(test)]
    pub(super) fn computed(&self) -> u64 {
        self.0.computed.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&HasherInner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, HashError> {
        let waiting = WaitGuard::enter(&self.0).ok_or(HashError::Busy)?;
        let closed = |_| HashError::Failed(io::Error::other("the hasher is closed"));
        let permit = self.0.permits.clone().acquire_owned().await.map_err(closed)?;
        drop(waiting);
        let shared = self.0.clone();
        // The thread holds the permit, because the thread keeps running even if the client
        // disconnects.
        let work = spawn_blocking(move || {
            let result = work(&shared);
            shared.computed.fetch_add(1, Ordering::Relaxed);
            drop(permit);
            result
        });
        let result = work.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        result.map_err(HashError::Failed)
    }
}

/// The cost of computing a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// The parameters recommended by OWASP, which are the defaults of the `argon2` crate: 19 MiB
    /// and two passes.
    Recommended,
    /// For tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests hash with little work"))]
    Minimal,
}

/// A request that is waiting for a permit.
struct WaitGuard(Arc<HasherInner>);

impl WaitGuard {
    /// Returns `None` if too many requests are waiting.
    fn enter(shared: &Arc<HasherInner>) -> Option<WaitGuard> {
        let before = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = WaitGuard(shared.clone());
        (before < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> io::Result<String> {
    let salt = random_bytes::<16>()?;
    let hash: PasswordHash =
        argon2.hash_password_with_salt(password, &salt).map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

fn failed(error: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("argon2: {error}"))
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashError::Busy => write!(f, "more than {MAX_WAITING} logins are waiting"),
            HashError::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HashError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HashError::Busy => None,
            HashError::Failed(error) => Some(error),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_with_its_hash() {
        let hasher = Hasher::new(Cost::Minimal).unwrap();
        let hash = hasher.hash("right".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        assert!(hasher.verify("right".into(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("wrong".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify("right".into(), None).await.unwrap());
        let error = hasher.verify("right".into(), Some("x".into())).await.unwrap_err();
        assert!(error.to_string().starts_with("argon2: "), "{error}");
    }

    #[test]
    fn the_recommended_hash_takes_19_mib() {
        let params = Params::default();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (19 * 1024, 2, 1));
    }

    #[tokio::test]
    async fn too_many_waiting_requests_are_refused() {
        let hasher = Hasher::new(Cost::Minimal).unwrap();
        let all = hasher.0.permits.clone().acquire_many_owned(PARALLEL as u32).await.unwrap();
        let mut requests: Vec<_> =
            (0..=MAX_WAITING).map(|_| Box::pin(hasher.hash("x".into()))).collect();
        let mut busy = 0;
        for request in &mut requests {
            // Polls each request once.
            let polled =
                tokio::select! { biased; done = request => Some(done), () = async {} => None };
            busy += usize::from(matches!(polled, Some(Err(HashError::Busy))));
        }
        assert_eq!(busy, 1);
        drop(all);
        requests.pop();
        for request in requests {
            request.await.unwrap();
        }
        assert_eq!(hasher.0.waiting.load(Ordering::Relaxed), 0);
    }
}
