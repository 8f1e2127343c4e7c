//! Tests that structs of parameters are read and written as a whole, and that check functions
//! receive the final values.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A failure is a failed test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use datakit_core::files::{Fixed, Flags, Line, Micros, Millis, Params, ParamsDir, fields};
use datakit_core::params::visit_parameters;
use datakit_core::vfs::{Dir, Name, OpenMode, Result, StaticTree, Vfs};
use embassy_futures::block_on;
use embassy_futures::join::join;

#[derive(Params, Debug, Clone, PartialEq)]
struct Settings {
    limits: Limits,
    line: Line<16>,
    #[param(line)]
    weights: [i32; 4],
    probes: [Limits; 2],
}

#[derive(Params, Debug, Clone, PartialEq)]
#[params(check = in_order)]
struct Limits {
    #[param(default = -1, range = -100..=100)]
    low: i32,
    #[param(default = 1.5)]
    high: Fixed<1>,
}

fn in_order(limits: &Limits) -> core::result::Result<(), &'static str> {
    if limits.low * 10 < limits.high.0 { Ok(()) } else { Err("`low` must be below `high`") }
}

fn settings(number: i32) -> Settings {
    let limits = Limits { low: number, high: Fixed(number * 10 + 1) };
    Settings {
        line: Line::new(&number.to_string()),
        weights: [number; 4],
        probes: [limits.clone(), limits.clone()],
        limits,
    }
}

fn write(root: &'static Dir, path: &str, text: &str) -> Result<()> {
    let tree = StaticTree::<1, 64>::new(root);
    block_on(async {
        let mut inode = tree.root();
        for name in path.split('/') {
            inode = tree.lookup(&inode, Name::new(name.as_bytes())?).await?;
        }
        let open = tree.open(&inode, OpenMode::READ_WRITE).await?;
        tree.write(&open, 0, text.as_bytes()).await?;
        tree.flush(&open).await
    })
}

