//! The `tree` image with one `Option<u32>` parameter.
#![no_std]
#![no_main]

use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Option<u32> = Some(1));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
