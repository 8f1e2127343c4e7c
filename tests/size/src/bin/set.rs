//! The `tree` image with two additional files: the parameter schema, and `ctl`, which resets and
//! saves parameters.
#![no_std]
#![no_main]

use datakit_core::params::{Ctl, ParamSet, Replies, Schema};
use datakit_core::vfs::file;
use datakit_size::{run, server};

static REPLIES: Replies<3> = Replies::new();
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)));
static SET: ParamSet = ParamSet::new(&ROOT);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
