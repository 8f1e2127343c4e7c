//! The `tree` image with one `f64` parameter.
#![no_std]
#![no_main]

use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, f64 = 1.0);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
