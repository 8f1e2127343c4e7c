//! Transactions, which let a client change several parameters at once.
//!
//! A transaction is a directory that contains a second file for each parameter in a set. A value
//! written to such a file is checked and staged, but the parameter itself does not change. The
//! `commit` command checks all staged values together and then sets either all of them or none.

mod commit;
mod ctl;
mod memory;
mod stage;

use core::fmt;

pub use memory::TransactionMemory;

use super::{Event, Observer, ParamSet, change};
use crate::Decimal;
use crate::files::ParamFile;
use crate::vfs::{
    Client, EntryTable, Error, FileTable, Key, Mirror, Node, Result, WithFile, WithName,
};
use memory::{SlotMemory, StagedValue, Transaction};

/// The `transactions` directory of a [`ParamSet`], which contains `SLOTS` transactions. Each
/// transaction can change at most `VALUES` parameters. The text of each new value can be at most
/// `TEXT` bytes long.
///
/// The directory contains the subdirectories `0`, `1`, and so on. Each subdirectory contains a
/// `ctl` file and mirrors the set's directory. The mirror shows the parameters and the directories
/// that contain them, but no other files.
///
/// - A client begins a transaction when it opens `ctl`. The transaction ends when the `ctl` fid is
///   clunked or the connection is lost. Until then, `ctl` cannot be opened again.
/// - A value written to a parameter in the directory is immediately checked against the parameter's
///   type and limits, and then staged. The parameters' check functions are not called until
///   `commit`. Only the client that began the transaction can write.
/// - A read of a parameter returns the staged value if there is one, and the current value
///   otherwise.
/// - The `commit` command sets all parameters to their staged values, or fails and sets none. The
///   command fails if any parameter's check function rejects the new values of the parameters, or
///   if a parameter has changed since its value was staged. `commit force` ignores such changes.
///   `abort` discards the staged values. After these commands, the client can stage other values.
/// - A parameter named `ctl` in the set's directory cannot be staged, because `ctl` controls the
///   transaction.
/// - A read of `ctl` returns the number of staged values, such as `3 changes`, or the text of the
///   last refusal.
///
/// The transactions are constant and stay in flash, except for their [memory](TransactionMemory).
/// If an [`ObserverEntry`](super::ObserverEntry) for the transactions has been passed to
/// [`observe`](super::observe), the error from a failed `commit` names the client that changed a
/// parameter.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::params::{
///     ObserverEntry, ParamSet, TransactionMemory, Transactions, observe,
/// };
/// use datakit_core::vfs::{Dir, file, table};
/// static GAIN: Value<u8> = Value::new(1);
/// static PARAMS: Dir = Dir::new(&[
///     // One level for the parameters and one for `0` to `3`.
///     table("transactions", &TRANSACTIONS, 2),
///     file("gain", &Param::new(&GAIN).range(0, 10)),
/// ]);
/// static SET: ParamSet = ParamSet::new(&PARAMS);
/// static MEMORY: TransactionMemory<4, 16, 32> = TransactionMemory::new();
/// static TRANSACTIONS: Transactions<4, 16, 32> = Transactions::new(&SET, &MEMORY);
/// static OBSERVER: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
/// observe(&OBSERVER);
/// ```
pub struct Transactions<const SLOTS: usize, const VALUES: usize, const TEXT: usize> {
    slots: [Slot<VALUES, TEXT>; SLOTS],
}

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> Transactions<SLOTS, VALUES, TEXT> {
    /// Creates the transactions for `set`. To add the transactions to a directory, call
    /// [`table`](crate::vfs::table) with the depth of the set's directory plus 1.
    // The code indexes arrays directly, because `get` is not const. Every index is within bounds.
    #[allow(clippy::indexing_slicing)]
    #[must_use]
    pub const fn new(
        set: &'static ParamSet,
        memory: &'static TransactionMemory<SLOTS, VALUES, TEXT>,
    ) -> Self {
        const {
            assert!(SLOTS > 0 && SLOTS <= 10, "there are 1 to 10 transactions");
            assert!(VALUES <= change::VALUES_MAX, "a transaction changes at most 256 parameters");
            assert!(TEXT <= change::TEXT_MAX, "a value in a transaction has at most 255 bytes");
        }
        let mut slots = [Slot { set, memory: &memory.slots[0], number: 0 }; SLOTS];
        let mut number = 0;
        while number < SLOTS {
            slots[number] = Slot { set, memory: &memory.slots[number], number: number as u8 };
            number += 1;
        }
        Transactions { slots }
    }
}

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> fmt::Debug
    for Transactions<SLOTS, VALUES, TEXT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

