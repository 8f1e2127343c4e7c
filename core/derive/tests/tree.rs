//! Tests that derived parameters and parameters in tables produce the same tree.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A failure is a failed test.

use std::fmt::Write;
use std::ops::ControlFlow;

use datakit_core::files::{
    Choice, Fixed, Flags, Help, Ipv4, Line, Mac, Micros, Millis, Param, ParamInfo, Params,
    Proposed, Value,
};
use datakit_core::params::{Parameter, visit_parameters};
use datakit_core::vfs::{
    Dir, DirEntry, EntryTable, FileType, Name, OpenMode, PackedPath, StaticTree, Vfs, dir, file,
    table,
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
static DERIVED: Dir = Dir::new(&[
    file("help", &Help::new(&DERIVED)),
    table("params", &SETTINGS, SettingsParams::DEPTH),
]);

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
        &Param::with_info(&GAIN, ParamInfo::new().default(None).range(0.25, f32::MAX).step(25, 2)),
    ),
    file("weights", &Param::new(&WEIGHTS).default([1, 2, 3]).range(1, 9)),
    dir("levels", &LEVEL_FILES),
]);
const LEVEL: ParamInfo<u16> = ParamInfo::new().default(5).range(1, 5).check(odd);
static LEVEL_FILES: Dir = Dir::new(&[
    file("0", const { &Param::with_info(&LEVELS[0], LEVEL) }),
    file("1", const { &Param::with_info(&LEVELS[1], LEVEL) }),
]);

static ADDRESS: Value<Ipv4> = Value::new(Ipv4([10, 0, 2, 15]));
static MAC: Value<Mac> = Value::new(Mac([2, 0, 0, 0x12, 0xab, 0xff]));
static HOST: Value<Line<8>> = Value::new(Line::new("board"));
static KEY: Value<heapless::Vec<u8, 8>> = Value::new(heapless::Vec::from_array([0, 255]));
static UPTIME: Value<Micros> = Value::new(Micros(0));
const KEY_INFO: ParamInfo<heapless::Vec<u8, 8>> =
    ParamInfo::new().default(heapless::Vec::from_array([0, 255])).write_only();
static NETWORK: Dir = Dir::new(&[
    file(
        "address",
        &Param::with_info(&ADDRESS, ParamInfo::new().default(Ipv4([10, 0, 2, 15])).volatile()),
    ),
    file("mac", &Param::new(&MAC).default(Mac([2, 0, 0, 0x12, 0xab, 0xff]))),
    file("host", &Param::new(&HOST).default(Line::new("board"))),
    file("key", const { &Param::with_info(&KEY, KEY_INFO) }),
    file("uptime", &Param::new(&UPTIME).read_only()),
]);

static OFFSETS: [Value<i32>; 2] = [const { Value::new(0) }; 2];
static PROBES: Dir = Dir::new(&[dir("0", &PROBE_0), dir("1", &PROBE_1)]);
static PROBE_0: Dir = Dir::new(&[file("offset", const { &Param::new(&OFFSETS[0]).default(0) })]);
static PROBE_1: Dir = Dir::new(&[file("offset", const { &Param::new(&OFFSETS[1]).default(0) })]);

type Tree = StaticTree<2, 128>;

/// Writes the path, the attributes and the content of every file and directory.
fn show_tree(root: &'static Dir) -> String {
    let tree = Tree::new(root);
    let mut out = String::new();
    show_dir(&tree, tree.root(), "", &mut out);
    out
}

fn show_dir(tree: &Tree, inode: PackedPath, path: &str, out: &mut String) {
    let handle = block_on(tree.open(&inode, OpenMode::READ)).unwrap();
    let mut entries = Vec::new();
    let mut each = |entry: DirEntry<'_, PackedPath>| {
        let name = String::from_utf8(entry.name.to_vec()).unwrap();
        entries.push((name, (entry.inode)(), entry.id, entry.next));
        ControlFlow::Continue(())
    };
    block_on(tree.readdir(&handle, 0, &mut each)).unwrap();
    for (name, inode_of_entry, id, next) in entries {
        let found = block_on(tree.lookup(&inode, Name::new(name.as_bytes()).unwrap())).unwrap();
        assert_eq!((found, tree.parent(&found)), (inode_of_entry, inode));
        let stat = block_on(tree.stat(&found)).unwrap();
        writeln!(out, "{path}/{name} {id:?} {next} {stat:?}").unwrap();
        if id.kind == FileType::Dir {
            show_dir(tree, found, &format!("{path}/{name}"), out);
        } else {
            out.push_str(&read(tree, found));
        }
    }
}

