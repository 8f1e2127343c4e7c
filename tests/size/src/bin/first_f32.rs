//! The `tree` image with one `f32` parameter.
#![no_std]
#![no_main]

use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, f32 = 1.0);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
