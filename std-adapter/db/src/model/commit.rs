//! Commits and their encoding.
//!
//! ```text
//! tree HASH
//! parent HASH            (any number)
//! author NAME <MAIL> SECONDS ZONE
//! committer NAME <MAIL> SECONDS ZONE
//! encoding LABEL         (and other headers in any order; a line that begins with a space continues the previous one)
//!
//! MESSAGE
//! ```
//!
//! Commits are decoded as leniently as Git decodes them. Only the tree and the parents need to be
//! valid, because the other lines of an existing commit can contain arbitrary bytes. Undecodable
//! parts are left empty, as in `git log --format='%an %ae %aI'`.

use std::borrow::Cow;

use gix_date::Time;
use gix_object::WriteTo;

use crate::model::identity::{AUTHOR, Authorship};
use crate::model::object::{Object, ObjectKind, object_id};
use crate::{Error, Id, Result};

/// A decoded commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The tree.
    pub tree: Id,
    /// The parents. The first parent is the previous commit on the branch.
    pub parents: Vec<Id>,
    /// The author, in the form `NAME <EMAIL>` in UTF-8. Either part is omitted if the commit does
    /// not contain it.
    pub author: String,
    /// The author date, if the commit has one.
    pub(crate) written: Option<Time>,
    /// The committer date in seconds since the Unix epoch, or 0 if the commit has no committer
    /// date. Histories are sorted by this date.
    pub time: i64,
    /// The message, which is converted to UTF-8 if its encoding is known.
    pub message: Vec<u8>,
}

impl Commit {
    /// Decodes a commit as leniently as Git does.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the tree is missing or a parent is not a hash.
    pub fn decode(data: &[u8]) -> Result<Commit> {
        parse(data)
    }

    /// Returns the author date in RFC 3339 format, in the author's time zone. Returns an empty
    /// string if the commit has no author date.
    #[must_use]
    pub fn date(&self) -> String {
        let format = gix_date::time::format::ISO8601_STRICT;
        self.written.and_then(|written| written.format(format).ok()).unwrap_or_default()
    }

    /// Encodes a commit whose author and committer are the default identity. `time` is the commit
    /// date in seconds since the Unix epoch. The time zone is UTC.
    ///
    /// # Errors
    /// Returns [`Error::InvalidMessage`] if the message contains a NUL byte.
    pub fn encode(tree: Id, parents: &[Id], message: &[u8], time: i64) -> Result<(Id, Object)> {
        let (name, email) = AUTHOR;
        let by = gix_actor::Signature {
            name: name.into(),
            email: email.into(),
            time: gix_date::Time { seconds: time, offset: 0 },
        };
        Commit::encode_by(tree, parents, message, &Authorship { author: by.clone(), committer: by })
    }

    /// Encodes a commit.
    ///
    /// # Errors
    /// Returns [`Error::InvalidMessage`] if the message contains a NUL byte.
    pub fn encode_by(
        tree: Id,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
    ) -> Result<(Id, Object)> {
        if let Some(at) = message.iter().position(|byte| *byte == 0) {
            return Err(Error::InvalidMessage(at));
        }
        let commit = gix_object::Commit {
            tree: object_id(tree),
            parents: parents.iter().copied().map(object_id).collect(),
            author: by.author.clone(),
            committer: by.committer.clone(),
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        Object::new(ObjectKind::Commit, written(&commit)?)
    }
}

fn written(object: &dyn WriteTo) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    object
        .write_to(&mut bytes)
        .map_err(|error| Error::store_from("cannot encode the object", error))?;
    Ok(bytes)
}

