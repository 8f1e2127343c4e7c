//! The `tree` image with one `Vec<u8, 16>` parameter.
#![no_std]
#![no_main]

use datakit_size::{run, server};
use heapless::Vec;

datakit_size::params!(ROOT: A B C, Vec<u8, 16> = Vec::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
