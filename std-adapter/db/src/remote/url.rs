//! Validates the URLs of other repositories and restricts the schemes that clients can use.

use std::fmt;
use std::str::FromStr;

/// The scheme of a URL, which determines how another repository is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scheme {
    /// `git://` URLs.
    Git,
    /// `ssh://` URLs and URLs of the form `HOST:PATH`.
    Ssh,
    /// `http://` URLs.
    Http,
    /// `https://` URLs.
    Https,
    /// `file://` URLs and paths on the server's machine.
    File,
}

/// The reason that a remote's URL was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// `git` would interpret the URL as an option.
    #[error("a URL cannot start with '-'")]
    UrlIsOption,
    /// `ssh` would interpret the user or the host as an option.
    #[error("user and host cannot start with '-'")]
    HostIsOption,
    /// The program on the remote side would interpret the path as an option.
    #[error("the path cannot start with '-'")]
    PathIsOption,
    /// The URL contains a NUL byte or a newline.
    #[error("a URL cannot contain NUL or a newline")]
    ControlCharacter,
    /// The URL has the form `HELPER::ADDRESS`, which would make `git` run the `git-remote-HELPER`
    /// program.
    #[error("transport helpers such as {0}:: are never used")]
    TransportHelper(String),
    /// The scheme is not supported.
    #[error("unknown scheme {0:?}: use git, ssh, http, https or file")]
    UnknownScheme(String),
    /// The server's configuration does not allow this scheme.
    #[error("{0} is not allowed (--remote-schemes)")]
    NotAllowed(Scheme),
}

const SCHEMES: [(Scheme, &str); 5] = [
    (Scheme::Git, "git"),
    (Scheme::Ssh, "ssh"),
    (Scheme::Http, "http"),
    (Scheme::Https, "https"),
    (Scheme::File, "file"),
];

impl FromStr for Scheme {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Scheme, UrlError> {
        let found = SCHEMES.iter().find(|(_, name)| *name == text).map(|(scheme, _)| *scheme);
        found.ok_or_else(|| UrlError::UnknownScheme(text.to_owned()))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SCHEMES.iter().find(|(scheme, _)| scheme == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl Scheme {
    /// Returns the scheme of a URL, using the same rules as `git`.
    ///
    /// # Errors
    /// Returns a [`UrlError`] other than [`UrlError::NotAllowed`] if the URL is rejected.
    pub fn of(url: &str) -> Result<Scheme, UrlError> {
        if url.starts_with('-') {
            return Err(UrlError::UrlIsOption);
        }
        if url.contains('\0') || url.contains('\n') {
            return Err(UrlError::ControlCharacter);
        }
        let is_scheme = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        if let Some((helper, _)) = url.split_once("::").filter(|(helper, _)| is_scheme(helper)) {
            return Err(UrlError::TransportHelper(helper.to_owned()));
        }
        if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        {
            check_host(rest.split('/').next().unwrap_or_default())?;
            return scheme.to_ascii_lowercase().parse();
        }
        // A URL of the form `HOST:PATH` has a colon before the first slash.
        let colon = url.find(':').is_some_and(|at| url.find('/').is_none_or(|slash| at < slash));
        if !colon {
            return Ok(Scheme::File);
        }
        let (host, path) = url.split_once(':').unwrap_or_default();
        check_host(host)?;
        if path.starts_with('-') { Err(UrlError::PathIsOption) } else { Ok(Scheme::Ssh) }
    }
}

/// Checks the `USER@HOST` part of a URL.
fn check_host(text: &str) -> Result<(), UrlError> {
    let is_option = text.split('@').any(|part| part.starts_with('-'));
    if is_option { Err(UrlError::HostIsOption) } else { Ok(()) }
}

/// The set of schemes that clients can use. By default, the set contains all schemes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemes(Vec<Scheme>);

impl Default for Schemes {
    fn default() -> Schemes {
        Schemes(SCHEMES.iter().map(|(scheme, _)| *scheme).collect())
    }
}

impl FromIterator<Scheme> for Schemes {
    fn from_iter<I: IntoIterator<Item = Scheme>>(schemes: I) -> Schemes {
        let given: Vec<_> = schemes.into_iter().collect();
        // Two equal sets list their schemes in the same order.
        let mut all = Schemes::default();
        all.0.retain(|scheme| given.contains(scheme));
        all
    }
}

impl Schemes {
    /// Returns the set of all schemes except [`Scheme::File`], which gives access to repositories
    /// on the server's machine.
    #[must_use]
    pub fn remote() -> Schemes {
        let mut schemes = Schemes::default();
        schemes.0.retain(|scheme| *scheme != Scheme::File);
        schemes
    }

    /// Checks that the URL is well-formed and that its scheme is in the set.
    ///
    /// # Errors
    /// Returns [`UrlError::NotAllowed`] if the scheme is not in the set. Otherwise, returns the
    /// same errors as [`Scheme::of`].
    pub fn check(&self, url: &str) -> Result<(), UrlError> {
        let scheme = Scheme::of(url)?;
        if self.0.contains(&scheme) { Ok(()) } else { Err(UrlError::NotAllowed(scheme)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_the_scheme_that_git_finds() {
        for (url, scheme) in [
            ("git://h/x", Scheme::Git),
            ("ssh://h/x", Scheme::Ssh),
            ("me@h:x", Scheme::Ssh),
            ("[::1]:x", Scheme::Ssh),
            ("HTTPS://h", Scheme::Https),
            ("http://h", Scheme::Http),
            ("file:///x", Scheme::File),
            ("/x:y", Scheme::File),
            ("./x:y", Scheme::File),
            ("x/y", Scheme::File),
        ] {
            assert_eq!(Scheme::of(url), Ok(scheme), "{url}");
        }
    }

    #[test]
    fn helpers_options_and_unknown_schemes_are_refused() {
        for url in [
            "ext::sh -c x",
            "fd::17",
            "ftp://h/x",
            "-u",
            "--upload-pack=x",
            "foo://x",
            "http::x",
            "ssh://-o/x",
            "a@-o:x",
            "h:-x",
        ] {
            assert!(Scheme::of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn remote_schemes_exclude_file() {
        let refused = Schemes::remote().check("/etc").unwrap_err();
        assert_eq!(refused.to_string(), "file is not allowed (--remote-schemes)");
        assert!(
            Schemes::remote().check("ssh://h/x").is_ok()
                && Schemes::default().check("/etc").is_ok()
        );
    }
}
