//! The names and email addresses of authors, committers and 9P users.

use std::fmt;

use datakit_core::vfs::User;
use gix_actor::Signature;
use gix_date::Time;

use crate::{Error, Result};

/// The default name and email address for commits.
pub(crate) const AUTHOR: (&str, &str) = ("datakit", "datakit@mobyproject.org");

/// The maximum length, in bytes, of an `author` file.
pub const MAX_AUTHOR_BYTES: usize = 1024;
/// The maximum length, in characters, of a name that is derived from a user name.
const MAX_NAME_CHARS: usize = 128;
/// The end of the year 9999, the latest time that Git's tools can display.
const MAX_TIME: i64 = 253_402_300_799;
/// The user names that clients send for an unknown user.
const ANONYMOUS: [&[u8]; 2] = [b"nobody", b"none"];

/// The error returned if a name, an email address or a date is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIdentity(String);

/// A name and an email address, written as `NAME <MAIL>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    mail: String,
}

impl Default for Identity {
    /// Returns the default identity for commits.
    fn default() -> Identity {
        let (name, mail) = AUTHOR;
        Identity { name: name.to_owned(), mail: mail.to_owned() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.mail)
    }
}

impl std::str::FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> std::result::Result<Identity, InvalidIdentity> {
        match parse(text)? {
            (identity, None) => Ok(identity),
            _ => Err(InvalidIdentity("unexpected text after the address".to_owned())),
        }
    }
}

impl Identity {
    /// Creates an identity.
    ///
    /// # Errors
    /// Returns [`InvalidIdentity`] if the name is empty, or if the name or the email address
    /// contains a character that Git does not allow.
    pub fn new(name: &str, mail: &str) -> std::result::Result<Identity, InvalidIdentity> {
        let (name, mail) = (name.trim(), mail.trim());
        let odd = |char: char| char.is_control() || char == '<' || char == '>';
        if name.is_empty() {
            return Err(InvalidIdentity("the name is empty".to_owned()));
        }
        if name.contains(odd) || mail.contains(odd) || mail.contains(char::is_whitespace) {
            return Err(InvalidIdentity(
                "a name or address contains '<', '>', a control character, or white space"
                    .to_owned(),
            ));
        }
        Ok(Identity { name: name.to_owned(), mail: mail.to_owned() })
    }

    /// Returns the identity of a 9P user, or `None` if the user is anonymous. Looks up the name on
    /// this machine if the client sent only a user number, as kernel clients do.
    fn of_user(user: User<'_>) -> Option<Identity> {
        let name = match (user.name, user.number) {
            (b"", Some(number)) => local_name(number),
            (name, _) if name.is_empty() || ANONYMOUS.contains(&name) => return None,
            (name, _) => String::from_utf8_lossy(name).into_owned(),
        };
        let plain = |char: &char| !char.is_control() && !['<', '>'].contains(char);
        let name: String = name.chars().filter(plain).take(MAX_NAME_CHARS).collect();
        let local: String =
            name.trim().chars().map(|char| if char.is_whitespace() { '.' } else { char }).collect();
        let mail = if local.contains('@') { local } else { format!("{local}@localhost") };
        Identity::new(&name, &mail).ok()
    }

    fn sign(&self, time: Time) -> Signature {
        Signature { name: self.name.as_str().into(), email: self.mail.as_str().into(), time }
    }
}

/// Looks up the name for a user number in `/etc/passwd`.
fn local_name(number: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid-{number}"))
}

/// Parses `NAME <MAIL>` and an optional date in a format that Git understands.
fn parse(text: &str) -> std::result::Result<(Identity, Option<Time>), InvalidIdentity> {
    let no_mail = || InvalidIdentity("expected NAME <MAIL>".to_owned());
    let (name, rest) = text.trim().split_once('<').ok_or_else(no_mail)?;
    let (mail, date) = rest.split_once('>').ok_or_else(no_mail)?;
    let identity = Identity::new(name, mail)?;
    let date = match date.trim() {
        "" => None,
        date => Some(
            parse_date(date).ok_or_else(|| InvalidIdentity(format!("invalid date {date:?}")))?,
        ),
    };
    Ok((identity, date))
}

fn parse_date(date: &str) -> Option<Time> {
    let time = gix_date::parse(date, None).ok()?;
    (0..=MAX_TIME).contains(&time.seconds).then_some(time)
}

/// The policy for choosing the identity of a commit.
#[derive(Debug, Clone, Default)]
pub struct AuthorPolicy {
    /// The identity to use for every user, unless the transaction sets an author.
    pub always: Option<Identity>,
    /// The identity to use for anonymous users.
    pub anonymous: Identity,
}

