//! The staged values of transactions.

use core::cell::Cell;
use core::fmt::{self, Write};

use critical_section::Mutex;

use crate::Decimal;
use crate::files::count_change;
use crate::vfs::{Client, Error, Result};

/// The memory for `SLOTS` transactions with at most `VALUES` staged values each. The text of a
/// value is at most `TEXT` bytes long.
///
/// The memory is separate from the [`Transactions`](super::Transactions), because memory that
/// initially contains only zeros takes up no flash.
pub struct TransactionMemory<const SLOTS: usize, const VALUES: usize, const TEXT: usize> {
    pub(super) slots: [SlotMemory<VALUES, TEXT>; SLOTS],
}

/// The memory for one transaction.
pub(super) type SlotMemory<const VALUES: usize, const TEXT: usize> =
    Mutex<Transaction<VALUES, TEXT>>;

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize>
    TransactionMemory<SLOTS, VALUES, TEXT>
{
    /// Creates the memory for transactions. No transaction has begun.
    #[must_use]
    pub const fn new() -> Self {
        TransactionMemory { slots: [const { Mutex::new(Transaction::new()) }; SLOTS] }
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

/// The state of one transaction. Each field is a `Cell`, because the code for a `RefCell` would have
/// to handle a failed borrow in every critical section.
pub(super) struct Transaction<const VALUES: usize, const TEXT: usize> {
    /// The client that began the transaction.
    holder: Cell<Option<Client>>,
    staged: [StagedValue<TEXT>; VALUES],
    /// The reason why the last request was refused.
    refusal: Cell<Option<Error>>,
}

/// A new parameter value.
// With the fields in this order, the text starts at a word boundary and is copied word by word.
#[repr(C)]
#[derive(Clone)]
pub(super) struct StagedValue<const TEXT: usize> {
    /// The address that identifies the parameter, or [`FREE`] if there is no value.
    address: Cell<usize>,
    /// The version of the parameter's value when this value was staged.
    pub(super) version: Cell<u32>,
    text: Cell<StagedText<TEXT>>,
    /// The last client that changed the parameter since this value was staged, if known.
    pub(super) changed_by: Cell<Option<Client>>,
}

/// No parameter has this address.
const FREE: usize = 0;

impl<const TEXT: usize> StagedValue<TEXT> {
    const fn new() -> Self {
        StagedValue {
            address: Cell::new(FREE),
            version: Cell::new(0),
            changed_by: Cell::new(None),
            text: Cell::new(StagedText::EMPTY),
        }
    }

    /// Returns the text of the value.
    pub(super) fn text(&mut self) -> &[u8] {
        self.text.get_mut().bytes()
    }
}

/// The text of a new value.
#[repr(C)]
#[derive(Clone, Copy)]
struct StagedText<const TEXT: usize> {
    bytes: [u8; TEXT],
    length: u8,
}

impl<const TEXT: usize> StagedText<TEXT> {
    const EMPTY: Self = StagedText { length: 0, bytes: [0; TEXT] };

    /// Copies `text`. Returns `None` if the text is longer than `TEXT` bytes.
    fn new(text: &[u8]) -> Option<Self> {
        let mut copy = StagedText::EMPTY;
        copy.bytes.get_mut(..text.len())?.copy_from_slice(text);
        // The cast does not truncate the length, because `TEXT` is at most 255.
        copy.length = text.len() as u8;
        Some(copy)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl<const VALUES: usize, const TEXT: usize> Transaction<VALUES, TEXT> {
    const fn new() -> Self {
        Transaction {
            holder: Cell::new(None),
            staged: [const { StagedValue::new() }; VALUES],
            refusal: Cell::new(None),
        }
    }

    /// Returns the client that began the transaction.
    pub(super) fn holder(&self) -> Option<Client> {
        self.holder.get()
    }

    /// Sets the client that holds the transaction, and removes all staged values and the last
    /// result.
    pub(super) fn restart(&self, holder: Option<Client>) {
        self.holder.set(holder);
        for staged in &self.staged {
            staged.address.set(FREE);
        }
        self.refusal.set(None);
        count_change();
    }

    /// Returns the staged value of the parameter with this address.
    pub(super) fn find(&self, address: usize) -> Option<&StagedValue<TEXT>> {
        self.staged.iter().find(|staged| staged.address.get() == address)
    }

    /// Stages a value, replacing any staged value of the same parameter. Returns `None` if the text
    /// is longer than `TEXT` bytes or if `VALUES` other values are already staged.
    // Inlining this function would move more registers to the stack.
    #[inline(never)]
    pub(super) fn stage(&self, address: usize, version: u32, text: &[u8]) -> Option<()> {
        count_change();
        let text = StagedText::new(text)?;
        let staged = self.find(address).or_else(|| self.find(FREE))?;
        staged.address.set(address);
        staged.version.set(version);
        staged.changed_by.set(None);
        staged.text.set(text);
        Some(())
    }

    /// Records that `client` changed the parameter with this address.
    pub(super) fn record_change(&self, address: usize, client: Client) {
        if let Some(staged) = self.find(address) {
            staged.changed_by.set(Some(client));
        }
    }

    /// Records the result of a request from `client`, if the client holds the transaction.
    pub(super) fn record(&self, client: Client, result: &Result<()>) {
        if self.holder.get() == Some(client) {
            self.refusal.set(result.clone().err());
        }
    }

    /// Writes the number of changes or the last refusal, followed by a newline.
    pub(super) fn render(&self, out: &mut dyn Write) -> fmt::Result {
        let refusal = self.refusal.take();
        self.refusal.set(refusal.clone());
        let count = self.staged.iter().filter(|staged| staged.address.get() != FREE).count();
        let number = Decimal::from(count);
        let (text, end): (&dyn fmt::Display, &str) = match &refusal {
            Some(refusal) => (refusal, "\n"),
            None if count == 1 => (&number, " change\n"),
            None => (&number, " changes\n"),
        };
        write!(out, "{text}")?;
        out.write_str(end)
    }
}
