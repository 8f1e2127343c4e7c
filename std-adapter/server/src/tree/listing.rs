//! The entries that a directory had when it was opened.

use datakit_core::vfs::Id;

use super::Entry;
use crate::memory;

/// The entries of an open directory, in listing order.
///
/// A listing does not change while the directory is open. [`Directory::list`] returns all entries
/// at once, which is sufficient for most directories. A directory with many entries can instead
/// return its own implementation of this trait from [`Directory::open`]. Each entry is then created
/// only when a client asks for more than the entry's name and qid.
///
/// [`Directory::list`]: super::Directory::list
/// [`Directory::open`]: super::Directory::open
pub trait Listing: Send + Sync {
    /// Passes the name and the id of the entry at `index` to `with`. Does nothing if there is no
    /// such entry.
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], Id));

    /// Returns the entry at `index`, or `None` if there is no such entry.
    fn entry(&self, index: usize) -> Option<Entry>;
}

/// The approximate amount of memory, in bytes, that an entry in a list uses.
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
