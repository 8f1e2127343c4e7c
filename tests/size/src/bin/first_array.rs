//! The `tree` image with one `[u32; 4]` parameter.
#![no_std]
#![no_main]

use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, [u32; 4] = [1; 4]);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
