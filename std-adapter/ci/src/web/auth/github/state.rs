//! The `state` parameter of a login through GitHub.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::PkceCodeVerifier;
use serde::{Deserialize, Serialize};

use crate::web::auth::session_id::{SessionId, is_same_secret};
use crate::web::auth::store::now;

/// The maximum time between the start of a login and the callback, in seconds.
const VALID_SECONDS: u64 = 600;

/// The content of the `state` parameter, which is sent to GitHub and back.
///
/// The server stores nothing during a login. The signature of the state and the PKCE verifier are
/// derived from the secret session id, so only the browser that started the login can finish it.
/// The session id changes on login, so a state can be used only once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LoginState {
    pub(super) nonce: String,
    /// The time at which the login was started, in seconds since the Unix epoch.
    pub(super) time: u64,
    /// The page to return to.
    pub(super) back: String,
}

impl LoginState {
    /// Returns the value of the parameter.
    ///
    /// # Errors
    /// Returns an error if the state cannot be serialized as JSON.
    pub(super) fn seal(&self, id: &SessionId) -> serde_json::Result<String> {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self)?);
        Ok(format!("{text}.{}", id.derive("github-state", &text)))
    }

    /// Returns the state if this browser recently started the login.
    pub(super) fn open(text: &str, id: &SessionId) -> Option<LoginState> {
        let (text, signature) = text.split_once('.')?;
        if !is_same_secret(signature, &id.derive("github-state", text)) {
            return None;
        }
        let state: LoginState = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let age = now().checked_sub(state.time)?;
        (age <= VALID_SECONDS).then_some(state)
    }

    /// Returns the PKCE verifier, which proves to GitHub that the code is sent by the client that
    /// started the login.
    pub(super) fn verifier(&self, id: &SessionId) -> PkceCodeVerifier {
        PkceCodeVerifier::new(id.derive("github-pkce", &self.nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(time: u64) -> LoginState {
        LoginState { nonce: "n".into(), time, back: "/x".into() }
    }

    #[test]
    fn only_the_same_browser_can_open_a_state() {
        let (id, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let sealed = state(now()).seal(&id).unwrap();
        assert_eq!(LoginState::open(&sealed, &id).unwrap().back, "/x");
        assert!(LoginState::open(&sealed, &other).is_none());
        assert!(LoginState::open("", &id).is_none());
        assert!(LoginState::open(".", &id).is_none());
        let (text, signature) = sealed.split_once('.').unwrap();
        let forged = state(now() + 1).seal(&other).unwrap();
        let forged = forged.split_once('.').unwrap().0;
        assert!(LoginState::open(&format!("{forged}.{signature}"), &id).is_none());
        assert!(LoginState::open(text, &id).is_none());
    }

    #[test]
    fn a_state_expires() {
        let id = SessionId::random().unwrap();
        for (time, valid) in [(now() - VALID_SECONDS - 1, false), (now() - 5, true), (0, false)] {
            let sealed = state(time).seal(&id).unwrap();
            assert_eq!(LoginState::open(&sealed, &id).is_some(), valid);
        }
    }
}
