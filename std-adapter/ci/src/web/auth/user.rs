//! Users and the permissions that GitHub has confirmed for them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of the local user who can change the settings.
pub const ADMIN: &str = "admin";

/// The name prefix of users who logged in through GitHub.
const GITHUB: &str = "github:";

/// A user who has logged in.
///
/// Local user names do not contain a colon. GitHub user names have the form `github:NAME`, so a
/// GitHub account named `admin` is different from the local user `admin`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(String);

impl User {
    /// Returns the local user with the given name, or `None` if the name is invalid. A valid name
    /// consists of 1 to 39 letters, digits, `-`, `_` or `.`.
    #[must_use]
    pub fn local(name: &str) -> Option<User> {
        is_name(name).then(|| User(name.to_owned()))
    }

    /// Returns the user of a GitHub account, or `None` if the login is invalid.
    #[must_use]
    pub fn github(login: &str) -> Option<User> {
        is_name(login).then(|| User(format!("{GITHUB}{login}")))
    }

    /// Returns the name, for example `admin` or `github:octocat`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Returns the GitHub login, or `None` if the user is local.
    #[must_use]
    pub fn github_login(&self) -> Option<&str> {
        self.0.strip_prefix(GITHUB)
    }

    /// Returns `true` if the user can change the settings.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.0 == ADMIN
    }

    /// Returns `true` if this is the user `name`. GitHub logins are case-insensitive.
    pub(super) fn is(&self, name: &str) -> bool {
        match (self.github_login(), name.strip_prefix(GITHUB)) {
            (Some(mine), Some(other)) => mine.eq_ignore_ascii_case(other),
            _ => self.0 == name,
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns `true` if a name is not too long and consists only of letters, digits, `-`, `_` and `.`.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 39 && name.bytes().all(allowed)
}

/// The memberships and permissions that GitHub reported when the user logged in.
///
/// An organization or repository is missing if no policy mentioned it when the user logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GithubRights {
    /// For each organization (in lowercase), whether the user is a public member.
    pub(super) orgs: BTreeMap<String, bool>,
    /// For each repository (in lowercase), whether the user can read it.
    pub(super) repos: BTreeMap<String, bool>,
}

/// The data stored for a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionData {
    /// The user.
    pub(super) user: User,
    /// The time of the login, in seconds since the Unix epoch.
    pub(super) created: u64,
    /// The version of the user's password at login. The session ends when the password changes.
    /// Sessions of GitHub users have no password version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    /// The permissions of a GitHub user.
    #[serde(default)]
    pub(super) rights: GithubRights,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_github_account_called_admin_is_not_the_administrator() {
        let admin = User::local("admin").unwrap();
        let other = User::github("admin").unwrap();
        assert!(admin.is_admin());
        assert!(!other.is_admin());
        assert_eq!(other.name(), "github:admin");
        assert_eq!(User::local("github:admin"), None);
    }

    #[test]
    fn invalid_names_are_refused() {
        for name in ["", "a b", "a/b", "a:b", "é", "<b>", &"a".repeat(40)] {
            assert_eq!(User::local(name), None, "{name}");
            assert_eq!(User::github(name), None, "{name}");
        }
    }

    #[test]
    fn only_github_logins_ignore_the_case() {
        assert!(User::github("Octocat").unwrap().is("github:octocat"));
        assert!(User::local("alice").unwrap().is("alice"));
        assert!(!User::local("alice").unwrap().is("Alice"));
        assert!(!User::local("alice").unwrap().is("github:alice"));
    }
}
