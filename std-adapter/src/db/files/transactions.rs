//! `transactions/`: a directory for each that is open on this connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datakit_core::vfs::{Create, Error, Name, Result};

use super::branch::Slot;
use super::transaction::TransactionDir;
use crate::db::transaction::Transaction;
use crate::locked;
use crate::tree::{Directory, Entry, Wait, ready};

/// The transactions on one branch.
pub(super) struct Transactions {
    slot: Arc<Slot>,
    open: Mutex<Open>,
}

/// By their names.
type Open = BTreeMap<Box<[u8]>, (Entry, Arc<Transaction>)>;

impl Transactions {
    pub(super) fn new(slot: Arc<Slot>) -> Transactions {
        Transactions { slot, open: Mutex::default() }
    }

    /// Those that have not ended.
    fn with<R>(&self, with: impl FnOnce(&mut Open) -> R) -> R {
        let mut open = locked::lock(&self.open);
        open.retain(|_, (_, transaction)| transaction.is_open());
        with(&mut open)
    }

    fn begin(&self, name: &[u8]) -> Result<Entry> {
        self.with(|open| {
            if open.contains_key(name) {
                return Err(Error::Exists);
            }
            let head = self.slot.branch().head()?;
            let transaction = Arc::new(Transaction::begin(&self.slot.database, head)?);
            let dir = TransactionDir::new(&self.slot, transaction.clone(), head);
            let entry = Entry::dir(name, dir);
            open.insert(name.into(), (entry.clone(), transaction));
            Ok(entry)
        })
    }
}

impl Directory for Transactions {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready(Ok(self.with(|open| open.values().map(|(entry, _)| entry.clone()).collect())))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready(self.with(|open| open.get(name.as_bytes()).map(|(entry, _)| entry.clone())).ok_or(Error::NotFound))
    }

    fn create<'a>(&'a self, name: Name<'a>, _: Create<'a>) -> Wait<'a, Entry> {
        ready(self.begin(name.as_bytes()))
    }
}
