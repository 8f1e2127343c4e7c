//! The `tree` image with one parameter of the `Option<u32>` type.
#![no_std]
#![no_main]

use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Option<u32> = Some(1));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
