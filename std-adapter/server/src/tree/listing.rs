//! The entries that a directory had when it was opened.

use datakit_core::vfs::Id;

use super::Entry;
use crate::memory;

/// The entries of an open directory, in listing order.
///
/// A listing does not change while the directory is open. [`Directory::list`] returns all entries at
/// once, which is sufficient for most directories. A directory with many entries can implement this
/// trait and return it from [`Directory::open`], so that an entry is created only when a client asks
/// for more than its name and its qid.
///
/// [`Directory::list`]: super::Directory::list
/// [`Directory::open`]: super::Directory::open
pub trait Listing: Send + Sync {
    /// Passes the name and the id of the entry at `index` to `with`. Does nothing if there are only
    /// `index` entries or fewer.
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], Id));

    /// Returns the entry at `index`, or `None` if there are only `index` entries or fewer.
    fn entry(&self, index: usize) -> Option<Entry>;
}

/// The approximate memory use, in bytes, of an entry in a list.
const ENTRY_BYTES: u64 = 256;

/// A listing whose entries have already been created.
#[derive(Debug)]
pub struct EntryList(Vec<Entry>);

impl From<Vec<Entry>> for EntryList {
    fn from(entries: Vec<Entry>) -> EntryList {
        EntryList(entries)
    }
}

impl Listing for EntryList {
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], Id)) {
        if let Some(entry) = self.0.get(index) {
            entry.with_name(|name| with(name, entry.id()));
        }
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        self.0.get(index).cloned()
    }
}

impl Drop for EntryList {
    fn drop(&mut self) {
        memory::report_freed(self.0.len() as u64 * ENTRY_BYTES);
    }
}
