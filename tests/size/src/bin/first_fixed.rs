//! The `tree` image with one `Fixed` parameter.
#![no_std]
#![no_main]

use datakit_core::files::Fixed;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Fixed<1> = Fixed(1));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
