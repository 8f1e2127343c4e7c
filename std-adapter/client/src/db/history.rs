//! Reads the history of a commit line by line.

use std::fmt::{self, Debug};

use super::commit::{Commit, Details, parse_id};
use super::error::{Error, Result};
use super::escape::unescape;
use crate::{Client, File, OpenMode};

/// A commit and its ancestors, newest first. The commits are read lazily.
pub struct History {
    client: Client,
    file: File,
    /// The text read so far. The next line begins at `line_start`.
    text: Vec<u8>,
    line_start: usize,
    offset: u64,
}

/// The maximum length of a line in bytes.
const MAX_LINE: usize = 64 << 20;

impl Commit {
    /// Reads this commit and its ancestors from a single file, in the order of `git log`. Returns
    /// `None` if the server does not provide the history.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the commit no longer exists.
    pub async fn history(&self) -> Result<Option<History>> {
        match self.remote_path().join("log").walk().await {
            Ok(fid) => {
                let (client, file) = (self.client().clone(), fid.open(OpenMode::READ).await?);
                Ok(Some(History { client, file, text: Vec::new(), line_start: 0, offset: 0 }))
            }
            Err(Error::NotFound) => {
                // Either the commit does not exist, or the server does not provide the `log` file.
                self.remote_path().walk().await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl History {
    /// Returns the next commit, or `None` at the end of the history.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the next commit is missing. Earlier calls have returned all
    /// commits that precede the missing commit.
    pub async fn next(&mut self) -> Result<Option<Details>> {
        let mut searched = self.line_start;
        loop {
            let rest = self.text.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(end);
                let line = self.text.get(self.line_start..end).unwrap_or_default();
                let details = self.parse_line(line)?;
                self.line_start = end.saturating_add(1);
                return Ok(Some(details));
            }
            self.text.drain(..self.line_start);
            self.line_start = 0;
            searched = self.text.len();
            if searched > MAX_LINE {
                return Err(Error::unreadable("a line of the log does not end"));
            }
            let mut piece = vec![0; self.file.unit()];
            let count = self.file.read_at(self.offset, &mut piece).await?;
            if count == 0 && self.text.is_empty() {
                return Ok(None);
            }
            if count == 0 {
                return Err(Error::unreadable("the log ends within a line"));
            }
            self.offset = self.offset.saturating_add(count as u64);
            self.text.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }

    fn parse_line(&self, line: &[u8]) -> Result<Details> {
        let mut fields = line
            .splitn(5, |byte| *byte == b'\t')
            .map(|field| String::from_utf8_lossy(&unescape(field)).into_owned());
        let mut field = || {
            fields.next().ok_or_else(|| Error::unreadable("a line of the log has too few fields"))
        };
        let id = parse_id(&field()?)?;
        let parents = field()?;
        let parents = parents
            .split_ascii_whitespace()
            .map(|parent| Ok(Commit::new(&self.client, parse_id(parent)?)));
        let parents = parents.collect::<Result<_>>()?;
        let (date, author, message) = (field()?, field()?, field()?);
        // Use the same date format as `Commit::details`.
        let date = date.strip_suffix('Z').map(|utc| format!("{utc}+00:00")).unwrap_or(date);
        Ok(Details { id, parents, author, date, message })
    }
}

impl Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("offset", &self.offset).finish_non_exhaustive()
    }
}