/// Decodes a commit.
///
/// # Errors
/// Returns [`Error::Store`] if the tree is missing or a parent is not a hash.
fn parse(data: &[u8]) -> Result<Commit> {
    let broken = |what: &str| Error::store(format!("malformed commit: {what}"));
    let (headers, message) = split_at_empty_line(data);
    let mut lines = lines(headers).peekable();
    let tree = lines.next().and_then(|line| line.strip_prefix(b"tree ")).and_then(hash);
    let tree = tree.ok_or_else(|| broken("the first line does not name a tree"))?;
    let mut parents = Vec::new();
    while let Some(parent) = lines.next_if(|line| line.starts_with(b"parent ")) {
        let parent = parent.strip_prefix(b"parent ").and_then(hash);
        parents.push(parent.ok_or_else(|| broken("a parent is not a hash"))?);
    }
    // Git sorts commits by the committer date and looks for the date only in the second line after
    // the parents.
    let rest: Vec<&[u8]> = lines.collect();
    let time = match rest.as_slice() {
        [author, committer, ..]
            if author.starts_with(b"author ") && committer.starts_with(b"committer ") =>
        {
            Person::of(committer).time.map_or(0, |time| time.seconds)
        }
        _ => 0,
    };
    // If a header occurs more than once, use the last occurrence, as `git log --format` does.
    let last = |header: &[u8]| rest.iter().rev().find_map(|line| line.strip_prefix(header));
    let encoding = last(b"encoding ");
    let author = last(b"author ").map(Person::of).unwrap_or_default();
    Ok(Commit {
        tree,
        parents,
        author: author.shown(encoding),
        written: author.time,
        time,
        message: decoded(message, encoding).into_owned(),
    })
}

/// Returns the headers and the message. The message begins after the first empty line.
fn split_at_empty_line(data: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while let Some(rest) = data.get(start..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        if matches!(rest.get(..length), Some(b"\n" | b"\r\n")) {
            return (data.get(..start).unwrap_or_default(), rest.get(length..).unwrap_or_default());
        }
        start += length;
    }
    (data, &[])
}

/// Splits the headers into lines that end with LF or CRLF.
fn lines(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = headers.strip_suffix(b"\n").unwrap_or(headers);
    whole.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Parses 40 hexadecimal digits, which can be uppercase or lowercase.
fn hash(text: &[u8]) -> Option<Id> {
    Id::parse(&text.to_ascii_lowercase()).ok().filter(|_| text.len() == 40)
}

/// The parts of a header of the form `NAME <MAIL> SECONDS ZONE`. Any part can be missing.
#[derive(Default)]
struct Person<'c> {
    name: &'c [u8],
    mail: Option<&'c [u8]>,
    time: Option<Time>,
}

impl<'c> Person<'c> {
    fn of(line: &'c [u8]) -> Person<'c> {
        let Some(open) = line.iter().position(|byte| *byte == b'<') else {
            // If there is no email address, the name is the text before the time.
            let mut words = line.rsplitn(3, |byte| *byte == b' ');
            let (zone, seconds, name) = (words.next(), words.next(), words.next());
            let time = zone
                .zip(seconds)
                .and_then(|(zone, seconds)| parse_time(&[seconds, b" ", zone].concat()));
            let name = if time.is_some() { name.unwrap_or_default() } else { line };
            return Person { name: name.trim_ascii(), mail: None, time };
        };
        let (name, rest) = line.split_at(open);
        let rest = rest.get(1..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len());
        // Look for the time after the last `>`, because the email address can contain `>`.
        let behind =
            rest.iter().rposition(|byte| *byte == b'>').and_then(|last| rest.get(last + 1..));
        Person { name: name.trim_ascii(), mail: rest.get(..end), time: behind.and_then(parse_time) }
    }

    fn shown(&self, encoding: Option<&[u8]>) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&decoded(bytes, encoding)).into_owned();
        match (self.name, self.mail) {
            (name, None) => text(name),
            (b"", Some(mail)) => format!("<{}>", text(mail)),
            (name, Some(mail)) => format!("{} <{}>", text(name), text(mail)),
        }
    }
}

/// Parses a time of the form `SECONDS ZONE`. A missing zone means UTC. Returns `None` if `SECONDS`
/// is not a number. An out-of-range number results in the Unix epoch, as in Git.
fn parse_time(text: &[u8]) -> Option<Time> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let (seconds, zone) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    let digits = seconds.strip_prefix('-').unwrap_or(seconds);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds =
        seconds.parse().ok().filter(|seconds| (FIRST..=LAST).contains(seconds)).unwrap_or(0);
    Some(Time { seconds, offset: parse_offset(zone.trim_ascii()).unwrap_or(0) })
}

/// The first and the last second, in Unix time, that RFC 3339 can represent in every time zone.
/// Years outside the range 0 to 9999 cannot be represented.
const FIRST: i64 = -62_167_219_200 + 86400;
const LAST: i64 = 253_402_207_200;