fn read(tree: &Tree, inode: PackedPath) -> String {
    let open = block_on(tree.open(&inode, OpenMode::READ)).unwrap();
    let mut buf = [0; 4096];
    let count = block_on(tree.read(&open, 0, &mut buf)).unwrap();
    tree.close(&open);
    String::from_utf8(buf[..count].to_vec()).unwrap()
}

/// Writes all properties of every parameter.
fn show_parameters(dir: &'static dyn EntryTable) -> String {
    let mut out = String::new();
    visit_parameters(dir, |path, parameter: &dyn Parameter| {
        let (flags, unit, doc) = (parameter.flags(), parameter.unit(), parameter.doc());
        writeln!(out, "{path} {flags:?} {unit:?} {doc:?} {}", parameter.step())?;
        writeln!(out, "{} {} ", parameter.is_default(), parameter.is_json())?;
        parameter.render(&mut out)?;
        out.push(' ');
        parameter.render_default(&mut out)?;
        out.push(' ');
        parameter.schema(&mut out)?;
        out.push('\n');
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn derived_parameters_make_the_same_tree_as_tables() {
    let shown = show_tree(&DERIVED);
    assert_eq!(shown, show_tree(&TABLE));
    assert_eq!(shown.lines().filter(|line| line.starts_with('/')).count(), 24, "{shown}");
    let shown = show_parameters(&DERIVED);
    assert_eq!(shown, show_parameters(&TABLE));
    assert_eq!(shown.lines().count(), 3 * 16, "{shown}");
}

#[test]
fn help_lists_derived_parameters() {
    let tree = Tree::new(&DERIVED);
    let help =
        read(&tree, block_on(tree.lookup(&tree.root(), Name::new(b"help").unwrap())).unwrap());
    assert_eq!(
        help,
        "\
help: this list
params/blink/enabled: on or off
params/blink/period: a whole number from 10 to 60000 ms that is a multiple of 10: From one flash to the next
params/blink/duty: a multiple of 0.1 from 0.5 to 99.5 %: How much of the period the light is on
params/blink/how: one of auto slow-blink off
params/blink/first-delay: a duration such as 1.5 s or 250 ms, from 10 ms to 60 s that is a multiple of 10 ms: \
         before the first flash
params/blink/gain: none or a number from 0.25 to 3.4028235e38 that is a multiple of 0.25
params/blink/weights: 3 values separated by spaces, each a whole number from 1 to 9
params/blink/levels/0: a whole number from 1 to 5
params/blink/levels/1: a whole number from 1 to 5
params/radio/address: an IPv4 address such as 192.168.0.1
params/radio/mac: an Ethernet address such as 02:00:00:12:ab:ff
params/radio/host: a line of at most 8 bytes without control characters
params/radio/key: a byte string such as 0aff, of at most 8 bytes
params/radio/uptime: a duration such as 1.5 s, 250 ms or 10 us, from 0 s to \
         18446744073709.551615 s, read-only
params/probes/0/offset: a whole number from -2147483648 to 2147483647
params/probes/1/offset: a whole number from -2147483648 to 2147483647
"
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Choice)]
enum Speed {
    Slow,
    #[default]
    Normal,
}

#[derive(Params)]
struct Drive {
    #[param(flags(reboot))]
    speed: Speed,
}

#[test]
fn a_choice_starts_with_its_default_variant() {
    static DRIVE: DriveParams = DriveParams::new();
    assert_eq!(DRIVE.load().speed, Speed::Normal);
    static DIR: Dir = Dir::new(&[const { datakit_core::files::fields::params("drive", &DRIVE) }]);
    visit_parameters(&DIR, |path, parameter| {
        assert_eq!(path.to_string(), "drive/speed");
        assert!(parameter.is_default() && parameter.flags().contains(Flags::RESTART));
        parameter.store(b"slow");
        parameter.reset();
        Ok(())
    })
    .unwrap();
    assert_eq!(DRIVE.load().speed, Speed::Normal);
}
