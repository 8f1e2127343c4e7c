//! The `tree` image with the schema of its parameters.
#![no_std]
#![no_main]

use datakit_core::params::{ParamSet, Schema};
use datakit_core::vfs::file;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("schema-id", &Schema::id(&SET)));
static SET: ParamSet = ParamSet::new(&ROOT);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
