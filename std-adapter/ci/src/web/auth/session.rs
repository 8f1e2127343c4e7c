//! The session of a request, and the cookie that contains its id.

use std::io;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tracing::warn;

use super::Auth;
use super::session_id::SessionId;
use super::store::{LIFETIME, lifetime, now};
use super::user::{GithubRights, SessionData, User};

/// The session of a request. Handlers get it from the request extensions.
#[derive(Debug, Clone)]
pub(super) struct Session(Arc<SessionInner>);

#[derive(Debug)]
struct SessionInner {
    auth: Auth,
    state: Mutex<SessionState>,
}

#[derive(Debug)]
struct SessionState {
    /// The id in the cookie. Visitors who are not logged in can also have an id.
    id: Option<SessionId>,
    /// The session, or `None` if the visitor is not logged in.
    data: Option<SessionData>,
    /// Whether the session store failed to respond, in which case it is unknown who sent the
    /// request.
    unavailable: bool,
    /// The cookie change to include in the response.
    cookie: Option<CookieChange>,
}

#[derive(Debug, Clone, Copy)]
enum CookieChange {
    /// The cookie of a visitor, which expires when the browser is closed.
    Visitor,
    /// The cookie of a user who has logged in.
    User,
    Removed,
}

impl Session {
    pub(super) async fn load(auth: &Auth, id: Option<SessionId>) -> Session {
        let (data, unavailable) = match &id {
            None => (None, false),
            Some(id) => match auth.sessions().get(id).await {
                Ok(data) => (data.filter(|data| auth.is_current(data)), false),
                Err(error) => {
                    warn!(%error, "cannot read a session");
                    (None, true)
                }
            },
        };
        let state = SessionState { id, data, unavailable, cookie: None };
        Session(Arc::new(SessionInner { auth: auth.clone(), state: Mutex::new(state) }))
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// Returns the data of the session, or `None` if the visitor is not logged in.
    pub(super) fn data(&self) -> Option<SessionData> {
        self.0.state.lock().data.clone()
    }

    pub(super) fn user(&self) -> Option<User> {
        self.data().map(|data| data.user)
    }

    /// Returns `true` if the session store failed to respond.
    pub(super) fn is_unavailable(&self) -> bool {
        self.0.state.lock().unavailable
    }

    /// Returns the id of the session, if the request has one.
    pub(super) fn id(&self) -> Option<SessionId> {
        self.0.state.lock().id.clone()
    }

    /// Returns the session id. If the request has no id, the response sets a new one.
    ///
    /// # Errors
    /// Returns an error if the system cannot provide random bytes.
    pub(super) fn id_or_new(&self) -> io::Result<SessionId> {
        let mut state = self.0.state.lock();
        if let Some(id) = &state.id {
            return Ok(id.clone());
        }
        let id = SessionId::random()?;
        (state.id, state.cookie) = (Some(id.clone()), Some(CookieChange::Visitor));
        Ok(id)
    }

    /// Starts a session with a new id for a user, and ends the session with the old id. The id must
    /// change, because someone else could have placed the old one in the browser.
    ///
    /// # Errors
    /// Returns an error if the session cannot be stored.
    pub(super) async fn log_in(
        &self,
        user: User,
        password: Option<String>,
        rights: GithubRights,
    ) -> io::Result<()> {
        let sessions = self.auth().sessions();
        let id = SessionId::random()?;
        let data = SessionData { user, created: now(), password, rights };
        sessions.insert(&id, data.clone()).await?;
        let old = {
            let mut state = self.0.state.lock();
            let old = state.data.take().and(state.id.take());
            (state.id, state.data) = (Some(id), Some(data));
            state.cookie = Some(CookieChange::User);
            old
        };
        match old {
            Some(old) => sessions.remove(&old).await,
            None => Ok(()),
        }
    }

    /// Ends the session and removes the cookie.
    ///
    /// # Errors
    /// Returns an error if the session cannot be removed from the store. In this case, the cookie
    /// is kept, so the user can try again.
    pub(super) async fn log_out(&self) -> io::Result<()> {
        if let Some(id) = self.id() {
            self.auth().sessions().remove(&id).await?;
        }
        let mut state = self.0.state.lock();
        (state.id, state.data) = (None, None);
        state.cookie = Some(CookieChange::Removed);
        Ok(())
    }

    pub(super) fn write_cookie(&self, headers: &mut HeaderMap) {
        let state = self.0.state.lock();
        let Some(change) = state.cookie else { return };
        let value = match (change, &state.id) {
            (CookieChange::Visitor, Some(id)) => id.expose().to_owned(),
            (CookieChange::User, Some(id)) => {
                let lifetime = state.data.as_ref().map_or(LIFETIME, lifetime);
                format!("{}; Max-Age={}", id.expose(), lifetime.as_secs())
            }
            _ => "; Max-Age=0".to_owned(),
        };
        let (name, secure) = (self.auth().cookie_name(), self.auth().secure_attribute());
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
        // This cannot fail, because the value contains only visible ASCII characters.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(SET_COOKIE, value);
            headers.insert("cache-control", HeaderValue::from_static("no-store"));
        }
    }
}

/// Returns the session id from the cookie with the given name.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<SessionId> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    SessionId::parse(value.trim())
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Session, StatusCode> {
        // There is no session if the router is not wrapped with `auth::with_sessions`.
        parts.extensions.get().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_with_the_right_name_is_read() {
        let id = SessionId::random().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers, "id"), None);
        let text = format!("other=1; xid={}; id={}; id=x", "a".repeat(43), id.expose());
        headers.insert(COOKIE, text.parse().unwrap());
        assert_eq!(cookie(&headers, "id"), Some(id));
        headers.insert(COOKIE, "id=<script>".parse().unwrap());
        assert_eq!(cookie(&headers, "id"), None);
        headers.insert(COOKIE, HeaderValue::from_bytes(b"id=\xff").unwrap());
        assert_eq!(cookie(&headers, "id"), None);
    }
}
