//! The two steps of a login through GitHub: the redirect to GitHub and the callback.

use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse, TokenUrl,
    url,
};
use serde::Deserialize;
use tokio::time::timeout;
use tracing::{info, warn};

use super::api::{self, ApiError};
use super::config::GithubConfig;
use super::state::LoginState;
use crate::web::auth::forms::too_many;
use crate::web::auth::local_path::local_or_root;
use crate::web::auth::peer::PeerAddr;
use crate::web::auth::policy::Questions;
use crate::web::auth::session::Session;
use crate::web::auth::session_id::random_token;
use crate::web::auth::store::now;
use crate::web::auth::templates::{failure, message};
use crate::web::auth::user::{GithubRights, User};

/// The time limit for all calls to GitHub during a login.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum length of a code, in bytes.
const MAX_CODE: usize = 1024;

pub(in crate::web::auth) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/auth/github", get(start)).route("/auth/github-callback", get(callback))
}

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

fn client(config: &GithubConfig) -> Result<Client, url::ParseError> {
    let client = BasicClient::new(ClientId::new(config.client_id.clone()))
        .set_client_secret(ClientSecret::new(config.client_secret.clone()))
        .set_auth_type(AuthType::RequestBody)
        .set_auth_uri(AuthUrl::new(format!("{}/login/oauth/authorize", config.web_url))?)
        .set_token_uri(TokenUrl::new(format!("{}/login/oauth/access_token", config.web_url))?)
        .set_redirect_uri(RedirectUrl::new(config.callback.clone())?);
    Ok(client)
}

#[derive(Debug, Deserialize)]
struct Back {
    #[serde(default)]
    back: String,
}

async fn start(session: Session, Query(query): Query<Back>) -> Response {
    let auth = session.auth();
    let Some(config) = auth.0.github.config() else { return not_configured() };
    let back = local_or_root(&query.back);
    if session.user().is_some() {
        return Redirect::to(back).into_response();
    }
    match authorize_url(&session, &config, back) {
        Ok(url) => ([("cache-control", "no-store")], Redirect::to(&url)).into_response(),
        Err(error) => failure("start the login through GitHub", &*error),
    }
}

fn not_configured() -> Response {
    let text = "The login through GitHub is not configured on this server.";
    message(StatusCode::NOT_FOUND, "No login through GitHub", text)
}

fn authorize_url(
    session: &Session,
    config: &GithubConfig,
    back: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let id = session.id_or_new()?;
    let state = LoginState { nonce: random_token()?, time: now(), back: back.to_owned() };
    let sealed = state.seal(&id)?;
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&state.verifier(&id));
    let client = client(config)?;
    let mut request = client.authorize_url(|| CsrfToken::new(sealed)).set_pkce_challenge(challenge);
    // GitHub has no scope that grants read-only access to private repositories. The token is
    // dropped after the login.
    if !questions(session).repos.is_empty() {
        request = request.add_scope(Scope::new("repo".to_owned()));
    }
    Ok(request.url().0.into())
}

/// Returns the questions that GitHub has to answer before the policies can be evaluated.
fn questions(session: &Session) -> Questions {
    let mut questions = Questions::default();
    session.auth().can_read().collect(&mut questions);
    session.auth().can_build().collect(&mut questions);
    questions
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Callback {
    code: String,
    state: String,
    error: String,
}

async fn callback(
    session: Session,
    PeerAddr(address): PeerAddr,
    Query(query): Query<Callback>,
) -> Response {
    let auth = session.auth();
    let Some(config) = auth.0.github.config() else { return not_configured() };
    let attempt = match auth.0.throttle.start(address, None) {
        Ok(attempt) => attempt,
        Err(wait) => return too_many(wait),
    };
    let opened = session.id().and_then(|id| Some((LoginState::open(&query.state, &id)?, id)));
    let Some((state, id)) = opened else {
        auth.0.counters.add_github(false);
        let text = "This login was not started in this browser, or it took too long. Try again.";
        return message(StatusCode::FORBIDDEN, "Login refused", text);
    };
    if !query.error.is_empty() || query.code.is_empty() || query.code.len() > MAX_CODE {
        auth.0.counters.add_github(false);
        let text = "GitHub did not confirm the login, or you did not allow it.";
        return message(StatusCode::FORBIDDEN, "Login refused", text);
    }
    match identify(&session, &config, query.code, state.verifier(&id)).await {
        Ok((user, rights)) => {
            auth.0.counters.add_github(true);
            info!(%user, ?address, "logged in through GitHub");
            attempt.succeeded(user.name());
            match session.log_in(user, None, rights).await {
                Ok(()) => Redirect::to(local_or_root(&state.back)).into_response(),
                Err(error) => failure("store the session", &error),
            }
        }
        Err(error) => {
            auth.0.counters.add_github(false);
            warn!(%error, ?address, "the login through GitHub failed");
            let text = "GitHub did not confirm the login. The server's log contains the reason.";
            message(StatusCode::BAD_GATEWAY, "Login failed", text)
        }
    }
}

/// Exchanges the code for a token, and queries GitHub for the user and their permissions.
async fn identify(
    session: &Session,
    config: &GithubConfig,
    code: String,
    verifier: PkceCodeVerifier,
) -> Result<(User, GithubRights), ApiError> {
    let github = &session.auth().0.github;
    let _permit = github.logins.try_acquire().map_err(|_| ApiError::Busy(super::PARALLEL))?;
    let identified = timeout(TIMEOUT, async {
        let http = github.client()?;
        let client = client(config).map_err(|error| ApiError::Refused(error.to_string()))?;
        let code = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        let send = |request| api::send(http.clone(), request);
        let token = code.request_async(&send).await.map_err(ApiError::exchange)?;
        let token = token.access_token().secret();
        let calls = api::Calls { http, base: &config.api_url, token };
        let user = calls.user().await?;
        let rights = calls.rights(&user, &questions(session)).await?;
        Ok((user, rights))
    });
    identified.await.unwrap_or(Err(ApiError::TimedOut(TIMEOUT)))
}
