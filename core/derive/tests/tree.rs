//! Derived parameters and parameters in tables make the same tree.

use std::fmt::Write;

use datakit_core::files::{
    Choice, Fixed, Help, Ipv4, Line, Mac, Micros, Millis, Param, ParamInfo, Params, Proposed, Value,
    params,
};
use datakit_core::params::{Parameter, visit_parameters};
use datakit_core::vfs::{
    Dir, FileType, Name, OpenMode, PackedPath, StaticTree, Vfs, dir, file, table,
};
use embassy_futures::block_on;

#[derive(Debug, Clone, Copy, PartialEq, Default, Choice)]
enum Mode {
    #[default]
    Auto,
    SlowBlink,
    #[choice(name = "off")]
    Disabled,
}

#[derive(Params)]
struct Settings {
    blink: Blink,
    #[params(name = "radio")]
    network: Network,
    probes: [Probe; 2],
}

#[derive(Params)]
struct Blink {
    enabled: bool,
    /// From one flash to the next.
    #[param(default = 1000, range = 10..=60_000, step = 10, unit = "ms", flags(restart))]
    period: u32,
    /// How much of the period
    /// the light is on.
    ///
    /// Not shown.
    #[param(default = 12.5, range = 0.5..=99.5, unit = "%")]
    duty: Fixed<1>,
    #[param(default = Mode::SlowBlink, name = "how")]
    mode: Mode,
    #[param(default = "1.5 s", range = "10 ms"..="1 min", step = "10 ms", doc = "before the first flash")]
    first_delay: Millis,
    #[param(range = 0.25.., step = 0.25)]
    gain: Option<f32>,
    #[param(line, default = [1, 2, 3], range = 1..=9)]
    weights: [u8; 3],
    #[param(default = 5, range = 1..=5, check = odd)]
    levels: [u16; 2],
}

#[derive(Params)]
struct Network {
    #[param(default = "10.0.2.15", flags(volatile))]
    address: Ipv4,
    #[param(default = "02:00:00:12:ab:ff")]
    mac: Mac,
    #[param(default = "board")]
    host: Line<8>,
    #[param(default = "00ff", flags(write_only))]
    key: heapless::Vec<u8, 8>,
    #[param(flags(read_only))]
    uptime: Micros,
}

#[derive(Params)]
struct Probe {
    offset: i32,
}

fn odd(level: &u16, _: &Proposed<'_>) -> Result<(), &'static str> {
    if level % 2 == 1 { Ok(()) } else { Err("odd levels only") }
}

static SETTINGS: SettingsParams = SettingsParams::new();
static DERIVED: Dir =
    Dir::new(&[file("help", &Help::new(&DERIVED)), table("params", &SETTINGS, SettingsParams::DEPTH)]);

static TABLE: Dir = Dir::new(&[file("help", &Help::new(&TABLE)), dir("params", &PARAMS)]);
static PARAMS: Dir =
    Dir::new(&[dir("blink", &BLINK), dir("radio", &NETWORK), dir("probes", &PROBES)]);

static ENABLED: Value<bool> = Value::new(false);
static PERIOD: Value<u32> = Value::new(1000);
static DUTY: Value<Fixed<1>> = Value::new(Fixed(125));
static MODE: Value<Mode> = Value::new(Mode::SlowBlink);
static FIRST_DELAY: Value<Millis> = Value::new(Millis(1500));
static GAIN: Value<Option<f32>> = Value::new(None);
static WEIGHTS: Value<[u8; 3]> = Value::new([1, 2, 3]);
static LEVELS: [Value<u16>; 2] = [const { Value::new(5) }; 2];
static BLINK: Dir = Dir::new(&[
    file("enabled", &Param::new(&ENABLED).default(false)),
    file(
        "period",
        &Param::with_info(
            &PERIOD,
            ParamInfo::new()
                .default(1000)
                .range(10, 60_000)
                .step(10, 0)
                .unit(&"ms")
                .doc("From one flash to the next")
                .needs_restart(),
        ),
    ),
    file(
        "duty",
        &Param::new(&DUTY)
            .default(Fixed(125))
            .range(Fixed(5), Fixed(995))
            .unit(&"%")
            .doc("How much of the period the light is on"),
    ),
    file("how", &Param::new(&MODE).default(Mode::SlowBlink)),
    file(
        "first-delay",
        &Param::with_info(
            &FIRST_DELAY,
            ParamInfo::new()
                .default(Millis(1500))
                .range(Millis(10), Millis(60_000))
                .step(10, 0)
                .doc("before the first flash"),
        ),
    ),
    file(
        "gain",
        &Param::with_info(
            &GAIN,
            ParamInfo::new().default(None).range(0.25, f32::MAX).step(25, 2),
        ),
    ),
    file("weights", &Param::new(&WEIGHTS).default([1, 2, 3]).range(1, 9)),
    dir("levels", &LEVEL_FILES),
]);
static LEVEL: ParamInfo<u16> = ParamInfo::new().default(5).range(1, 5).check(odd);
static LEVEL_FILES: Dir = Dir::new(const {
    &[
        file("0", &Param::with_info(&LEVELS[0], ParamInfo::new().default(5).range(1, 5).check(odd))),
        file("1", &Param::with_info(&LEVELS[1], ParamInfo::new().default(5).range(1, 5).check(odd))),
    ]
});
