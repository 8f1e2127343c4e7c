//! A 9P server with a tree of three derived parameters.
#![no_std]
#![no_main]

use datakit_core::files::Params;
use datakit_core::vfs::{Dir, table};
use datakit_size::{run, server};

// The ranges differ so that the compiler cannot merge them.
#[derive(Params)]
struct Settings {
    #[param(default = 1000, range = 10..=60_001, unit = "ms", doc = "one light to the next")]
    a: u32,
    #[param(default = 1000, range = 10..=60_002, unit = "ms", doc = "one light to the next")]
    b: u32,
    #[param(default = 1000, range = 10..=60_003, unit = "ms", doc = "one light to the next")]
    c: u32,
}

static SETTINGS: SettingsParams = SettingsParams::new();
static ROOT: Dir = Dir::new(&[table("params", &SETTINGS, SettingsParams::DEPTH)]);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
