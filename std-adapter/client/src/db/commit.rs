//! Commits, and what changed between two.

use std::fmt::{self, Debug, Display};

use super::at::At;
use super::error::{Error, Result};
use super::history::History;
use super::path::Path;
use super::tree::Tree;
use crate::db::Id;
use crate::{Client, OpenMode};

/// A commit. It never changes, so a handle costs no request.
#[derive(Clone)]
pub struct Commit {
    client: Client,
    id: Id,
}

/// All that a commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// Its hash.
    pub id: Id,
    /// The commits that it was made from, in its order.
    pub parents: Vec<Commit>,
    /// `NAME <EMAIL>`; empty from the original server, which does not tell.
    pub author: String,
    /// When it was made, as RFC 3339 has it; empty from the original server.
    pub date: String,
    /// The message, verbatim.
    pub message: String,
}

/// What happened to a file from one tree to another. Directories have no changes of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The file is new.
    Added(Path),
    /// The file is gone.
    Removed(Path),
    /// Its content or its mode is another one.
    Updated(Path),
}

impl Commit {
    pub(super) fn new(client: &Client, id: Id) -> Commit {
        Commit { client: client.clone(), id }
    }

    /// Its hash.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    fn at(&self) -> At {
        At::root(&self.client).below(["snapshots", &self.id.to_string()])
    }

    /// Its files.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::new(self.at().to("ro"))
    }

    /// Its message. Bytes that are not UTF-8 are U+FFFD in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a commit that is no longer there, here and below.
    pub async fn message(&self) -> Result<String> {
        self.at().to("msg").read_text().await
    }

    /// The commits that it was made from, in its order. The original server sorts them.
    ///
    /// # Errors
    /// Those of [`Commit::message`].
    pub async fn parents(&self) -> Result<Vec<Commit>> {
        commits(&self.client, &self.at().to("parents").read_text().await?)
    }

    /// What changed from `old` to this commit, in the server's order: by path.
    ///
    /// # Errors
    /// Those of [`Commit::message`].
    pub async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        changes(&self.at().below(["diff", &old.id.to_string()]).read().await?)
    }

    /// It and all that it came from, as `git log` has them, in one stream; `None` from a server
    /// that has no such file.
    ///
    /// # Errors
    /// Those of [`Commit::message`].
    pub async fn history(&self) -> Result<Option<History>> {
        match self.at().to("log").walk().await {
            Ok(node) => Ok(Some(History::new(&self.client, node.open(OpenMode::READ).await?))),
            Err(Error::NotFound) => {
                // The commit is not there, or the file is not.
                self.at().walk().await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All that it says, with one request for a file of JSON. From the original server, whose file
    /// says less, in a few requests.
    ///
    /// # Errors
    /// Those of [`Commit::message`].
    pub async fn details(&self) -> Result<Details> {
        let json = At::root(&self.client).below(["commits", &self.id.to_string()]).read().await?;
        if let Some(details) = self.parse(&json) {
            return Ok(details);
        }
        let parents = self.parents().await?;
        let mut message = self.message().await?;
        // Only the original server has no details, and its `msg` has a newline behind the message.
        if message.ends_with('\n') {
            message.pop();
        }
        Ok(Details { id: self.id, parents, author: String::new(), date: String::new(), message })
    }

    fn parse(&self, json: &[u8]) -> Option<Details> {
        let json: serde_json::Value = serde_json::from_slice(json).ok()?;
        let text = |name: &str| Some(json.get(name)?.as_str()?.to_owned());
        let parents = json.get("parents")?.as_array()?.iter().map(|id| hash(id.as_str()?).ok());
        let parents = parents.map(|id| Some(Commit::new(&self.client, id?)));
        Some(Details {
            id: self.id,
            parents: parents.collect::<Option<_>>()?,
            author: text("author")?,
            date: text("date")?,
            message: text("message")?,
        })
    }
}

/// The commits of a text with one hash a line.
pub(super) fn commits(client: &Client, text: &str) -> Result<Vec<Commit>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Ok(Commit::new(client, hash(line)?))).collect()
}

/// A hash that the server sent.
pub(super) fn hash(text: &str) -> Result<Id> {
    Id::parse(text.as_bytes()).map_err(Error::unreadable)
}

/// The lines `+ PATH`, `- PATH` and `* PATH`.
pub(super) fn changes(text: &[u8]) -> Result<Vec<Change>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            change(line).ok_or_else(|| Error::unreadable("a line of a diff that cannot be read"))
        })
        .collect()
}

fn change(line: &[u8]) -> Option<Change> {
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
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Change::Added(path) | Change::Removed(path) | Change::Updated(path) => path,
        }
    }
}

/// `+ PATH`, `- PATH` or `* PATH`.
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

/// Handles of the same commit are equal, whatever connection they are of.
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
    fn a_diff_is_read_and_shown() {
        let text = "+ foo\n- src/old name\n* file\n";
        let read = changes(text.as_bytes()).unwrap();
        assert_eq!(read.iter().map(|change| format!("{change}\n")).collect::<String>(), text);
        assert_eq!(read.first(), Some(&Change::Added("foo".parse().unwrap())));
        assert!(changes(b"").unwrap().is_empty());
        assert!(
            changes(b"? x\n").is_err() && changes(b"+ /x\n").is_err() && changes(b"+").is_err()
        );
    }
}