/// Records which client changed a parameter that has a staged value.
impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> Observer
    for Transactions<SLOTS, VALUES, TEXT>
{
    fn notify(&self, event: &Event<'_>) {
        let &Event::Changed { address, client } = event else { return };
        for slot in &self.slots {
            slot.with_transaction(|transaction| transaction.record_change(address, client));
        }
    }
}

impl<const SLOTS: usize, const VALUES: usize, const TEXT: usize> EntryTable
    for Transactions<SLOTS, VALUES, TEXT>
{
    fn find(&self, name: &[u8]) -> Option<Key> {
        let [digit] = name else { return None };
        self.next(digit.checked_sub(b'0')?)
    }

    fn next(&self, from: u8) -> Option<Key> {
        (usize::from(from) < SLOTS).then(|| Key::new(from, 0))
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        let slot = self.slots.get(usize::from(key.index()?))?;
        // The depth of the table that contains this directory already includes the levels below
        // this directory.
        Some(Node::Mirror(slot, 0))
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        // There are at most ten transactions, so each name is one digit.
        let start = usize::from(key.index().unwrap_or_default());
        with.call("0123456789".get(start..=start).unwrap_or_default());
    }

    fn remove(&self, _: Key) -> Result<()> {
        Err(Error::NotPermitted)
    }
}

/// The directory of one transaction.
#[derive(Clone, Copy)]
struct Slot<const VALUES: usize, const TEXT: usize> {
    set: &'static ParamSet,
    memory: &'static SlotMemory<VALUES, TEXT>,
    number: u8,
}

/// The index of the `ctl` file in the table of files. The index of every other file is the ordinal
/// of its parameter.
const CTL: u16 = u16::MAX;

/// The key of `ctl`, which has the greatest possible index. If the set's directory has 255 entries,
/// `ctl` replaces the last one.
const CTL_KEY: Key = Key::new(u8::MAX - 1, 0);

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    /// Calls `with` in a critical section.
    fn with_transaction<R>(&self, with: impl FnOnce(&Transaction<VALUES, TEXT>) -> R) -> R {
        critical_section::with(|cs| with(self.memory.borrow(cs)))
    }

    /// Returns a copy of the staged value of the parameter with this address. The copy can be passed
    /// to code that must not run in a critical section, such as a check function.
    #[inline(never)]
    fn staged(&self, address: usize) -> Option<StagedValue<TEXT>> {
        self.with_transaction(|transaction| transaction.find(address).cloned())
    }

    /// Begins a transaction for `client`.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if a client already holds the transaction. The message names that
    /// client.
    fn begin(&self, client: Client) -> Result<()> {
        let holder = self.with_transaction(|transaction| {
            let holder = transaction.holder();
            if holder.is_none() {
                transaction.restart(Some(client));
            }
            holder
        });
        if holder.is_some() { Err(self.refuse(holder, None)) } else { Ok(()) }
    }

    /// Returns the error for a request to a transaction that `holder` began. If `client` is
    /// `holder`, the error states that the transaction has no room for another value.
    #[cold]
    fn refuse(&self, holder: Option<Client>, client: Option<Client>) -> Error {
        let number = Decimal::from(self.number);
        match holder {
            None => Error::NotPermitted
                .with_message(format_args!("open ctl first, which begins transaction {number}")),
            _ if holder == client => {
                let (values, bytes) = (Decimal::from(VALUES), Decimal::from(TEXT));
                Error::NoSpace.with_message(format_args!(
                    "a transaction has room for {values} values of {bytes} bytes"
                ))
            }
            Some(holder) => {
                let name = self.set.client_name(holder);
                Error::Busy.with_message(format_args!("{name} holds transaction {number}"))
            }
        }
    }

    /// Discards all staged values, and ends the transaction if `ends` is `true`.
    #[inline(never)]
    fn discard(&self, ends: bool) {
        self.with_transaction(|transaction| {
            let holder = if ends { None } else { transaction.holder() };
            transaction.restart(holder);
        });
    }

    /// Records the result of a request from `client`. If the result is an error, a read of `ctl`
    /// returns its message.
    fn record(&self, client: Client, result: Result<()>) -> Result<()> {
        self.with_transaction(|transaction| transaction.record(client, &result));
        result
    }
}

