//! 9P over a tree of three parameters.
#![no_std]
#![no_main]

use datakit_size::{run, seat};

datakit_size::params!(ROOT: A B C);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| seat::start(spawner, stack, &ROOT))
}
