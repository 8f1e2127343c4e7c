//! The `set` image with four transactions of at most 16 values each.
#![no_std]
#![no_main]

use datakit_core::params::{
    Ctl, ObserverEntry, ParamSet, Replies, Schema, TransactionMemory, Transactions, observe,
};
use datakit_core::vfs::{file, table};
use datakit_size::{run, server};

static REPLIES: Replies<3> = Replies::new();
static MEMORY: TransactionMemory<4, 16, 32> = TransactionMemory::new();
static TRANSACTIONS: Transactions<4, 16, 32> = Transactions::new(&SET, &MEMORY);
static OBSERVER: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    table("transactions", &TRANSACTIONS, 2));
static SET: ParamSet = ParamSet::new(&ROOT);

#[cortex_m_rt::entry]
fn main() -> ! {
    observe(&OBSERVER);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
