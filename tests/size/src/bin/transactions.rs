//! The `set` image with four transactions of at most 16 values each.
#![no_std]
#![no_main]

use datakit_core::params::{
    Ctl, ObserverEntry, ParamSet, Replies, Schema, TransactionMemory, Transactions, observe,
};
use datakit_core::vfs::{Dir, dir, file, table};
use datakit_size::{run, server};

datakit_size::params!(PARAMS: A B C);

static REPLIES: Replies<3> = Replies::new();
static MEMORY: TransactionMemory<4, 16, 32> = TransactionMemory::new();
static TRANSACTIONS: Transactions<4, 16, 32> = Transactions::new(&SET, &MEMORY);
static OBSERVER: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
static ROOT: Dir = Dir::new(&[
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    dir("params", &PARAMS),
    table("transactions", &TRANSACTIONS, 2),
]);
static SET: ParamSet = ParamSet::new(&PARAMS);

#[cortex_m_rt::entry]
fn main() -> ! {
    observe(&OBSERVER);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
