//! The settings for logging in through GitHub.

use std::fmt;

use axum::http::Uri;
use serde::{Deserialize, Serialize};

use crate::web::auth::Auth;

/// The content of `github.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web::auth) struct GithubConfig {
    /// The id of the OAuth app.
    pub(in crate::web::auth) client_id: String,
    /// The secret of the OAuth app.
    pub(in crate::web::auth) client_secret: String,
    /// The URL to which GitHub redirects users after the login.
    pub(in crate::web::auth) callback: String,
    /// The root URL of the GitHub website.
    #[serde(default = "default_web_url")]
    pub(in crate::web::auth) web_url: String,
    /// The root URL of the GitHub API.
    #[serde(default = "default_api_url")]
    pub(in crate::web::auth) api_url: String,
}

fn default_web_url() -> String {
    "https://github.com".to_owned()
}

fn default_api_url() -> String {
    "https://api.github.com".to_owned()
}

impl GithubConfig {
    /// Returns the settings to show in the form before any are saved.
    pub(in crate::web::auth) fn new(auth: &Auth) -> GithubConfig {
        GithubConfig {
            client_id: String::new(),
            client_secret: String::new(),
            callback: format!("{}/auth/github-callback", auth.origin()),
            web_url: default_web_url(),
            api_url: default_api_url(),
        }
    }

    /// Parses the content of `github.json`.
    ///
    /// # Errors
    /// Returns an error message if the content is malformed or if logins cannot work with these
    /// settings.
    pub(super) fn parse(text: &str) -> Result<GithubConfig, String> {
        let config: GithubConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// Checks that logins can work with these settings.
    ///
    /// # Errors
    /// Returns an error message if they cannot.
    pub(in crate::web::auth) fn check(&self) -> Result<(), String> {
        for (name, text) in [("client id", &self.client_id), ("client secret", &self.client_secret)]
        {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("The {name} is empty or contains blanks."));
            }
        }
        let urls =
            [("callback", &self.callback), ("web URL", &self.web_url), ("API URL", &self.api_url)];
        for (name, text) in urls {
            if !is_url(text) {
                return Err(format!("The {name} {text:?} does not start with https://HOST."));
            }
        }
        Ok(())
    }
}

/// Returns `true` if a string is an absolute URL with the scheme `https` or `http`.
fn is_url(text: &str) -> bool {
    text.parse::<Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
}

impl fmt::Debug for GithubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GithubConfig").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"client_id":"i","client_secret":"s","callback":"https://ci/x"}"#;

    #[test]
    fn the_urls_of_github_are_the_defaults() {
        let config = GithubConfig::parse(MINIMAL).unwrap();
        assert_eq!(config.web_url, "https://github.com");
        assert_eq!(config.api_url, "https://api.github.com");
        assert_eq!(format!("{config:?}"), "GithubConfig { client_id: \"i\", .. }");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (from, to) in [
            ("\"i\"", "\"\""),
            ("\"s\"", "\"a b\""),
            ("https://ci/x", "javascript:1"),
            ("https://ci/x", "/auth/github-callback"),
            ("client_id", "id"),
            ("}", ",\"x\":1}"),
        ] {
            assert!(GithubConfig::parse(&MINIMAL.replace(from, to)).is_err(), "{to}");
        }
    }
}
