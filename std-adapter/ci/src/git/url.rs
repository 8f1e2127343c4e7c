//! Validates repository URLs.

use std::fmt;

/// The allowed schemes.
const SCHEMES: [&str; 5] = ["git", "ssh", "http", "https", "file"];

/// The reason for rejecting a repository URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepositoryUrlError {
    /// The URL is empty.
    Empty,
    /// `git` or `ssh` would interpret the URL, username, host or path as an option.
    Option(String),
    /// The URL contains a control character.
    ControlCharacter,
    /// The URL has the form `HELPER::ADDRESS`, which would make `git` run `git-remote-HELPER`.
    TransportHelper(String),
    /// The scheme is not supported.
    UnknownScheme(String),
}

impl fmt::Display for RepositoryUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepositoryUrlError::Empty => f.write_str("a repository URL cannot be empty"),
            RepositoryUrlError::Option(part) => {
                write!(f, "no part of a URL can start with '-': {part:?}")
            }
            RepositoryUrlError::ControlCharacter => {
                f.write_str("a URL cannot contain control characters")
            }
            RepositoryUrlError::TransportHelper(name) => {
                write!(f, "transport helpers such as {name}:: are not allowed")
            }
            RepositoryUrlError::UnknownScheme(scheme) => {
                write!(f, "unknown scheme {scheme:?}: use {}", SCHEMES.join(", "))
            }
        }
    }
}

impl std::error::Error for RepositoryUrlError {}

/// The URL or local path of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteUrl {
    /// The URL, which can contain a username and password. A local path is absolute.
    pub(super) text: String,
    /// The part of the URL before `@`.
    user: Option<String>,
}

impl RemoteUrl {
    /// Checks the URL, using the same rules as `git` to find the scheme.
    pub(super) fn parse(url: &str) -> Result<RemoteUrl, RepositoryUrlError> {
        if url.is_empty() {
            return Err(RepositoryUrlError::Empty);
        }
        if url.starts_with('-') {
            return Err(RepositoryUrlError::Option(url.to_owned()));
        }
        if url.contains(char::is_control) {
            return Err(RepositoryUrlError::ControlCharacter);
        }
        let is_scheme = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        if let Some((helper, _)) = url.split_once("::").filter(|(helper, _)| is_scheme(helper)) {
            return Err(RepositoryUrlError::TransportHelper(helper.to_owned()));
        }
        if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        {
            if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
                return Err(RepositoryUrlError::UnknownScheme(scheme.to_owned()));
            }
            let host = rest.split('/').next().unwrap_or_default();
            return Ok(RemoteUrl { text: url.to_owned(), user: user_of(host)? });
        }
        // A URL of the form `HOST:PATH` has a colon before the first slash.
        let colon = url.find(':').is_some_and(|at| url.find('/').is_none_or(|slash| at < slash));
        if !colon {
            let absolute = std::path::absolute(url).ok();
            let text = absolute.and_then(|path| path.into_os_string().into_string().ok());
            return Ok(RemoteUrl { text: text.unwrap_or_else(|| url.to_owned()), user: None });
        }
        let (host, path) = url.split_once(':').unwrap_or_default();
        // The username in an `ssh` URL is not a secret.
        user_of(host)?;
        if path.starts_with('-') {
            return Err(RepositoryUrlError::Option(path.to_owned()));
        }
        Ok(RemoteUrl { text: url.to_owned(), user: None })
    }

    /// Masks the URL's username and password in a string.
    pub(super) fn mask(&self, text: &str) -> String {
        match &self.user {
            Some(user) => text.replace(user, "********"),
            None => text.to_owned(),
        }
    }

    /// Returns the URL without the username and password.
    pub(super) fn shown(&self) -> String {
        match &self.user {
            Some(user) => self.text.replacen(&format!("{user}@"), "", 1),
            None => self.text.clone(),
        }
    }
}

/// Returns the part of a host before the last `@`.
fn user_of(host: &str) -> Result<Option<String>, RepositoryUrlError> {
    if host.split('@').any(|part| part.starts_with('-')) {
        return Err(RepositoryUrlError::Option(host.to_owned()));
    }
    Ok(host.rsplit_once('@').map(|(user, _)| user.to_owned()).filter(|user| !user.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_options_and_unknown_schemes_are_refused() {
        for (url, reason) in [
            ("", "a repository URL cannot be empty"),
            ("ext::sh -c x", "transport helpers such as ext:: are not allowed"),
            ("fd::17", "transport helpers such as fd:: are not allowed"),
            ("http::x", "transport helpers such as http:: are not allowed"),
            ("--upload-pack=x", "no part of a URL can start with '-': \"--upload-pack=x\""),
            (
                "ssh://-oProxyCommand=x/y",
                "no part of a URL can start with '-': \"-oProxyCommand=x\"",
            ),
            ("a@-o:x", "no part of a URL can start with '-': \"a@-o\""),
            ("h:-x", "no part of a URL can start with '-': \"-x\""),
            ("ftp://h/x", "unknown scheme \"ftp\": use git, ssh, http, https, file"),
            ("/a\nb", "a URL cannot contain control characters"),
        ] {
            let error = RemoteUrl::parse(url).unwrap_err().to_string();
            assert_eq!(error, reason, "{url}");
        }
    }

    #[test]
    fn passwords_are_masked() {
        let url = RemoteUrl::parse("https://me:hunter2@host/x.git").unwrap();
        assert_eq!(url.shown(), "https://host/x.git");
        let text = url.mask("unable to access 'https://me:hunter2@host/x.git/'");
        assert_eq!(text, "unable to access 'https://********@host/x.git/'");
        let url = RemoteUrl::parse("git@host:me/app").unwrap();
        assert_eq!((url.shown(), url.mask("git push")), (url.text.clone(), "git push".to_owned()));
    }

    #[test]
    fn local_paths_become_absolute() {
        assert_eq!(RemoteUrl::parse("/a/b:c").unwrap().text, "/a/b:c");
        let here = std::env::current_dir().unwrap();
        let relative = RemoteUrl::parse("./x").unwrap();
        assert_eq!(relative.text, here.join("x").to_str().unwrap());
        assert_eq!(RemoteUrl::parse("file:///x").unwrap().text, "file:///x");
    }
}