/// The last entry is `ctl`. The others are the entries in the set's directory, with the same keys.
impl<const VALUES: usize, const TEXT: usize> EntryTable for Slot<VALUES, TEXT> {
    fn find(&self, name: &[u8]) -> Option<Key> {
        if name == b"ctl" { Some(CTL_KEY) } else { self.set.dir().find(name) }
    }

    fn next(&self, from: u8) -> Option<Key> {
        self.set.dir().next(from).or_else(|| (from < u8::MAX).then_some(CTL_KEY))
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        if key == CTL_KEY { Some(Node::Indexed(self, CTL)) } else { self.set.dir().node(key) }
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        if key == CTL_KEY { with.call("ctl") } else { self.set.dir().name(key, with) }
    }

    fn remove(&self, _: Key) -> Result<()> {
        Err(Error::NotPermitted)
    }
}

impl<const VALUES: usize, const TEXT: usize> FileTable for Slot<VALUES, TEXT> {
    fn with_file(&self, index: u16, with: &mut WithFile<'_>) {
        if index == CTL {
            return with.call(self);
        }
        // The error stops the visit at the parameter. `ParamSet::with_parameter` would wrap this
        // closure in another one.
        let _ = self.set.visit(|ordinal, _, parameter| {
            if ordinal != index {
                return Ok(());
            }
            with.call(&ParamFile::staged(parameter, self));
            Err(fmt::Error)
        });
    }
}

impl<const VALUES: usize, const TEXT: usize> Mirror for Slot<VALUES, TEXT> {
    fn show(&'static self, node: Node) -> Option<Node> {
        match node {
            Node::Dir(dir) => has_parameters(dir).then_some(node),
            Node::Table(dir, _) => has_parameters(dir).then_some(node),
            Node::DynamicDir(_) | Node::Mirror(..) => None,
            Node::Indexed(_, CTL) => Some(node),
            Node::File(_) | Node::Indexed(..) => {
                let address = parameter_address(node)?;
                let mut shown = None;
                self.set.with_address(address, |ordinal, _| {
                    shown = Some(Node::Indexed(self, ordinal));
                });
                shown
            }
        }
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("a transaction: ctl and the staged parameters")
    }
}

/// Returns the address of the parameter that a file shows and sets.
fn parameter_address(node: Node) -> Option<usize> {
    let mut address = None;
    node.with_parameter(&mut |parameter: &dyn crate::params::Parameter| {
        address = Some(parameter.address())
    });
    address
}

fn has_parameters(dir: &'static (dyn EntryTable + Sync)) -> bool {
    // The error stops the visit at the first parameter.
    ParamSet::new(dir).visit(|_, _, _| Err(fmt::Error)).is_err()
}

#[cfg(test)]
mod tests;
