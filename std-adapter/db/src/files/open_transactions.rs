//! The transactions that one connection has open on a branch.

use parking_lot::Mutex;
use std::sync::Arc;

use super::quota::Permit;
use crate::transaction::Transaction;
use datakit_server::tree::Entry;

/// The connection's open transactions on one branch, sorted by name. Use [`BranchHandle::with_transactions`] to
/// access them.
///
/// [`BranchHandle::with_transactions`]: super::branch_handle::BranchHandle::with_transactions
#[derive(Default)]
pub(super) struct OpenTransactions(pub(super) Mutex<Vec<OpenTransaction>>);

/// An open transaction and its permit from the connection's quota.
pub(super) struct OpenTransaction {
    pub(super) name: Box<[u8]>,
    pub(super) entry: Entry,
    pub(super) transaction: Arc<Transaction>,
    pub(super) _permit: Permit,
}

/// Returns the position of the transaction called `name`, or the position at which to insert it.
pub(super) fn position(open: &[OpenTransaction], name: &[u8]) -> Result<usize, usize> {
    open.binary_search_by(|open| (*open.name).cmp(name))
}
