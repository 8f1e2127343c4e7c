//! The forms in which programs print secrets.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The minimum length of a secret, in bytes. The encodings of a shorter secret could occur in other
/// text by chance.
const LENGTH_MIN: usize = 6;

/// Returns the Base64 and percent-encoded forms of a secret. Base64 encodes groups of three bytes,
/// so the form depends on the position of the secret in the encoded text. In a header for Basic
/// authentication, for example, the secret follows the user name. The forms leave out the
/// characters that also depend on the text before and after the secret.
pub(super) fn encodings(secret: &str) -> Vec<String> {
    if secret.len() < LENGTH_MIN {
        return Vec::new();
    }
    let mut forms = vec![percent_encoded(secret)];
    for (before, skipped) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [vec![0; before].as_slice(), secret.as_bytes()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&bytes);
            let end = text.len() - usize::from(bytes.len() % 3 != 0);
            forms.extend(text.get(skipped..end).map(str::to_owned));
        }
    }
    forms
}

/// Percent-encodes every byte that has a special meaning or is not allowed in a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    #[test]
    fn secret_is_found_at_every_position_of_encoded_text() {
        for secret in ["hunter2?>~~", "hunter2-\u{fc}", "123456"] {
            let forms = encodings(secret);
            for before in ["", "u", "u:", "usr", "user:"] {
                for after in ["", "\n", "ab", "abc"] {
                    let text = format!("{before}{secret}{after}");
                    for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                        let is_found = forms.iter().any(|form| encoded.contains(form));
                        assert!(is_found, "{text:?} {encoded} {forms:?}");
                    }
                }
            }
        }
        assert!(encodings("a b/c+\u{fc}").contains(&"a%20b%2Fc%2B%C3%BC".to_owned()));
        assert!(encodings("short").is_empty());
    }
}
