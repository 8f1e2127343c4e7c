//! The `set` image, whose parameters are also saved to flash.
#![no_std]
#![no_main]

use datakit_core::params::{Ctl, ParamSet, Replies, Schema};
use datakit_core::vfs::file;
use datakit_size::{run, server};

#[path = "../saving.rs"]
mod saving;

static REPLIES: Replies<3> = Replies::new();
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)));
static SET: ParamSet = ParamSet::new(&ROOT).store(&saving::REQUESTS);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        saving::start(spawner, &SET);
        server::start(spawner, stack, &ROOT);
    })
}
