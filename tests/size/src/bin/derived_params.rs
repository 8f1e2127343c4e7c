//! The `derived` image with 16 additional parameters.
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
    #[param(default = 1000, range = 10..=60_004, unit = "ms", doc = "one light to the next")]
    d: u32,
    #[param(default = 1000, range = 10..=60_005, unit = "ms", doc = "one light to the next")]
    e: u32,
    #[param(default = 1000, range = 10..=60_006, unit = "ms", doc = "one light to the next")]
    f: u32,
    #[param(default = 1000, range = 10..=60_007, unit = "ms", doc = "one light to the next")]
    g: u32,
    #[param(default = 1000, range = 10..=60_008, unit = "ms", doc = "one light to the next")]
    h: u32,
    #[param(default = 1000, range = 10..=60_009, unit = "ms", doc = "one light to the next")]
    i: u32,
    #[param(default = 1000, range = 10..=60_010, unit = "ms", doc = "one light to the next")]
    j: u32,
    #[param(default = 1000, range = 10..=60_011, unit = "ms", doc = "one light to the next")]
    k: u32,
    #[param(default = 1000, range = 10..=60_012, unit = "ms", doc = "one light to the next")]
    l: u32,
    #[param(default = 1000, range = 10..=60_013, unit = "ms", doc = "one light to the next")]
    m: u32,
    #[param(default = 1000, range = 10..=60_014, unit = "ms", doc = "one light to the next")]
    n: u32,
    #[param(default = 1000, range = 10..=60_015, unit = "ms", doc = "one light to the next")]
    o: u32,
    #[param(default = 1000, range = 10..=60_016, unit = "ms", doc = "one light to the next")]
    p: u32,
    #[param(default = 1000, range = 10..=60_017, unit = "ms", doc = "one light to the next")]
    q: u32,
    #[param(default = 1000, range = 10..=60_018, unit = "ms", doc = "one light to the next")]
    r: u32,
    #[param(default = 1000, range = 10..=60_019, unit = "ms", doc = "one light to the next")]
    s: u32,
}

static SETTINGS: SettingsParams = SettingsParams::new();
static ROOT: Dir = Dir::new(&[table("params", &SETTINGS, SettingsParams::DEPTH)]);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