/// Parses a time zone offset of the form `+HHMM` or `-HHMM` and returns the offset in seconds.
/// Returns `None` if the offset is 24 hours or more.
fn parse_offset(zone: &str) -> Option<i32> {
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (60, zone.get(1..)?),
        b'-' => (-60, zone.get(1..)?),
        _ => return None,
    };
    let number: i32 = digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(number / 100 * 60 + number % 100)
        .filter(|minutes| *minutes < 24 * 60)
        .map(|minutes| sign * minutes)
}

/// Converts text to UTF-8. Returns the text unchanged if the encoding is unknown or if the text is
/// not valid in that encoding.
fn decoded<'t>(text: &'t [u8], encoding: Option<&[u8]>) -> Cow<'t, [u8]> {
    let Some(label) = encoding.map(|label| label.trim_ascii().to_ascii_lowercase()) else {
        return Cow::Borrowed(text);
    };
    // Git uses Latin-1 for these labels, but the `encoding_rs` crate, like browsers, uses
    // windows-1252.
    const LATIN_1: [&[u8]; 6] =
        [b"iso-8859-1", b"iso8859-1", b"iso_8859-1", b"iso88591", b"latin1", b"latin-1"];
    if LATIN_1.contains(&&*label) {
        return encoding_rs::mem::decode_latin1(text).into_owned().into_bytes().into();
    }
    let Some(known) = encoding_rs::Encoding::for_label(&label) else { return Cow::Borrowed(text) };
    if known == encoding_rs::UTF_8 || (is_wide(known) && text.is_ascii() && !text.contains(&0)) {
        return Cow::Borrowed(text);
    }
    let (known, text) = match encoding_rs::Encoding::for_bom(text) {
        Some((marked, length)) if is_wide(known) => {
            (marked, text.get(length..).unwrap_or_default())
        }
        _ => (known, text),
    };
    match known.decode_without_bom_handling_and_without_replacement(text) {
        Some(decoded) => decoded.into_owned().into_bytes().into(),
        None => Cow::Borrowed(text),
    }
}

