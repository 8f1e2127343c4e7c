//! The transactions that one connection has open on a branch.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::quota::Permit;
use crate::transaction::Transaction;
use datakit_server::tree::Entry;

/// Open transactions, keyed by name.
pub(super) type TransactionMap = BTreeMap<Box<[u8]>, OpenTransaction>;

/// The connection's open transactions on one branch. Use [`BranchHandle::with_transactions`] to
/// access them.
///
/// [`BranchHandle::with_transactions`]: super::branch_handle::BranchHandle::with_transactions
#[derive(Default)]
pub(super) struct OpenTransactions(pub(super) Mutex<TransactionMap>);

/// An open transaction and its permit from the connection's quota.
pub(super) struct OpenTransaction {
    pub(super) entry: Entry,
    pub(super) transaction: Arc<Transaction>,
    pub(super) _permit: Permit,
}
