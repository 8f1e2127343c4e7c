//! Commits and the differences between them.

use std::fmt::{self, Debug, Display};

use super::error::{Error, Result};
use super::id::Id;
use super::path::Path;
use super::remote_path::RemotePath;
use super::tree::Tree;
use crate::Client;
use crate::json::parse_object;

/// An immutable commit. Creating a handle to a commit does not send a request.
#[derive(Clone)]
pub struct Commit {
    client: Client,
    id: Id,
}

/// The fields of a commit object. `C` is the commit type of the back end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details<C = Commit> {
    /// The hash.
    pub id: Id,
    /// The parents in the order in which the commit stores them.
    pub parents: Vec<C>,
    /// The author in the form `NAME <EMAIL>`. The string is empty if the commit comes from the
    /// original server, which does not send the author.
    pub author: String,
    /// The commit time in RFC 3339 format. The string is empty if the commit comes from the
    /// original server, which does not send the time.
    pub date: String,
    /// The unmodified commit message.
    pub message: String,
}

impl<C> Details<C> {
    /// Creates the details of a commit with the given id, leaving all other fields empty. The back
    /// end then sets those fields.
    #[must_use]
    pub fn new(id: Id) -> Details<C> {
        let (author, date, message) = Default::default();
        Details { id, parents: Vec::new(), author, date, message }
    }

    /// Converts each parent by calling `f`.
    #[must_use]
    pub fn map_commits<U>(self, f: impl FnMut(C) -> U) -> Details<U> {
        let Details { id, parents, author, date, message } = self;
        Details { id, parents: parents.into_iter().map(f).collect(), author, date, message }
    }
}

/// A file that differs between two trees. Directories are not reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The file was added.
    Added(Path),
    /// The file was removed.
    Removed(Path),
    /// The file's content or mode differs.
    Updated(Path),
}

impl Commit {
    pub(super) fn new(client: &Client, id: Id) -> Commit {
        Commit { client: client.clone(), id }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the hash.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    pub(super) fn remote_path(&self) -> RemotePath {
        RemotePath::root(&self.client).join_all(["snapshots", &self.id.to_string()])
    }

    /// Returns the tree of the commit.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::new(self.remote_path().join("ro"))
    }

    /// Reads the message. Invalid UTF-8 is replaced with U+FFFD.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the commit no longer exists.
    pub async fn message(&self) -> Result<String> {
        self.remote_path().join("msg").read_text().await
    }

    /// Reads the parents in the order in which the commit stores them. The original server sorts
    /// the parents.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the commit no longer exists.
    pub async fn parents(&self) -> Result<Vec<Commit>> {
        parse_commits(&self.client, &self.remote_path().join("parents").read_text().await?)
    }

    /// Reads the changes from `old` to this commit, sorted by path.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if either commit no longer exists.
    pub async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        let path = self.remote_path().join_all(["diff", &old.id.to_string()]);
        parse_changes(&path.read().await?)
    }

    /// Reads all fields from a single JSON file. The original server's JSON file lacks most fields,
    /// so multiple requests are sent to that server.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the commit no longer exists.
    pub async fn details(&self) -> Result<Details> {
        let path = RemotePath::root(&self.client).join_all(["commits", &self.id.to_string()]);
        let json = String::from_utf8(path.read().await?).ok();
        if let Some(details) = json.and_then(|json| self.parse_details(&json)) {
            return Ok(details);
        }
        let parents = self.parents().await?;
        let mut message = self.message().await?;
        // The original server appends a newline to the message.
        if message.ends_with('\n') {
            message.pop();
        }
        Ok(Details { id: self.id, parents, author: String::new(), date: String::new(), message })
    }

    fn parse_details(&self, json: &str) -> Option<Details> {
        let mut members = parse_object(json)?;
        let mut text = |name| members.remove(name)?.into_text();
        let (author, date, message) = (text("author")?, text("date")?, text("message")?);
        let parents = members.remove("parents")?.into_texts()?;
        let parents = parents.iter().map(|id| Some(Commit::new(&self.client, parse_id(id).ok()?)));
        Some(Details {
            id: self.id,
            parents: parents.collect::<Option<_>>()?,
            author,
            date,
            message,
        })
    }
}

/// Parses text that contains one hash per line.
pub(super) fn parse_commits(client: &Client, text: &str) -> Result<Vec<Commit>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Ok(Commit::new(client, parse_id(line)?))).collect()
}

/// Parses a hash sent by the server.
pub(super) fn parse_id(text: &str) -> Result<Id> {
    Id::parse(text.as_bytes()).map_err(Error::unreadable)
}

/// Parses lines of the form `+ PATH`, `- PATH` or `* PATH`.
pub(super) fn parse_changes(text: &[u8]) -> Result<Vec<Change>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse_change(line).ok_or_else(|| Error::unreadable("a line of the diff is invalid"))
        })
        .collect()
}

fn parse_change(line: &[u8]) -> Option<Change> {
    let (sign, path) = line.split_at_checked(2)?;
    let path = Path::parse(path).ok()?;
    match sign {
        b"+ " => Some(Change::Added(path)),
        b"- " => Some(Change::Removed(path)),
        b"* " => Some(Change::Updated(path)),
        _ => None,
    }
}

impl Change {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Change::Added(path) | Change::Removed(path) | Change::Updated(path) => path,
        }
    }
}

/// Writes `+ PATH`, `- PATH` or `* PATH`.
impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self {
            Change::Added(_) => '+',
            Change::Removed(_) => '-',
            Change::Updated(_) => '*',
        };
        write!(f, "{sign} {}", self.path())
    }
}

/// Two handles for the same commit are equal, even if the handles use different connections.
impl PartialEq for Commit {
    fn eq(&self, other: &Commit) -> bool {
        self.id == other.id
    }
}

impl Eq for Commit {}

impl Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_round_trips() {
        let text = "+ foo\n- src/old name\n* file\n";
        let changes = parse_changes(text.as_bytes()).unwrap();
        assert_eq!(changes.iter().map(|change| format!("{change}\n")).collect::<String>(), text);
        assert_eq!(changes.first(), Some(&Change::Added("foo".parse().unwrap())));
        assert!(parse_changes(b"").unwrap().is_empty());
        for invalid in ["? x\n", "+ /x\n", "+"] {
            assert!(parse_changes(invalid.as_bytes()).is_err(), "{invalid}");
        }
    }
}
