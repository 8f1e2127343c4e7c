//! The one-time URL for setting up the first user.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::session_id::{SessionId, is_same_secret};

/// How long the URL is valid after the server starts.
pub(super) const VALID: Duration = Duration::from_secs(3600);

/// The token in the URL, until it is used or expires.
///
/// The token is bound to the first browser that opens the URL. After that, a copy of the URL (for
/// example from a log or a browser history) is useless.
#[derive(Default)]
pub(super) struct Intro(Mutex<Option<Open>>);

struct Open {
    token: String,
    created: Instant,
    /// The store key of the browser's session id.
    claimed_by: Option<String>,
}

impl Intro {
    pub(super) fn new(token: String) -> Intro {
        let open = Open { token, created: Instant::now(), claimed_by: None };
        Intro(Mutex::new(Some(open)))
    }

    /// Binds the token to a browser. Returns `true` if this browser is allowed to set up the user.
    pub(super) fn claim(&self, token: &str, browser: &SessionId) -> bool {
        let mut slot = self.0.lock();
        let Some(open) = slot.as_mut().filter(|open| open.is_valid()) else { return false };
        if !is_same_secret(token, &open.token) {
            return false;
        }
        *open.claimed_by.get_or_insert_with(|| browser.key()) == browser.key()
    }

    /// Returns `true` if this browser has opened the URL and is allowed to set up the user.
    pub(super) fn allows(&self, browser: &SessionId) -> bool {
        let slot = self.0.lock();
        let open = slot.as_ref().filter(|open| open.is_valid());
        open.is_some_and(|open| open.claimed_by.as_deref() == Some(&browser.key()))
    }

    /// Invalidates the token once the user exists.
    pub(super) fn close(&self) {
        self.0.lock().take();
    }
}

impl Open {
    fn is_valid(&self) -> bool {
        self.created.elapsed() < VALID
    }
}

impl std::fmt::Debug for Intro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intro").field("open", &self.0.lock().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::random().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_browser_with_the_token_may_set_up_the_user() {
        let (intro, first, second) = (Intro::new("token".into()), id(), id());
        assert!(!intro.claim("other", &first));
        assert!(!intro.allows(&first));
        assert!(intro.claim("token", &first));
        assert!(intro.claim("token", &first));
        assert!(!intro.claim("token", &second));
        assert!(!intro.allows(&second));
        assert!(intro.allows(&first));
        intro.close();
        assert!(!intro.allows(&first));
        assert!(!intro.claim("token", &first));
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_expires() {
        let (intro, late, claimed) = (Intro::new("token".into()), id(), id());
        assert!(intro.claim("token", &claimed));
        tokio::time::advance(VALID).await;
        assert!(!intro.claim("token", &late));
        assert!(!intro.allows(&claimed));
    }

    #[test]
    fn without_a_token_nothing_is_allowed() {
        assert!(!Intro::default().claim("", &id()));
    }
}