impl AuthorPolicy {
    /// Returns the identity to use for commits by `user`.
    #[must_use]
    pub fn of(&self, user: User<'_>) -> Identity {
        let by = self.always.clone().or_else(|| Identity::of_user(user));
        by.unwrap_or_else(|| self.anonymous.clone())
    }
}

/// The author and the committer of a commit, with times in the local time zone.
#[derive(Debug, Clone)]
pub struct Authorship {
    /// The author and the time at which the change was made.
    pub(crate) author: Signature,
    /// The committer and the time of the commit.
    pub(crate) committer: Signature,
}

impl Authorship {
    /// Returns an `Authorship` whose author and committer are both `identity` and whose times are
    /// both the current time.
    #[must_use]
    pub fn now(identity: &Identity) -> Authorship {
        let signature = identity.sign(Time::now_local_or_utc());
        Authorship { author: signature.clone(), committer: signature }
    }

    /// Returns an `Authorship` whose author is parsed from `text`, the content of an `author` file.
    /// If `text` is empty, the author is `committer`. The time of the commit is the current time.
    ///
    /// # Errors
    /// Returns [`Error::InvalidAuthor`] if `text` is malformed.
    pub fn author(text: &[u8], committer: &Identity) -> Result<Authorship> {
        let by = Authorship::now(committer);
        if text.trim_ascii().is_empty() {
            return Ok(by);
        }
        let shown = || String::from_utf8_lossy(text).trim().to_owned();
        let invalid = |reason| Error::InvalidAuthor { text: shown(), reason };
        let text = str::from_utf8(text).map_err(|_| invalid("not valid UTF-8".to_owned()))?;
        let (identity, time) = parse(text).map_err(|error| invalid(error.to_string()))?;
        Ok(Authorship {
            author: identity.sign(time.unwrap_or(by.committer.time)),
            committer: by.committer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_authors_with_optional_date() {
        let committer = Identity::default();
        for (text, name, mail, time) in [
            ("A B <a@b>", "A B", "a@b", None),
            (" Ä <>\n", "Ä", "", None),
            ("A <a@b> 1700000000 +0530", "A", "a@b", Some((1_700_000_000, 19800))),
            ("A <a@b> @5 -0100", "A", "a@b", Some((5, -3600))),
            ("A <a@b> 2024-01-02T03:04:05+01:00", "A", "a@b", Some((1_704_161_045, 3600))),
            ("A <a@b> Thu, 18 Aug 2022 12:45:06 +0800", "A", "a@b", Some((1_660_797_906, 28800))),
        ] {
            let by = Authorship::author(text.as_bytes(), &committer).unwrap();
            assert_eq!(
                (by.author.name.to_string(), by.author.email.to_string()),
                (name.into(), mail.into()),
                "{text}"
            );
            match time {
                Some((seconds, offset)) => {
                    assert_eq!(by.author.time, Time { seconds, offset }, "{text}")
                }
                None => assert_eq!(by.author.time, by.committer.time),
            }
            assert_eq!(by.committer.name, "datakit");
        }
        assert_eq!(Authorship::author(b" \n", &committer).unwrap().author.name, "datakit");
        for text in [
            "A",
            "<a@b>",
            "A <a",
            "A <a b>",
            "A\nB <a@b>",
            "A <a<b>",
            "A > B <x>",
            "A <a@b> soon",
            "A <a@b> @-5 +0000",
        ] {
            assert!(Authorship::author(text.as_bytes(), &committer).is_err(), "{text}");
        }
        assert!(Authorship::author(b"A \xff <a@b>", &committer).is_err());
    }

    #[test]
    fn anonymous_users_get_the_default_identity() {
        let of = |name: &str, number| {
            AuthorPolicy::default().of(User { name: name.as_bytes(), number }).to_string()
        };
        assert_eq!(of("alice", Some(7)), "alice <alice@localhost>");
        assert_eq!(of("a<l>ice\n b", None), "alice b <alice.b@localhost>");
        assert_eq!(of("bob@example.com", None), "bob@example.com <bob@example.com>");
        assert_eq!(of("", Some(0)), "root <root@localhost>");
        assert_eq!(of("", Some(4_000_000_000)), "uid-4000000000 <uid-4000000000@localhost>");
        for (name, number) in [("nobody", Some(0)), ("none", None), ("", None), ("<>", None)] {
            assert_eq!(of(name, number), Identity::default().to_string());
        }
        let always =
            AuthorPolicy { always: Some("CI <ci@x>".parse().unwrap()), ..AuthorPolicy::default() };
        assert_eq!(always.of(User { name: b"alice", number: None }).to_string(), "CI <ci@x>");
    }
}