#[test]
fn struct_is_never_read_half_written() {
    static SETTINGS: SettingsParams = SettingsParams::new();
    static DONE: AtomicBool = AtomicBool::new(false);
    SETTINGS.store(&settings(0));
    thread::scope(|scope| {
        for start in [1, 2] {
            scope.spawn(move || {
                for number in 0..5_000 {
                    SETTINGS.store(&settings(number * 2 + start));
                }
                DONE.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while !DONE.load(Ordering::Relaxed) {
                let loaded = SETTINGS.load();
                assert_eq!(loaded, settings(loaded.limits.low));
            }
        });
        scope.spawn(|| {
            while !DONE.load(Ordering::Relaxed) {
                let weights = SETTINGS.weights.get();
                assert!(weights.iter().all(|weight| *weight == weights[0]), "{weights:?}");
            }
        });
    });
}

#[test]
fn store_counts_only_the_fields_that_change() {
    let params = SettingsParams::new();
    let mut values = params.load();
    assert_eq!(values.limits, Limits { low: -1, high: Fixed(15) });
    params.store(&values);
    assert_eq!(params.version(), 0);
    values.probes[1].high = Fixed(20);
    values.weights[2] = 5;
    params.store(&values);
    assert_eq!((params.version(), params.load()), (2, values));
    assert_eq!((params.probes[1].high.version(), params.probes[0].version()), (1, 0));
    assert_eq!(params.weights.get(), [0, 0, 5, 0]);
}

#[test]
fn change_of_any_field_wakes_the_program() {
    let params = SettingsParams::new();
    let seen = params.version();
    let change = async { params.probes[1].low.set(-7) };
    let (version, ()) = block_on(join(params.changed(seen), change));
    assert_eq!(version, seen + 1);
}

static SETTINGS: SettingsParams = SettingsParams::new();
static PARAMS: ParamsDir<SettingsParams> = ParamsDir::new(&[], &SETTINGS);
static ROOT: Dir = Dir::new(&[PARAMS.entry("params")]);

#[test]
fn check_of_a_struct_sees_all_its_values() {
    let refused = |path, text| write(&ROOT, path, text).unwrap_err().to_string();
    assert_eq!(refused("params/limits/low", "2"), "`low` must be below `high`");
    assert_eq!(refused("params/limits/high", "-1"), "`low` must be below `high`");
    write(&ROOT, "params/limits/high", "2.1").unwrap();
    write(&ROOT, "params/limits/low", "2").unwrap();
    // The elements of an array of structs are independent.
    assert_eq!(refused("params/probes/1/low", "2"), "`low` must be below `high`");
    assert_eq!(SETTINGS.probes[1].load(), Limits { low: -1, high: Fixed(15) });
    assert_eq!(SETTINGS.limits.load(), Limits { low: 2, high: Fixed(21) });
    assert_eq!(
        refused("params/limits/low", "101"),
        "\"101\" is not a whole number from -100 to 100"
    );
}

#[test]
fn struct_stands_beside_other_files() {
    use datakit_core::files::{Doc, Help, params};
    use datakit_core::vfs::{dir, file};

    static SETTINGS: SettingsParams = SettingsParams::new();
    static BELOW: Dir = Dir::new(&[file("doc", &Doc::new("text"))]);
    static PARAMS: ParamsDir<SettingsParams> =
        ParamsDir::new(&[file("help", &Help::new(&PARAMS)), dir("below", &BELOW)], &SETTINGS);
    static ROOT: Dir =
        Dir::new(const { &[PARAMS.entry("all"), params("limits", &SETTINGS.limits)] });
    write(&ROOT, "all/weights", "1 2 3 4").unwrap();
    write(&ROOT, "limits/low", "0").unwrap();
    assert_eq!((SETTINGS.weights.get(), SETTINGS.limits.low.get()), ([1, 2, 3, 4], 0));
    let mut paths = Vec::new();
    visit_parameters(&PARAMS, |path, _| {
        paths.push(path.to_string());
        Ok(())
    })
    .unwrap();
    let expected = "limits/low limits/high line weights probes/0/low probes/0/high probes/1/low \
                    probes/1/high";
    assert_eq!(paths.join(" "), expected);
    let mut names = Vec::new();
    datakit_core::vfs::visit_files(&PARAMS, |path, _| {
        names.push(path.to_string());
        Ok(())
    })
    .unwrap();
    assert_eq!(names[..3], ["help", "below/doc", "limits/low"]);
    assert_eq!(names.len(), 10);
}

#[test]
fn expressions_of_the_program_are_constants() {
    const MAX: u32 = 500;
    #[derive(Params)]
    struct Timing {
        #[param(default = Millis(250), range = Millis(10)..=Millis(MAX))]
        wait: Millis,
        #[param(default = MAX / 2, range = ..=MAX)]
        count: u32,
        #[param(default = Some("20 ms"), range = "10 ms"..="1 s")]
        pause: Option<Millis>,
        r#type: bool,
    }
    let params = TimingParams::new();
    let Timing { wait, count, pause, r#type } = params.load();
    assert_eq!((wait, count, pause, r#type), (Millis(250), 250, Some(Millis(20)), false));
    assert_eq!(Duration::from(wait), Duration::from_millis(250));
    assert_eq!(TimingParams::DEPTH, 1);
    let names = <TimingParams as fields::Fields>::NAMES;
    assert_eq!(names, fields::Names::List(&["wait", "count", "pause", "type"]));
}

#[test]
fn range_of_a_read_only_parameter_needs_no_default() {
    const LOW: i16 = 5;
    #[derive(Params)]
    struct Status {
        #[param(range = 5..=9, flags(read_only))]
        number: u8,
        #[param(range = LOW..=9, flags(read_only))]
        named: [i16; 2],
        #[param(line, range = 0.5..=1, flags(read_only))]
        line: [Fixed<1>; 2],
    }
    static STATUS: StatusParams = StatusParams::new();
    static PARAMS: ParamsDir<StatusParams> = ParamsDir::new(&[], &STATUS);
    let mut count = 0;
    visit_parameters(&PARAMS, |path, parameter| {
        count += 1;
        assert!(!parameter.flags().contains(Flags::HAS_DEFAULT), "{path}");
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 4);
}

#[test]
fn defaults_in_the_range_are_multiples_of_the_step() {
    const TEN: u8 = 10;
    macro_rules! numbers {
        ($default:ident, $low:tt) => {
            #[derive(Params)]
            struct Numbers {
                #[param(default = $default, range = $low..=15, step = 5)]
                number: u8,
                #[param(default = TEN * 5, step = 50)]
                large: u8,
                #[param(default = -20, range = -30..=-10, step = 10)]
                negative: i8,
                #[param(line, default = [TEN, 20], range = TEN.., step = 10)]
                line: [u8; 2],
                // The number in `Fixed(15)` is 1.5.
                #[param(default = Fixed(15), range = 1..=2, step = 0.5)]
                decimal: Fixed<1>,
                #[param(default = Some(Fixed(150)), range = ..=2, step = 0.25)]
                optional: Option<Fixed<2>>,
                #[param(default = "1.5 ms", step = "0.5 ms")]
                pause: Micros,
                #[param(default = f64::MAX, range = f64::MIN..)]
                float: f64,
                #[param(default = -0.0, step = 0.1)]
                zero: f32,
            }
        };
    }
    numbers!(TEN, 5);
    let Numbers { number, large, negative, line, decimal, optional, pause, float, zero } =
        NumbersParams::new().load();
    assert_eq!((number, large, negative, line), (10, 50, -20, [10, 20]));
    assert_eq!((decimal, optional), (Fixed(15), Some(Fixed(150))));
    assert_eq!((pause, float, zero), (Micros(1_500), f64::MAX, 0.0));
}
