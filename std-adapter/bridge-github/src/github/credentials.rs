//! The GitHub credentials: either a token or those of a GitHub App.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::secret::Secret;

/// The lifetime of an app's JSON web token, in seconds. GitHub's limit is ten minutes.
const APP_TOKEN_LIFE: u64 = 540;

/// The number of seconds by which this machine's clock may be ahead of GitHub's clock.
const CLOCK_TOLERANCE: u64 = 60;

/// How long an installation token is used. GitHub accepts the token for one hour.
const INSTALLATION_TOKEN_LIFE: Duration = Duration::from_secs(50 * 60);

/// The credentials with which the bridge authenticates to GitHub.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// A personal or OAuth token.
    Token(Secret),
    /// A GitHub App.
    App(Box<App>),
}

/// A GitHub App and its installation tokens, keyed by lower-case account name.
#[derive(Debug)]
pub(crate) struct App {
    key: AppKey,
    tokens: Mutex<HashMap<String, InstallationToken>>,
}

/// An installation token.
#[derive(Debug, Clone)]
pub(crate) struct InstallationToken {
    /// The token.
    pub(crate) token: Secret,
    /// `true` if the app may write check runs.
    pub(crate) writes_checks: bool,
    obtained: Instant,
}

impl InstallationToken {
    /// Creates a token that has just been obtained.
    pub(crate) fn new(token: &str, writes_checks: bool) -> InstallationToken {
        InstallationToken { token: Secret::new(token), writes_checks, obtained: Instant::now() }
    }
}

impl App {
    /// Creates an app that does not have any tokens yet.
    pub(crate) fn new(key: AppKey) -> App {
        App { key, tokens: Mutex::default() }
    }

    /// Returns the app's id and private key.
    pub(crate) fn key(&self) -> &AppKey {
        &self.key
    }

    /// Returns the token for an account's repositories, or `None` if a new token must be obtained.
    pub(crate) fn token(&self, account: &str) -> Option<InstallationToken> {
        let tokens = self.tokens.lock();
        let found = tokens.get(&account.to_ascii_lowercase());
        found.filter(|token| token.obtained.elapsed() < INSTALLATION_TOKEN_LIFE).cloned()
    }

    /// Stores the installation token for an account.
    pub(crate) fn set_token(&self, account: &str, token: InstallationToken) {
        self.tokens.lock().insert(account.to_ascii_lowercase(), token);
    }

    /// Removes a token that GitHub rejected.
    pub(crate) fn forget_token(&self, account: &str) {
        self.tokens.lock().remove(&account.to_ascii_lowercase());
    }
}

/// The id and private key of a GitHub App.
pub(crate) struct AppKey {
    id: u64,
    key: RsaKeyPair,
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AppKey {
    /// Parses a private key in PEM format, as provided by GitHub.
    ///
    /// # Errors
    /// Returns an error message if the text is not an RSA key. The message does not quote the text.
    pub(crate) fn parse(id: u64, pem: &[u8]) -> Result<AppKey, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "there is no private key in PEM format".to_owned())?;
        let key = match &key {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err("the private key is not an RSA key".to_owned()),
        };
        let key =
            key.map_err(|error| format!("the private key is not a usable RSA key: {error}"))?;
        Ok(AppKey { id, key })
    }

    /// Returns the id of the GitHub App.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns a JSON web token that authenticates the app itself rather than an installation.
    ///
    /// # Errors
    /// Returns an error message if signing fails because the system cannot provide random numbers.
    pub(crate) fn sign(&self, now: SystemTime) -> Result<Secret, String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (issued, expires) =
            (now.saturating_sub(CLOCK_TOLERANCE), now.saturating_add(APP_TOKEN_LIFE));
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let claims = format!(r#"{{"iat":{issued},"exp":{expires},"iss":"{}"}}"#, self.id);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| "cannot sign the token of the app".to_owned())?;
        Ok(Secret::new(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// Returns the value for the `Authorization` header.
///
/// # Errors
/// Returns an error message if the token contains characters that are not allowed in a header.
pub(crate) fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| "the token contains characters that no token has".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_keys_are_not_shown() {
        for pem in [
            "",
            "secret",
            "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let error = AppKey::parse(1, pem.as_bytes()).unwrap_err();
            assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_token_is_marked_as_sensitive() {
        let secret = Secret::new("ghp_abc\n");
        assert_eq!(format!("{secret:?} {:?}", bearer(&secret).unwrap()), "[secret] Sensitive");
        assert!(bearer(&Secret::new("a\nb")).is_err());
    }
}
