//! The `schema` image with a stream of changes to all parameters.
#![no_std]
#![no_main]

use datakit_core::params::{ChangeMemory, Changes, ObserverEntry, ParamSet, Schema, observe};
use datakit_core::vfs::file;
use datakit_size::{run, server};

static MEMORY: ChangeMemory<16> = ChangeMemory::new();
static CHANGES: Changes<16> = Changes::new(&SET, &MEMORY);
static OBSERVER: ObserverEntry = ObserverEntry::new(&CHANGES);
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)),
    file("changes", &CHANGES));
static SET: ParamSet = ParamSet::new(&ROOT);

#[cortex_m_rt::entry]
fn main() -> ! {
    observe(&OBSERVER);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
