//! Signatures of webhook payloads.

use ring::hmac;

use crate::secret::Secret;

/// The key shared by GitHub and the bridge.
#[derive(Debug)]
pub(super) struct SignatureKey(hmac::Key);

impl SignatureKey {
    /// Creates the key from the webhook secret.
    pub(super) fn new(secret: &Secret) -> SignatureKey {
        SignatureKey(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// Returns `true` if `signature`, the value of `X-Hub-Signature-256`, is the signature of the
    /// payload. Compares the signatures in constant time.
    pub(super) fn verify(&self, signature: &str, payload: &[u8]) -> bool {
        let digits = signature.strip_prefix("sha256=").and_then(decode);
        digits.is_some_and(|tag| hmac::verify(&self.0, payload, &tag).is_ok())
    }
}

fn decode(digits: &str) -> Option<Vec<u8>> {
    let values: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    values?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_githubs_documentation_is_verified() {
        let key = SignatureKey::new(&Secret::new("It's a Secret to Everybody"));
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(key.verify(signature, b"Hello, World!"));
        assert!(!key.verify(signature, b"Hello, World"));
        let without_prefix = signature.trim_start_matches("sha256=");
        for wrong in
            ["", "sha256=", without_prefix, &signature[..70], "sha1=757107", "sha256=\u{e9}"]
        {
            assert!(!key.verify(wrong, b"Hello, World!"), "{wrong}");
        }
    }
}
