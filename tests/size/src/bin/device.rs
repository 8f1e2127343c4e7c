//! A server with everything that datakit-core and datakit-persist offer for parameters, and two
//! streams. Each `without-` feature leaves one part out, so the size of a part is the difference
//! between two images.
#![no_std]
#![no_main]

#[cfg(not(feature = "without-streams"))]
use core::fmt::{self, Write};

use datakit_core::files::{Param, Value};
use datakit_core::params::{ChangeMemory, Changes, ObserverEntry, ParamSet, Replies, observe};
use datakit_core::params::{TransactionMemory, Transactions};
use datakit_core::vfs::{Dir, file};
use datakit_size::{run, server};

#[cfg(not(feature = "without-persist"))]
#[path = "../saving.rs"]
mod saving;

static A: Value<u32> = Value::new(1000);
static B: Value<u32> = Value::new(1000);
static C: Value<u32> = Value::new(1000);

static REPLIES: Replies<3> = Replies::new();
static CHANGE_MEMORY: ChangeMemory<16> = ChangeMemory::new();
static CHANGES: Changes<16> = Changes::new(&SET, &CHANGE_MEMORY);
static TRANSACTION_MEMORY: TransactionMemory<4, 16, 32> = TransactionMemory::new();
static TRANSACTIONS: Transactions<4, 16, 32> = Transactions::new(&SET, &TRANSACTION_MEMORY);
#[cfg(not(feature = "without-streams"))]
static LIVE: datakit_core::files::Live<u32> = datakit_core::files::Live::new(0);
#[cfg(not(feature = "without-streams"))]
static QUEUE: datakit_core::files::Queue<u32, 4> = datakit_core::files::Queue::new();

static ROOT: Dir = Dir::new(&[
    file("A", &Param::new(&A).range(10, 60_000).unit(&"ms").doc("one light to the next")),
    file("B", &Param::new(&B).range(10, 60_000).unit(&"ms").doc("one light to the next")),
    file("C", &Param::new(&C).range(10, 60_000).unit(&"ms").doc("one light to the next")),
    #[cfg(not(feature = "without-schema"))]
    file("schema", &datakit_core::params::Schema::new(&SET)),
    #[cfg(not(feature = "without-schema"))]
    file("schema-id", &datakit_core::params::Schema::id(&SET)),
    #[cfg(not(feature = "without-changes"))]
    file("changes", &CHANGES),
    #[cfg(not(feature = "without-ctl"))]
    file("modified", &datakit_core::params::Modified::new(&SET)),
    #[cfg(not(feature = "without-ctl"))]
    file("ctl", &datakit_core::params::Ctl::new(&SET, &REPLIES)),
    #[cfg(not(feature = "without-transactions"))]
    datakit_core::vfs::table("transactions", &TRANSACTIONS, 2),
    #[cfg(not(feature = "without-streams"))]
    file("live", &LIVE.file(line)),
    #[cfg(not(feature = "without-streams"))]
    file("queue", &QUEUE.file(line)),
]);

#[cfg(not(feature = "without-persist"))]
static SET: ParamSet = ParamSet::new(&ROOT).store(&saving::REQUESTS);
#[cfg(feature = "without-persist")]
static SET: ParamSet = ParamSet::new(&ROOT);

#[cfg(not(feature = "without-streams"))]
fn line(value: &u32, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{}", datakit_core::Decimal::from(*value))
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static REPLIES_ENTRY: ObserverEntry = ObserverEntry::new(&REPLIES);
    static CHANGES_ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
    static TRANSACTIONS_ENTRY: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
    if cfg!(not(feature = "without-ctl")) {
        observe(&REPLIES_ENTRY);
    }
    if cfg!(not(feature = "without-changes")) {
        observe(&CHANGES_ENTRY);
    }
    if cfg!(not(feature = "without-transactions")) {
        observe(&TRANSACTIONS_ENTRY);
    }
    #[cfg(not(feature = "without-streams"))]
    {
        LIVE.publish(1);
        QUEUE.publish(1);
    }
    run(|spawner, stack| {
        #[cfg(not(feature = "without-persist"))]
        saving::start(spawner, &SET);
        server::start(spawner, stack, &ROOT);
    })
}
