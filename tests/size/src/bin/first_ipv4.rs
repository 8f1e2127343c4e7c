//! The `tree` image with one `Ipv4` parameter.
#![no_std]
#![no_main]

use datakit_core::files::Ipv4;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Ipv4 = Ipv4([1; 4]));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
