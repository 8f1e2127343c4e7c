//! The `transactions/` directory, which contains a directory for each open transaction of this
//! connection.

use std::sync::Arc;

use datakit_core::vfs::{Create, Error, Name, Result, User};

use super::branch_handle::BranchHandle;
use super::open_transactions::{OpenTransaction, OpenTransactions, position};
use super::transaction::TransactionDir;
use crate::transaction::Transaction;
use datakit_server::tree::{BoxFuture, Directory, Entry, ready};

/// The directory of open transactions on one branch.
pub(super) struct Transactions {
    handle: Arc<BranchHandle>,
    transactions: Arc<OpenTransactions>,
}

impl Transactions {
    pub(super) fn new(handle: Arc<BranchHandle>) -> Transactions {
        let transactions = handle.transactions();
        Transactions { handle, transactions }
    }

    fn begin(&self, name: &[u8], user: User<'_>) -> Result<Entry> {
        self.handle.with_transactions(&self.transactions, |open| {
            let Err(position) = position(open, name) else { return Err(Error::Exists) };
            let permit = self.handle.quota.transactions.acquire()?;
            let identity = self.handle.database.authors().of(user);
            let head = self.handle.head()?;
            let transaction =
                Transaction::begin_in(&self.handle.database, head, &self.handle.quota.memory)?;
            let transaction = Arc::new(transaction);
            let dir = TransactionDir::new(
                &self.handle,
                &self.transactions,
                transaction.clone(),
                head,
                identity,
            );
            let entry = Entry::dir(name, dir);
            open.insert(
                position,
                OpenTransaction {
                    name: name.into(),
                    entry: entry.clone(),
                    transaction,
                    _permit: permit,
                },
            );
            Ok(entry)
        })
    }
}

impl Directory for Transactions {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.handle.with_transactions(&self.transactions, |open| {
            open.iter().map(|open| open.entry.clone()).collect()
        })))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(
            self.handle
                .with_transactions(&self.transactions, |open| {
                    let position = position(open, name.as_bytes()).ok()?;
                    Some(open.get(position)?.entry.clone())
                })
                .ok_or(Error::NotFound),
        )
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        self.create_by(name, create, User::default())
    }

    fn create_by<'a>(
        &'a self,
        name: Name<'a>,
        _: Create<'a>,
        user: User<'a>,
    ) -> BoxFuture<'a, Entry> {
        ready(self.begin(name.as_bytes(), user))
    }
}
