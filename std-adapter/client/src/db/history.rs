//! The history of a commit, line by line.

use super::commit::{Commit, Details, hash};
use super::error::{Error, Result};
use super::escape::unescape;
use crate::{Client, File};

/// A commit and all that it came from, the newest first, read as far as it is asked for.
pub struct History {
    client: Client,
    file: File,
    /// What was read and not asked for yet, from `place` on.
    text: Vec<u8>,
    place: usize,
    offset: u64,
}

/// The longest line, in bytes: a message.
const LONGEST: usize = 64 << 20;

impl History {
    pub(super) fn new(client: &Client, file: File) -> History {
        History { client: client.clone(), file, text: Vec::new(), place: 0, offset: 0 }
    }

    /// The next commit; `None` at the end.
    ///
    /// # Errors
    /// Where a commit is missing, after those that are there.
    pub async fn next(&mut self) -> Result<Option<Details>> {
        let mut searched = self.place;
        loop {
            let rest = self.text.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(end);
                let line = self.text.get(self.place..end).unwrap_or_default();
                let details = self.parse(line)?;
                self.place = end.saturating_add(1);
                return Ok(Some(details));
            }
            self.text.drain(..self.place);
            self.place = 0;
            searched = self.text.len();
            if searched > LONGEST {
                return Err(Error::unreadable("a line of a log without an end"));
            }
            let mut piece = vec![0; self.file.unit()];
            let count = self.file.read_at(self.offset, &mut piece).await?;
            if count == 0 {
                return if self.text.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::unreadable("a log that is cut off"))
                };
            }
            self.offset = self.offset.saturating_add(count as u64);
            self.text.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Details> {
        let mut fields = line.splitn(5, |byte| *byte == b'\t');
        let mut field = || {
            fields.next().ok_or_else(|| Error::unreadable("a line of a log with too few fields"))
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(&unescape(bytes)).into_owned();
        let id = hash(&text(field()?))?;
        let parents = text(field()?);
        let parents = parents
            .split_ascii_whitespace()
            .map(|parent| Ok(Commit::new(&self.client, hash(parent)?)));
        let parents = parents.collect::<Result<_>>()?;
        let (date, author, message) = (text(field()?), text(field()?), text(field()?));
        // As in the other file about a commit.
        let date = date.strip_suffix('Z').map(|utc| format!("{utc}+00:00")).unwrap_or(date);
        Ok(Details { id, parents, author, date, message })
    }
}
