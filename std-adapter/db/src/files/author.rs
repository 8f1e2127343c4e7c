//! The `transactions/ID/author` file.

use parking_lot::Mutex;
use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, Result, read_at};

use crate::model::identity::{Authorship, Identity, MAX_AUTHOR_BYTES};
use datakit_server::tree::{BoxFuture, Leaf, OpenLeaf, ready};

/// The `author` file, which contains the author of the commit in the form `NAME <MAIL>` with an
/// optional date. A write at offset 0 replaces the text. The text is validated whenever a write
/// ends with a newline and when the file is closed. Invalid text is discarded. If the file is
/// empty, the author is the user who attached to the tree.
#[derive(Clone)]
pub(super) struct Author(Arc<AuthorInner>);

struct AuthorInner {
    committer: Identity,
    text: Mutex<AuthorText>,
}

#[derive(Default)]
struct AuthorText {
    now: Vec<u8>,
    /// The most recent valid text.
    right: Vec<u8>,
}

impl Author {
    pub(super) fn new(committer: Identity) -> Author {
        Author(Arc::new(AuthorInner { committer, text: Mutex::default() }))
    }

    /// Returns the author and committer of a commit.
    pub(super) fn by(&self) -> crate::Result<Authorship> {
        let text = self.0.text.lock().now.clone();
        Authorship::author(&text, &self.0.committer)
    }

    fn shown(&self) -> Vec<u8> {
        let text = self.0.text.lock();
        if text.now.is_empty() {
            format!("{}\n", self.0.committer).into()
        } else {
            text.now.clone()
        }
    }

    /// Validates the text and restores the previous valid text if validation fails.
    fn check(&self) -> crate::Result<()> {
        let mut text = self.0.text.lock();
        let checked = Authorship::author(&text.now, &self.0.committer);
        match checked {
            Ok(_) => text.right = text.now.clone(),
            Err(_) => text.now = text.right.clone(),
        }
        checked.map(drop)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let mut text = self.0.text.lock();
        let start = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
        if start.checked_add(data.len()).is_none_or(|end| end > MAX_AUTHOR_BYTES) {
            return Err(Error::TooLarge);
        }
        if start > text.now.len() {
            return Err(Error::Seek);
        }
        text.now.truncate(start);
        text.now.extend(data);
        let whole = text.now.ends_with(b"\n");
        drop(text);
        if whole {
            self.check()?;
        }
        Ok(data.len())
    }
}

impl Leaf for Author {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(self.shown().len() as u64)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        if mode.truncate {
            self.0.text.lock().now.clear();
        }
        ready(Ok(Box::new(OpenAuthor(self.clone()))))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        if length != 0 {
            return ready(Err(Error::Invalid));
        }
        self.0.text.lock().now.clear();
        ready(Ok(()))
    }
}

struct OpenAuthor(Author);

impl OpenLeaf for OpenAuthor {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        ready(read_at(&self.0.shown(), offset, buf))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        ready(self.0.write(offset, data))
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(self.0.check().map_err(Error::from))
    }
}
