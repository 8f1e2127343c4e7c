//! Names of repositories.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::InvalidName;
use crate::name::broken_component_rule;

/// A repository's full name, in the form `owner/name`. Clones are cheap.
///
/// ```
/// # use datakit_github::Repo;
/// let repo: Repo = "mirage/ocaml-9p".parse()?;
/// assert_eq!((repo.user(), repo.name()), ("mirage", "ocaml-9p"));
/// let error = "ocaml-9p".parse::<Repo>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "Bad repository name \"ocaml-9p\" (format should be user/project)"
/// );
/// # Ok::<(), datakit_github::InvalidRepo>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repo {
    user: Arc<str>,
    name: Arc<str>,
}

impl Repo {
    /// Creates the full name of a repository. Removes white space around both parts.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if a part is empty, `.`, `..` or longer than 250 bytes, or contains
    /// white space, a control character or one of `/:,[]`.
    pub fn new(user: &str, name: &str) -> Result<Repo, InvalidName> {
        let part = |text: &str| {
            let text = text.trim();
            match broken_rule(text) {
                None => Ok(Arc::from(text)),
                Some(reason) => Err(InvalidName::new("repository name", text, reason)),
            }
        };
        Ok(Repo { user: part(user)?, name: part(name)? })
    }

    /// Returns the owner, which is a user or an organization.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the name without the owner.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn broken_rule(part: &str) -> Option<String> {
    if let Some(rule) = broken_component_rule(part.as_bytes()) {
        return Some(rule);
    }
    let forbidden = |c: &char| c.is_whitespace() || c.is_control() || "/:,[]".contains(*c);
    part.chars().find(forbidden).map(|c| format!("it contains {c:?}"))
}

/// The error returned when text is not the full name of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRepo {
    /// The invalid text.
    pub text: String,
    /// The rule that one of the parts violates, or `None` if the text does not consist of two
    /// parts.
    pub part: Option<InvalidName>,
}

impl fmt::Display for InvalidRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bad repository name {:?} (format should be user/project)", self.text)?;
        match &self.part {
            Some(part) => write!(f, ": {}", part.reason),
            None => Ok(()),
        }
    }
}

impl std::error::Error for InvalidRepo {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.part.as_ref().map(|part| part as _)
    }
}

impl FromStr for Repo {
    type Err = InvalidRepo;

    fn from_str(text: &str) -> Result<Repo, InvalidRepo> {
        let invalid = |part| InvalidRepo { text: text.to_owned(), part };
        let (user, name) = text.split_once('/').ok_or_else(|| invalid(None))?;
        if name.contains('/') {
            return Err(invalid(None));
        }
        Repo::new(user, name).map_err(|part| invalid(Some(part)))
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user, self.name)
    }
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_parts() {
        for text in ["a/b", "user/.github", "a-b_c.d/c++", "\u{e9}/x"] {
            assert_eq!(text.parse::<Repo>().unwrap().to_string(), text);
        }
        assert_eq!(" a / b ".parse::<Repo>().unwrap().to_string(), "a/b");
        for text in ["", "a", "/", "a/", "/b", "a/b/c", "a/..", "a/b c", "a:/b", "a/b,"] {
            let error = text.parse::<Repo>().unwrap_err().to_string();
            let start = format!("Bad repository name {text:?} (format should be user/project)");
            assert!(error.starts_with(&start), "{error}");
        }
    }
}
