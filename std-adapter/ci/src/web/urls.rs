//! The URLs of the pages.

use std::fmt::Write;

use datakit_github::{Commit, PrId, RefId, RefName, Repo};

use crate::Target;

/// Encodes bytes for use in a path. Slashes are kept.
pub(super) fn encode_path(bytes: &[u8]) -> String {
    encode(bytes, b"-._~/")
}

/// Encodes text for use in a query.
pub(super) fn encode_query(text: &str) -> String {
    encode(text.as_bytes(), b"-._~/")
}

fn encode(bytes: &[u8], kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Decodes a path or part of a path. Incomplete escapes are left unchanged.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.split_at_checked(2).filter(|_| *byte == b'%');
        let escaped = digits.and_then(|(digits, after)| Some((hex(digits)?, after)));
        let (byte, after) = escaped.unwrap_or((*byte, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn hex(digits: &[u8]) -> Option<u8> {
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u8::from_str_radix(digits, 16).ok()
}

/// Decodes a path that must be UTF-8.
pub(super) fn decode_text(text: &str) -> Option<String> {
    String::from_utf8(decode(text)).ok()
}

/// Returns the URL of a target's page.
pub(super) fn target(target: &Target) -> String {
    let repo = repo(target.repo());
    match target {
        Target::Pr(id) => format!("{repo}/pr/{}", id.number),
        Target::Ref(id) => format!("{repo}/ref/{}", encode_path(&id.name.to_bytes())),
    }
}

fn repo(repo: &Repo) -> String {
    format!("/{}/{}", encode_path(repo.user().as_bytes()), encode_path(repo.name().as_bytes()))
}

/// Returns the URL of a commit's page.
pub(super) fn commit(commit: &Commit) -> String {
    format!("{}/commit/{}", repo(&commit.repo), commit.hash)
}

/// Encodes a branch name for use as a single segment of a path.
fn segment(branch: &str) -> String {
    encode(branch.as_bytes(), b"-._~")
}

/// Returns the URL of the page for a log that is still being written.
pub(super) fn live_log(branch: &str) -> String {
    format!("/log/live/{}", segment(branch))
}

/// Returns the URL of the page for a complete log.
pub(super) fn saved_log(branch: &str, commit: &str) -> String {
    format!("/log/saved/{}/{}", segment(branch), segment(commit))
}

/// Returns the URL that rebuilds a branch.
pub(super) fn rebuild(branch: &str) -> String {
    format!("/log/rebuild/{}", segment(branch))
}

/// Returns the URL that cancels the build of a branch.
pub(super) fn cancel(branch: &str) -> String {
    format!("/cancel/{}", segment(branch))
}

/// A page below `/USER/REPO`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RepoPage {
    /// A target's page.
    Target(Target),
    /// A commit's page.
    Commit(Commit),
}

impl RepoPage {
    /// Parses the path of a URL: `/USER/REPO/pr/N`, `/USER/REPO/ref/KIND/NAME` or
    /// `/USER/REPO/commit/HASH`. Returns `None` if the path has a different form or contains an
    /// invalid name.
    pub(super) fn parse(path: &str) -> Option<RepoPage> {
        let mut parts = path.strip_prefix('/')?.splitn(4, '/');
        let mut next = || parts.next();
        let (user, name, kind, rest) = (next()?, next()?, next()?, next()?);
        let repo = Repo::new(&decode_text(user)?, &decode_text(name)?).ok()?;
        match kind {
            "pr" => {
                let number = rest.parse().ok()?;
                Some(RepoPage::Target(Target::Pr(PrId { repo, number })))
            }
            "ref" => {
                let name = RefName::parse(decode(rest)).ok()?;
                Some(RepoPage::Target(Target::Ref(RefId { repo, name })))
            }
            "commit" => {
                let hash = datakit_github::Hash::parse(rest).ok()?;
                Some(RepoPage::Commit(Commit { repo, hash }))
            }
            _ => None,
        }
    }
}

/// Returns `path` if it is the path of a page on this server; otherwise, returns `/`. Browsers
/// interpret `//host` and `/\host` as the address of another server, after removing control
/// characters.
pub(super) fn local_or_home(path: &str) -> &str {
    let starts_local = path.starts_with('/') && !path.starts_with("//");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if starts_local && is_plain && path.len() <= 2048 { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_targets_are_parsed_back() {
        for text in [
            "me/app/prs/7",
            "me/app/heads/master",
            "me/app/heads/fix/c++#1%2F<script>alert(\"1\")</script>&x=y'\u{fc}",
            "me/app/tags/v1.0",
            "me/a&b%41/heads/commit/pr/ref/1",
        ] {
            let wanted: Target = text.parse().unwrap();
            let url = target(&wanted);
            assert!(url.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b)));
            assert_eq!(RepoPage::parse(&url), Some(RepoPage::Target(wanted)), "{url}");
        }
        let name = RefName::parse(b"heads/\xff\xfe").unwrap();
        let wanted = Target::Ref(RefId { repo: "me/app".parse().unwrap(), name });
        assert_eq!(target(&wanted), "/me/app/ref/heads/%FF%FE");
        assert_eq!(RepoPage::parse(&target(&wanted)), Some(RepoPage::Target(wanted)));
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "/me/app",
            "/me/app/pr",
            "/me/app/pr/x",
            "/me/app/pr/-1",
            "/me/app/ref/heads",
            "/me/app/ref/heads/..",
            "/me/app/commit/xyz",
            "/me/app/other/1",
            "/%00/app/pr/1",
            "/a%2Fb/app/pr/1",
            "/me/app/commit/0123",
        ] {
            assert_eq!(RepoPage::parse(path), None, "{path}");
        }
    }

    #[test]
    fn only_local_pages_are_redirected_to() {
        for path in ["/", "/pr", "/me/app/ref/heads/x?test=a&b=%2F#log"] {
            assert_eq!(local_or_home(path), path);
        }
        for path in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x",
            "javascript:alert(1)",
        ] {
            assert_eq!(local_or_home(path), "/", "{path:?}");
        }
    }
}
