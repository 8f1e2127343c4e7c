//! The secret session id and the values derived from it.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use subtle::ConstantTimeEq;

/// The length of an id, which encodes 32 bytes.
const LENGTH: usize = 43;

/// The secret value of the session cookie.
///
/// Browsers that are not logged in also have an id. The server does not store these ids, so a
/// client cannot fill the server's memory with them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionId(String);

impl SessionId {
    /// Creates a random id.
    ///
    /// # Errors
    /// Returns an error if the system cannot provide random bytes.
    pub(super) fn random() -> io::Result<SessionId> {
        random_token().map(SessionId)
    }

    /// Parses a cookie value. Returns `None` if no server could have sent this value.
    pub(super) fn parse(text: &str) -> Option<SessionId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (text.len() == LENGTH && text.bytes().all(allowed)).then(|| SessionId(text.to_owned()))
    }

    /// Returns the cookie value.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the key under which the session is stored. The key is a hash, so a copy of the store
    /// does not contain valid cookies.
    pub(super) fn key(&self) -> String {
        hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }

    /// Derives a value that cannot be computed without the id. The value does not reveal the id.
    pub(super) fn derive(&self, purpose: &str, data: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        // The length prefix separates the purpose from the data.
        context.update(&(purpose.len() as u64).to_be_bytes());
        context.update(purpose.as_bytes());
        context.update(data.as_bytes());
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId([secret])")
    }
}

/// Returns 32 random bytes, encoded so that they do not need to be escaped in URLs, cookies or
/// HTML.
///
/// # Errors
/// Returns an error if the system cannot provide random bytes.
pub(super) fn random_token() -> io::Result<String> {
    random_bytes::<32>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns random bytes.
///
/// # Errors
/// Returns an error if the system cannot provide random bytes.
pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system cannot provide random bytes"))?;
    Ok(bytes)
}

/// Compares two secrets in time that depends only on their lengths.
pub(super) fn is_same_secret(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// Encodes bytes as lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_parsed_to_itself() {
        let id = SessionId::random().unwrap();
        assert_eq!(SessionId::parse(id.expose()), Some(id.clone()));
        assert_ne!(SessionId::random().unwrap(), id);
        assert_eq!(format!("{id:?}"), "SessionId([secret])");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "short", &"a".repeat(42), &"a".repeat(44), &"a,".repeat(22)[..43]] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn derived_values_depend_on_the_id_the_purpose_and_the_data() {
        let (one, two) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let base = one.derive("csrf", "x");
        assert_eq!(base, one.derive("csrf", "x"));
        for other in [two.derive("csrf", "x"), one.derive("csr", "fx"), one.derive("csrf", "y")] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_comparison_needs_equal_lengths() {
        assert!(is_same_secret("abc", "abc"));
        assert!(!is_same_secret("abc", "abd"));
        assert!(!is_same_secret("abc", "ab"));
    }
}
