//! Calls to the GitHub API during login.

use std::fmt;
use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{HeaderValue, USER_AGENT};
use axum::http::{Method, Request, StatusCode};
use oauth2::{HttpRequest, HttpResponse, RequestTokenError};
use serde::Deserialize;

use crate::https_client::{HttpsClient, HttpsError};
use crate::web::auth::policy::Questions;
use crate::web::auth::user::{GithubRights, User};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 1 << 20;

/// The time limit for one call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a login through GitHub failed. The message does not contain any secrets.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Too many other logins are waiting for GitHub.
    Busy(usize),
    TimedOut(Duration),
    Io(io::Error),
    Http(HttpsError),
    /// GitHub refused to exchange the code for a token.
    Refused(String),
    /// A call returned an unexpected status.
    Status(String, StatusCode),
    /// The response has unexpected content.
    Malformed(&'static str),
}

impl ApiError {
    /// Converts an error from the token exchange. A response that cannot be parsed is not shown,
    /// because it could contain a token.
    pub(super) fn exchange<T>(error: RequestTokenError<HttpsError, T>) -> ApiError
    where
        T: oauth2::ErrorResponse + fmt::Display,
    {
        match error {
            RequestTokenError::ServerResponse(response) => ApiError::Refused(response.to_string()),
            RequestTokenError::Request(error) => ApiError::Http(error),
            RequestTokenError::Parse(error, _) => {
                ApiError::Refused(format!("the response contains no token: {error}"))
            }
            RequestTokenError::Other(reason) => ApiError::Refused(reason),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiError::Busy(limit) => write!(f, "{limit} other logins are waiting for GitHub"),
            ApiError::TimedOut(limit) => write!(f, "GitHub took more than {} s", limit.as_secs()),
            ApiError::Io(error) => error.fmt(f),
            ApiError::Http(error) => error.fmt(f),
            ApiError::Refused(reason) => write!(f, "GitHub rejected the code: {reason}"),
            ApiError::Status(call, status) => write!(f, "{call}: unexpected status {status}"),
            ApiError::Malformed(call) => write!(f, "{call}: unexpected response"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ApiError::Io(error) => Some(error),
            ApiError::Http(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> ApiError {
        ApiError::Io(error)
    }
}

/// Sends a request for the `oauth2` crate.
pub(super) async fn send(
    http: HttpsClient,
    request: HttpRequest,
) -> Result<HttpResponse, HttpsError> {
    let mut request = request.map(Bytes::from);
    // GitHub rejects calls without this header.
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("datakit-ci"));
    let response = http.send(request, MAX_RESPONSE, TIMEOUT).await?;
    Ok(response.map(|body| body.to_vec()))
}

/// Calls the API with a user's token.
#[derive(Clone, Copy)]
pub(super) struct Calls<'c> {
    pub(super) http: &'c HttpsClient,
    /// The root URL of the API.
    pub(super) base: &'c str,
    pub(super) token: &'c str,
}

#[derive(Deserialize)]
struct Login {
    login: String,
}

impl Calls<'_> {
    /// Returns the user that the token belongs to.
    pub(super) async fn user(self) -> Result<User, ApiError> {
        let (status, body) = self.get("/user").await?;
        if status != StatusCode::OK {
            return Err(ApiError::Status("GET /user".to_owned(), status));
        }
        let login: Option<Login> = serde_json::from_slice(&body).ok();
        login.and_then(|user| User::github(&user.login)).ok_or(ApiError::Malformed("GET /user"))
    }

    /// Returns the user's rights. GitHub responds with status 404 for anything the user is not
    /// allowed to see.
    pub(super) async fn rights(
        self,
        user: &User,
        questions: &Questions,
    ) -> Result<GithubRights, ApiError> {
        let mut rights = GithubRights::default();
        let login = user.github_login().unwrap_or_default();
        for org in &questions.orgs {
            let is_member = self.ask(format!("/orgs/{org}/public_members/{login}")).await?;
            rights.orgs.insert(org.clone(), is_member);
        }
        for repo in &questions.repos {
            let can_read = self.ask(format!("/repos/{repo}")).await?;
            rights.repos.insert(repo.clone(), can_read);
        }
        Ok(rights)
    }

    /// Returns `true` if the resource exists and is visible to the user.
    async fn ask(self, path: String) -> Result<bool, ApiError> {
        let (status, _) = self.get(&path).await?;
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(true),
            // A renamed repository is no longer the one named in the policy.
            StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY => Ok(false),
            status => Err(ApiError::Status(format!("GET {path}"), status)),
        }
    }

    async fn get(self, path: &str) -> Result<(StatusCode, Bytes), ApiError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.base))
            .header("accept", "application/vnd.github+json")
            .header("authorization", format!("Bearer {}", self.token))
            .header("user-agent", "datakit-ci")
            .body(Bytes::new())
            .map_err(|_| ApiError::Malformed("the URL of the API or the token"))?;
        let response =
            self.http.send(request, MAX_RESPONSE, TIMEOUT).await.map_err(ApiError::Http)?;
        Ok((response.status(), response.into_body()))
    }
}
