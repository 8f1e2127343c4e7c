//! Obtains the tokens needed for calls.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Method, Uri};
use serde::Deserialize;

use super::super::credentials::{App, Credentials, InstallationToken, bearer};
use super::{GateError, GateInner, GithubRequest};

impl GateInner {
    /// Returns the `Authorization` header for calls that access an account's repositories.
    pub(super) async fn authorization(
        &self,
        account: Option<&str>,
    ) -> Result<Option<HeaderValue>, GateError> {
        let token = match (&self.credentials, account) {
            (None, _) => return Ok(None),
            (Some(Credentials::Token(token)), _) => token.clone(),
            (Some(Credentials::App(app)), Some(account)) => {
                self.installation_token(app, account).await?.token
            }
            (Some(Credentials::App(app)), None) => {
                app.key().sign(SystemTime::now()).map_err(GateError::Credentials)?
            }
        };
        bearer(&token).map(Some).map_err(GateError::Credentials)
    }

    /// Returns the app's installation token for an account. Obtains a new token if needed.
    pub(super) async fn installation_token(
        &self,
        app: &App,
        account: &str,
    ) -> Result<InstallationToken, GateError> {
        if let Some(token) = app.token(account) {
            return Ok(token);
        }
        let id = self.installation(app, account).await?;
        let path = format!("/app/installations/{id}/access_tokens");
        let answer: TokenJson = self.call_as_app(app, Method::POST, &path).await?;
        let writes_checks = answer.permissions.get("checks").is_some_and(|level| level == "write");
        let token = InstallationToken::new(&answer.token, writes_checks);
        app.set_token(account, token.clone());
        Ok(token)
    }

    /// Returns the id of the app's installation in an account.
    async fn installation(&self, app: &App, account: &str) -> Result<u64, GateError> {
        for page in 1.. {
            let path = format!("/app/installations?per_page=100&page={page}");
            let found: Vec<InstallationJson> = self.call_as_app(app, Method::GET, &path).await?;
            if found.is_empty() {
                break;
            }
            let is_here = |found: &&InstallationJson| {
                found.account.as_ref().is_some_and(|a| a.login.eq_ignore_ascii_case(account))
            };
            if let Some(found) = found.iter().find(is_here) {
                return Ok(found.id);
            }
        }
        Err(GateError::Credentials(format!("the GitHub App is not installed for {account}")))
    }

    async fn call_as_app<T: for<'de> Deserialize<'de>>(
        &self,
        app: &App,
        method: Method,
        path: &str,
    ) -> Result<T, GateError> {
        let invalid = |reason: String| GateError::Credentials(format!("{path}: {reason}"));
        let uri = format!("{}{path}", self.base.to_string().trim_end_matches('/'));
        let uri: Uri = uri.parse().map_err(|_| invalid("not an address".to_owned()))?;
        let token = app.key().sign(SystemTime::now()).map_err(GateError::Credentials)?;
        let token = bearer(&token).map_err(GateError::Credentials)?;
        let accept = HeaderValue::from_static("application/vnd.github+json");
        let headers = [(AUTHORIZATION, token), (ACCEPT, accept)];
        let headers = headers.into_iter().collect();
        let call = GithubRequest { method, uri, headers, body: Bytes::new(), account: None };
        let response = self.send(&call).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(invalid(format!("GitHub answered {status}")));
        }
        // The response body may contain a token, so the error must not quote it.
        serde_json::from_slice(response.body()).map_err(|_| invalid("unexpected answer".to_owned()))
    }
}

#[derive(Deserialize)]
struct TokenJson {
    token: String,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

#[derive(Deserialize)]
struct InstallationJson {
    id: u64,
    account: Option<AccountJson>,
}

#[derive(Deserialize)]
struct AccountJson {
    #[serde(default)]
    login: String,
}
