//! The `tree` image with one `Mac` parameter.
#![no_std]
#![no_main]

use datakit_core::files::Mac;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Mac = Mac([1; 6]));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
