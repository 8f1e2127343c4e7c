//! The `tree` image with one `Millis` parameter.
#![no_std]
#![no_main]

use datakit_core::files::Millis;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Millis = Millis(1));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
