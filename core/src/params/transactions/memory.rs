//! The staged values of transactions.

use core::cell::RefCell;
use core::fmt::{self, Write};

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::Vec;

use crate::Decimal;
use crate::params::count_change;
use crate::vfs::{Client, Error, Result};

/// The memory for `SLOTS` transactions with at most `VALUES` staged values each. The text of a
/// value has at most `TEXT` bytes.
///
/// The memory is separate from the [`Transactions`](super::Transactions), because memory that
/// initially contains only zeros takes up no flash.
pub struct TransactionMemory<const SLOTS: usize, const VALUES: usize, const TEXT: usize> {
    pub(super) slots: [SlotMemory<VALUES, TEXT>; SLOTS],
}

/// The memory for one transaction.
pub(super) type SlotMemory<const VALUES: usize, const TEXT: usize> =
    CriticalSectionMutex<RefCell<Transaction<VALUES, TEXT>>>;

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize>
    TransactionMemory<SLOTS, VALUES, TEXT>
{
    /// Creates the memory for transactions. No transaction has begun.
    #[must_use]
    pub const fn new() -> Self {
        TransactionMemory {
            slots: [const { CriticalSectionMutex::new(RefCell::new(Transaction::new())) }; SLOTS],
        }
    }
}

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> Default
    for TransactionMemory<SLOTS, VALUES, TEXT>
{
    fn default() -> Self {
        TransactionMemory::new()
    }
}

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> fmt::Debug
    for TransactionMemory<SLOTS, VALUES, TEXT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionMemory").finish_non_exhaustive()
    }
}

/// The state of one transaction.
pub(super) struct Transaction<const VALUES: usize, const TEXT: usize> {
    /// The client that began the transaction.
    pub(super) holder: Option<Client>,
    staged: Vec<StagedValue<TEXT>, VALUES>,
    /// The reason that the last request was refused.
    refusal: Option<Error>,
}

/// A new parameter value.
#[derive(Clone)]
pub(super) struct StagedValue<const TEXT: usize> {
    /// The address that identifies the parameter.
    pub(super) address: usize,
    /// The version of the parameter's value when this value was staged.
    pub(super) version: u32,
    /// The last client that changed the parameter since this value was staged, if known.
    pub(super) changed_by: Option<Client>,
    pub(super) text: Vec<u8, TEXT, u8>,
}

impl<const VALUES: usize, const TEXT: usize> Transaction<VALUES, TEXT> {
    const fn new() -> Self {
        Transaction { holder: None, staged: Vec::new(), refusal: None }
    }

    /// Begins a transaction for `client`. If the previous transaction has not ended, does nothing
    /// and returns the client that began it.
    pub(super) fn begin(&mut self, client: Client) -> Option<Client> {
        if self.holder.is_none() {
            self.holder = Some(client);
            return None;
        }
        self.holder
    }

    /// Removes all staged values and the last result.
    pub(super) fn clear(&mut self) {
        self.staged.clear();
        self.refusal = None;
        count_change();
    }

    /// Returns the staged value of the parameter with this address.
    pub(super) fn find(&mut self, address: usize) -> Option<&mut StagedValue<TEXT>> {
        self.staged.iter_mut().find(|staged| staged.address == address)
    }

    /// Stages a value, replacing any staged value of the same parameter. Returns `false` if the
    /// text is longer than `TEXT` bytes or if `VALUES` other values are already staged.
    pub(super) fn stage(&mut self, address: usize, version: u32, text: &[u8]) -> bool {
        count_change();
        let Ok(text) = Vec::from_slice(text) else { return false };
        let value = StagedValue { address, version, changed_by: None, text };
        match self.find(address) {
            Some(staged) => {
                *staged = value;
                true
            }
            None => self.staged.push(value).is_ok(),
        }
    }

    /// Records that `client` changed the parameter with this address.
    pub(super) fn record_change(&mut self, address: usize, client: Client) {
        if let Some(staged) = self.find(address) {
            staged.changed_by = Some(client);
        }
    }

    /// Records the result of a request from `client`, if the client holds the transaction.
    pub(super) fn record(&mut self, client: Client, result: &Result<()>) {
        if self.holder == Some(client) {
            self.refusal = result.clone().err();
        }
    }

    /// Writes the number of changes or the last refusal, followed by a newline.
    pub(super) fn render(&self, out: &mut dyn Write) -> fmt::Result {
        if let Some(refusal) = &self.refusal {
            return writeln!(out, "{refusal}");
        }
        let count = self.staged.len();
        write!(out, "{}", Decimal::from(count))?;
        out.write_str(if count == 1 { " change\n" } else { " changes\n" })
    }
}
