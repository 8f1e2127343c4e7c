//! Validates the page to which a visitor returns after a login.

/// The maximum length of a path to return to, in bytes.
const MAX_LENGTH: usize = 1024;

/// Returns `path` if it is an absolute path on this server, otherwise `/`.
///
/// Anyone can create a login link with a return path, so a path is rejected if a browser could
/// interpret it as the address of another server. Browsers remove control characters and then treat
/// `//host` and `/\host` as addresses.
pub(super) fn local_or_root(path: &str) -> &str {
    if is_local(path) { path } else { "/" }
}

fn is_local(path: &str) -> bool {
    let mut bytes = path.bytes();
    let starts_local = bytes.next() == Some(b'/') && bytes.next() != Some(b'/');
    starts_local
        && path.len() <= MAX_LENGTH
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_kept() {
        for path in ["/", "/pr", "/me/app/ref/heads/x?test=a&b=%2F#log", "/a//b", "/.//x"] {
            assert_eq!(local_or_root(path), path);
        }
    }

    #[test]
    fn other_addresses_become_the_first_page() {
        let long = format!("/{}", "a".repeat(MAX_LENGTH));
        for path in [
            "",
            "x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x",
            "/a b",
            "/é",
            " /a",
            "/a\\b",
            "/\u{0}",
            &long,
        ] {
            assert_eq!(local_or_root(path), "/", "{path:?}");
        }
    }
}
