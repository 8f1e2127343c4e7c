//! The `schema` image with the `modified` and `ctl` files.
#![no_std]
#![no_main]

use datakit_core::params::{Ctl, Modified, ObserverEntry, ParamSet, Replies, Schema, observe};
use datakit_core::vfs::file;
use datakit_size::{run, server};

static REPLIES: Replies<3> = Replies::new();
static OBSERVER: ObserverEntry = ObserverEntry::new(&REPLIES);
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)),
    file("modified", &Modified::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)));
static SET: ParamSet = ParamSet::new(&ROOT);

#[cortex_m_rt::entry]
fn main() -> ! {
    observe(&OBSERVER);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