/// Returns `true` if the encoding uses two bytes for each ASCII character. A commit's headers are
/// ASCII even if its message is in UTF-16.
fn is_wide(encoding: &encoding_rs::Encoding) -> bool {
    encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commit(text: impl AsRef<[u8]>) -> Commit {
        let tree = format!("tree {}\n", Id::EMPTY_TREE);
        parse(&[tree.as_bytes(), text.as_ref()].concat()).unwrap()
    }

    fn date(author: &str) -> String {
        commit(format!("author {author}\ncommitter A <a@b> 7 +0000\n\n")).date()
    }

    #[test]
    fn dates_use_the_authors_time_zone() {
        for (author, expected) in [
            ("A <a@b> 1700000000 +0200", "2023-11-15T00:13:20+02:00"),
            ("A <a@b> 1700000000 -0830", "2023-11-14T13:43:20-08:30"),
            ("A <a@b> 1700000000", "2023-11-14T22:13:20+00:00"),
            ("A <a@b> 1700000000 CET", "2023-11-14T22:13:20+00:00"),
            ("A <a@b> 1700000000 +9999", "2023-11-14T22:13:20+00:00"),
            ("A <a>@b> 1700000000 +0000", "2023-11-14T22:13:20+00:00"),
            ("A <a@b> -1 +0000", "1969-12-31T23:59:59+00:00"),
            ("A <a@b> 99999999999999999999 +0000", "1970-01-01T00:00:00+00:00"),
            ("A <a@b> 9223372036854775807 +0000", "1970-01-01T00:00:00+00:00"),
            ("A 1700000000 +0000", "2023-11-14T22:13:20+00:00"),
            ("A <a@b> soon", ""),
            ("A <a@b>", ""),
            ("A <a@b", ""),
            ("", ""),
        ] {
            assert_eq!(date(author), expected, "{author:?}");
        }
    }

    #[test]
    fn decodes_damaged_author_lines() {
        for (author, expected) in [
            ("A B <a@b> 1 +0000", "A B <a@b>"),
            ("  A B   <a@b> 1 +0000", "A B <a@b>"),
            ("<a@b> 1 +0000", "<a@b>"),
            ("A B 1 +0000", "A B"),
            ("A B", "A B"),
            ("A <a@b", "A <a@b>"),
            ("A <> 1 +0000", "A <>"),
        ] {
            assert_eq!(commit(format!("author {author}\n\n")).author, expected, "{author:?}");
        }
        assert_eq!(commit("").author, "");
        assert_eq!(commit("author A <a>\nauthor B <b> 1 +0000\n\n").author, "B <b>");
    }

    #[test]
    fn converts_text_to_utf_8() {
        let text = |label: &str, bytes: &[u8]| {
            let headers = format!("encoding {label}\n\n");
            commit([b"author J\xf6 <j@x> 1 +0000\n", headers.as_bytes(), bytes].concat())
        };
        let latin = text("ISO-8859-1", b"gr\xfc\xdf\x80");
        assert_eq!(
            (latin.author.as_str(), latin.message),
            ("J\u{f6} <j@x>", "gr\u{fc}\u{df}\u{80}".into())
        );
        assert_eq!(text("windows-1252", b"\x80").message, "\u{20ac}".as_bytes());
        assert_eq!(text("EUC-JP", b"\xc6\xfc").message, "\u{65e5}".as_bytes());
        assert_eq!(text("UTF-16", b"\xff\xfeh\0i\0").message, b"hi");
        assert_eq!(text("UTF-16BE", b"\0h\0i").message, b"hi");
        assert_eq!(text("UTF-16", b"plain").message, b"plain");
        // The text is unchanged if its encoding is unknown or if it is not valid in that encoding.
        assert_eq!(text("Shift_JIS", b"\xff\xff").message, b"\xff\xff");
        assert_eq!(text("klingon", b"\xfc").message, b"\xfc");
    }

    #[test]
    fn message_follows_the_first_empty_line() {
        let sign = "gpgsig -----BEGIN\n \n empty above\nmergetag object 1\n tree 2\n\n";
        assert_eq!(
            commit(format!("author A <a> 1 +0000\n{sign}text\n\nmore")).message,
            b"text\n\nmore"
        );
        assert_eq!(commit("author A <a> 1 +0000\n").message, b"");
        assert_eq!(commit("author A <a> 1 +0000").message, b"");
        assert_eq!(commit("\n\0with\0zeros").message, b"\0with\0zeros");
    }

    #[test]
    fn requires_only_a_tree_and_valid_parents() {
        let upper = Id::EMPTY_TREE.to_string().to_uppercase();
        let read = parse(
            format!("tree {upper}\r\nparent {upper}\r\nauthor A <a> 1 +0000\r\n\r\nm\r\n")
                .as_bytes(),
        )
        .unwrap();
        assert_eq!((read.tree, read.parents), (Id::EMPTY_TREE, vec![Id::EMPTY_TREE]));
        assert_eq!((read.author.as_str(), read.message), ("A <a>", b"m\r\n".to_vec()));
        for broken in
            ["", "tree", "tree x\n\n", "parent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\n"]
        {
            assert!(parse(broken.as_bytes()).is_err(), "{broken:?}");
        }
        assert!(parse(format!("tree {upper}\nparent 12\n\n").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn decodes_arbitrary_bytes_without_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&data);
        }

        #[test]
        fn decodes_arbitrary_headers(headers in "([a-z]{0,9} ?[<>\\-+ 0-9A-Za-z\\n\\r\\x00]{0,30}\n?){0,6}", label in "[a-zA-Z0-9-]{0,12}") {
            let start = format!("tree {}\n", Id::EMPTY_TREE);
            let text = format!("{start}author {headers}\ncommitter {headers}\nencoding {label}\n\n{headers}");
            let _ = parse(text.as_bytes()).unwrap().date();
        }
    }

    #[test]
    fn time_is_that_of_the_committer_where_git_finds_it() {
        assert_eq!(commit("author A <a> 1 +0000\ncommitter B <b> 2 +0000\n\n").time, 2);
        assert_eq!(commit("committer B <b> 2 +0000\nauthor A <a> 1 +0000\n\n").time, 0);
        assert_eq!(commit("author A <a> 1 +0000\ncommitter B <b> never\n\n").time, 0);
    }

    #[test]
    fn decodes_an_encoded_commit() {
        let (id, object) =
            Commit::encode(Id::EMPTY_TREE, &[Id::EMPTY_TREE], b"no newline", 1_700_000_000)
                .unwrap();
        let commit = Commit::decode(&object.data).unwrap();
        assert_eq!(commit.author, "datakit <datakit@mobyproject.org>");
        assert_eq!(
            (commit.message.as_slice(), commit.time),
            (b"no newline".as_slice(), 1_700_000_000)
        );
        assert_eq!(commit.parents, [Id::EMPTY_TREE]);
        assert_ne!(id, Id::EMPTY_TREE);
    }
}
