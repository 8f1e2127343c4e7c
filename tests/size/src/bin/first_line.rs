//! The `tree` image with one `Line` parameter.
#![no_std]
#![no_main]

use datakit_core::files::Line;
use datakit_size::{run, server};

datakit_size::params!(ROOT: A B C, Line<16> = Line::new("a"));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
