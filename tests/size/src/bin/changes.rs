//! The `schema` image with a stream of changes to all parameters.
#![no_std]
#![no_main]

use datakit_core::params::{ChangeMemory, Changes, ObserverEntry, ParamSet, Schema, observe};
use datakit_core::vfs::{Dir, dir, file};
use datakit_size::{run, server};

datakit_size::params!(PARAMS: A B C);

static MEMORY: ChangeMemory<16> = ChangeMemory::new();
static CHANGES: Changes<16> = Changes::new(&SET, &MEMORY);
static OBSERVER: ObserverEntry = ObserverEntry::new(&CHANGES);
static ROOT: Dir = Dir::new(&[
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)),
    file("changes", &CHANGES),
    dir("params", &PARAMS),
]);
static SET: ParamSet = ParamSet::new(&PARAMS);

#[cortex_m_rt::entry]
fn main() -> ! {
    observe(&OBSERVER);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
