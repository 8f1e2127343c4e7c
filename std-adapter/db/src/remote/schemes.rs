//! Ways to other repositories, and which of them clients may have the server take.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A way to another repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `git://`.
    Git,
    /// `ssh://`, and `HOST:PATH`.
    Ssh,
    /// `http://`.
    Http,
    /// `https://`.
    Https,
    /// `file://`, and paths of the server's machine.
    File,
}

const ALL: [(Scheme, &str); 5] = [
    (Scheme::Git, "git"),
    (Scheme::Ssh, "ssh"),
    (Scheme::Http, "http"),
    (Scheme::Https, "https"),
    (Scheme::File, "file"),
];

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Scheme, String> {
        let found = ALL.iter().find(|(_, name)| *name == text).map(|(scheme, _)| *scheme);
        found.ok_or_else(|| format!("{text:?} is none of git, ssh, http, https and file"))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(scheme, _)| scheme == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl Scheme {
    /// That of an address, as Git reads it.
    ///
    /// # Errors
    /// What is wrong with the address: another scheme, a transport helper (`ext::`) or an option.
    pub fn of(url: &str) -> Result<Scheme, String> {
        if url.starts_with('-') {
            return Err("it begins with '-'".to_owned());
        }
        if url.contains('\0') || url.contains('\n') {
            return Err("it has a NUL or a newline in it".to_owned());
        }
        let name = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        if let Some((helper, _)) = url.split_once("::").filter(|(helper, _)| name(helper)) {
            return Err(format!("transport helpers such as {helper}:: are never used"));
        }
        if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| name(scheme)) {
            check_host(rest.split('/').next().unwrap_or_default())?;
            return scheme.to_ascii_lowercase().parse();
        }
        // A colon before the first slash, and not that of an IPv6 address.
        let colon = url.find(':').is_some_and(|at| url.find('/').is_none_or(|slash| at < slash));
        if !colon {
            return Ok(Scheme::File);
        }
        let (host, path) = url.split_once(':').unwrap_or_default();
        check_host(host)?;
        if path.starts_with('-') {
            Err("the path begins with '-'".to_owned())
        } else {
            Ok(Scheme::Ssh)
        }
    }
}

/// `USER@HOST`, neither of which may be an option of the program that gets it.
fn check_host(text: &str) -> Result<(), String> {
    let option = text.split('@').any(|part| part.starts_with('-'));
    if option { Err("user or host begin with '-'".to_owned()) } else { Ok(()) }
}

/// The schemes that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemes(BTreeSet<Scheme>);

impl Default for Schemes {
    /// All.
    fn default() -> Schemes {
        Schemes(ALL.iter().map(|(scheme, _)| *scheme).collect())
    }
}

impl FromIterator<Scheme> for Schemes {
    fn from_iter<I: IntoIterator<Item = Scheme>>(schemes: I) -> Schemes {
        Schemes(schemes.into_iter().collect())
    }
}

impl Schemes {
    /// All that do not lead into the server's own machine.
    #[must_use]
    pub fn remote() -> Schemes {
        Schemes::default().0.into_iter().filter(|scheme| *scheme != Scheme::File).collect()
    }

    /// Whether an address may be used.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &str) -> Result<(), String> {
        let scheme = Scheme::of(url)?;
        if self.0.contains(&scheme) {
            return Ok(());
        }
        Err(format!("{scheme} is not allowed (--remote-schemes)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_git_reads_them() {
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
        assert!(Schemes::remote().check("/etc").unwrap_err().contains("--remote-schemes"));
        assert!(
            Schemes::remote().check("ssh://h/x").is_ok()
                && Schemes::default().check("/etc").is_ok()
        );
    }
}
