//! The `tree` image with the schema of its parameters.
#![no_std]
#![no_main]

use datakit_core::params::{ParamSet, Schema};
use datakit_core::vfs::{Dir, dir, file};
use datakit_size::{run, server};

datakit_size::params!(PARAMS: A B C);

static ROOT: Dir = Dir::new(&[
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)),
    dir("params", &PARAMS),
]);
static SET: ParamSet = ParamSet::new(&PARAMS);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
