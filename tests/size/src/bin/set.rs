//! The `tree` image with two additional files: the parameter schema, and `ctl`, which resets and
//! saves parameters.
#![no_std]
#![no_main]

use datakit_core::params::{Ctl, ParamSet, Replies, Schema};
use datakit_core::vfs::{Dir, dir, file};
use datakit_size::{run, server};

datakit_size::params!(PARAMS: A B C);

static REPLIES: Replies<3> = Replies::new();
static ROOT: Dir = Dir::new(&[
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    dir("params", &PARAMS),
]);
static SET: ParamSet = ParamSet::new(&PARAMS);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
