//! `tree` with 16 more parameters.
#![no_std]
#![no_main]

use datakit_size::{run, seat};

datakit_size::params!(ROOT: A B C D E F G H I J K L M N O P Q R S);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| seat::start(spawner, stack, &ROOT))
}
