//! Tests for loading values that a different firmware version stored.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::string::String;
use std::sync::{Mutex, MutexGuard};

use common::Flash;
use datakit_core::files::{Param, ParamInfo, Proposed, Value};
use datakit_core::params::ParamSet;
use datakit_core::vfs::{Dir, file};
use datakit_persist::{Error, Log, Reason, Region, Store, Unknown};
use embassy_futures::block_on;

static PERIOD: Value<u32> = Value::new(1000);
static GAIN: Value<i32> = Value::new(1);
static OLD: Value<u32> = Value::new(0);
static ADDED: Value<u32> = Value::new(5);
static TEXT: Value<heapless::String<60>> = Value::new(heapless::String::new());
static PERIOD_TEXT: Value<heapless::String<60>> = Value::new(heapless::String::new());
static SECRET: Value<u32> = Value::new(0);
static STATUS: Value<u32> = Value::new(0);
static LOW: Value<u32> = Value::new(1);
static HIGH: Value<u32> = Value::new(9);

macro_rules! set {
    ($name:ident: $($file:expr),*) => {
        static $name: ParamSet = {
            static DIR: Dir = Dir::new(&[$($file),*]);
            ParamSet::new(&DIR)
        };
    };
}

set!(FIRST: file("period", &Param::new(&PERIOD).default(1000)),
    file("gain", &Param::new(&GAIN).default(1)), file("old", &Param::new(&OLD).default(0)));
set!(SECOND: file("added", &Param::new(&ADDED).default(5)),
    file("gain", &Param::new(&GAIN).default(1)),
    file("period", &Param::new(&PERIOD).range(10, 500).default(100)));
set!(OTHER_TYPE: file("period", &Param::new(&PERIOD_TEXT)),
    file("gain", &Param::new(&GAIN).default(1)));
set!(SPECIAL: file("secret", &Param::with_info(&SECRET, ParamInfo::new().default(0).volatile())),
    file("status", &Param::new(&STATUS).default(0).read_only()), file("text", &Param::new(&TEXT)));
set!(LIMITS: file("low", &Param::new(&LOW).default(1)),
    file("high", &Param::new(&HIGH).default(9)));
set!(RULE: file("low", &Param::new(&LOW).default(1).check(below_high)),
    file("high", &Param::new(&HIGH).default(9)));

set!(NO_DEFAULT: file("low", &Param::new(&LOW).check(below_high)),
    file("high", &Param::new(&HIGH)));
set!(BAD_DEFAULT: file("low", &Param::new(&LOW).range(10, 200).default(5).check(below_high)),
    file("high", &Param::new(&HIGH)));

fn below_high(low: &u32, proposed: &Proposed<'_>) -> Result<(), &'static str> {
    if *low < proposed.get(&HIGH) { Ok(()) } else { Err("low must be less than high") }
}

type Pages = Flash<3, 128, 4>;
type Small<'f> = Store<Log<&'f mut Pages>, 96>;

fn store<'f>(flash: &'f mut Pages, set: &'static ParamSet) -> Small<'f> {
    Store::new(flash, Region::new::<Pages>(0..384, 128), set)
}

/// The tests share the parameters, so they run one after another.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|error| error.into_inner())
}

fn start() {
    PERIOD.set(1000);
    GAIN.set(1);
    OLD.set(0);
    ADDED.set(5);
    LOW.set(1);
    HIGH.set(9);
}

/// Loads all values. Returns the number of loaded values and a report for each rejected value.
fn load(store: &mut Small<'_>) -> (u16, Vec<String>) {
    let mut reports = Vec::new();
    let count = block_on(store.load(&mut |rejected| {
        let reason = match &rejected.reason {
            Reason::OtherType => "other type".into(),
            Reason::Refused(error) => error.to_string(),
        };
        let text = String::from_utf8_lossy(rejected.text);
        reports.push(format!("{} {} {text}: {reason}", rejected.ordinal, rejected.path));
    }));
    (count.unwrap(), reports)
}

#[test]
fn added_parameters_keep_the_rest() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    PERIOD.set(400);
    GAIN.set(-3);
    assert_eq!(block_on(store(&mut flash, &FIRST).save(0..3)), Ok(2));
    start();
    assert_eq!(load(&mut store(&mut flash, &SECOND)), (2, vec![]));
    assert_eq!((PERIOD.get(), GAIN.get(), ADDED.get()), (400, -3, 5));
}

#[test]
fn value_outside_the_new_range_is_replaced_by_the_default_and_reported() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    PERIOD.set(501);
    GAIN.set(-3);
    block_on(store(&mut flash, &FIRST).save(0..3)).unwrap();
    start();
    let report = "2 period 501: \"501\" is not a whole number from 10 to 500";
    assert_eq!(load(&mut store(&mut flash, &SECOND)), (1, vec![report.into()]));
    assert_eq!((PERIOD.get(), GAIN.get()), (100, -3));
}

#[test]
fn value_of_another_type_is_reported() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    PERIOD.set(501);
    GAIN.set(-3);
    block_on(store(&mut flash, &FIRST).save(0..3)).unwrap();
    let mut store = store(&mut flash, &OTHER_TYPE);
    assert_eq!(load(&mut store), (1, vec!["0 period 501: other type".into()]));
    assert_eq!(PERIOD_TEXT.get(), "");
    // The next save replaces the value.
    assert_eq!(block_on(store.save(0..2)), Ok(1));
    assert_eq!(load(&mut store), (2, vec![]));
}

#[test]
fn unchanged_default_follows_the_firmware() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    block_on(store(&mut flash, &FIRST).save(0..3)).unwrap();
    load(&mut store(&mut flash, &SECOND));
    assert_eq!(PERIOD.get(), 100);
}

#[test]
fn values_of_missing_parameters_are_kept_or_dropped() {
    for (unknown, kept) in [(Unknown::Keep, 77), (Unknown::Drop, 0)] {
        let _turn = turn();
        let mut flash = Pages::new();
        start();
        OLD.set(77);
        block_on(store(&mut flash, &FIRST).save(0..3)).unwrap();
        start();
        let mut second = store(&mut flash, &SECOND).unknown(unknown);
        load(&mut second);
        // The saves fill several blocks.
        for gain in 2..40 {
            GAIN.set(gain);
            block_on(second.save(0..3)).unwrap();
        }
        start();
        load(&mut store(&mut flash, &FIRST));
        assert_eq!((OLD.get(), GAIN.get()), (kept, 39));
    }
}

#[test]
fn values_that_break_a_rule_and_cannot_be_reset_are_reported() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    LOW.set(100);
    HIGH.set(50);
    block_on(store(&mut flash, &LIMITS).save(0..2)).unwrap();
    start();
    let report = "0 low 100: low must be less than high";
    assert_eq!(load(&mut store(&mut flash, &NO_DEFAULT)), (2, vec![report.into()]));
    assert_eq!((LOW.get(), HIGH.get()), (100, 50));
    // The default 5 is outside the range from 10 to 200.
    start();
    assert_eq!(load(&mut store(&mut flash, &BAD_DEFAULT)), (2, vec![report.into()]));
    assert_eq!((LOW.get(), HIGH.get()), (100, 50));
}

#[test]
fn values_that_break_a_rule_are_reset() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    LOW.set(100);
    HIGH.set(200);
    block_on(store(&mut flash, &LIMITS).save(0..2)).unwrap();
    start();
    // Neither value is valid in combination with the other's default.
    assert_eq!(load(&mut store(&mut flash, &RULE)), (2, vec![]));
    assert_eq!((LOW.get(), HIGH.get()), (100, 200));
    HIGH.set(50);
    block_on(store(&mut flash, &LIMITS).save(0..2)).unwrap();
    let report = "0 low 100: low must be less than high";
    assert_eq!(load(&mut store(&mut flash, &RULE)), (1, vec![report.into()]));
    assert_eq!((LOW.get(), HIGH.get()), (1, 50));
}

#[test]
fn volatile_and_read_only_parameters_are_not_stored() {
    let _turn = turn();
    let mut flash = Pages::new();
    SECRET.set(1);
    STATUS.set(2);
    TEXT.set("abc".try_into().unwrap());
    assert_eq!(block_on(store(&mut flash, &SPECIAL).save(0..3)), Ok(1));
    SECRET.set(3);
    STATUS.set(4);
    TEXT.set("def".try_into().unwrap());
    assert_eq!(load(&mut store(&mut flash, &SPECIAL)), (1, vec![]));
    assert_eq!((SECRET.get(), STATUS.get(), TEXT.get().as_str()), (3, 4, "abc"));
}

#[test]
fn one_parameter_can_be_saved() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    PERIOD.set(2000);
    GAIN.set(7);
    let mut store = store(&mut flash, &FIRST);
    assert_eq!(block_on(store.save(1..2)), Ok(1));
    assert_eq!(load(&mut store), (1, vec![]));
    assert_eq!((PERIOD.get(), GAIN.get()), (1000, 7));
}

#[test]
fn full_buffer_keeps_the_stored_values() {
    let _turn = turn();
    let mut flash = Pages::new();
    TEXT.set("short".try_into().unwrap());
    let mut store = store(&mut flash, &SPECIAL);
    block_on(store.save(0..3)).unwrap();
    TEXT.set("0123456789 0123456789 0123456789 0123456789 0123456789 0123".try_into().unwrap());
    assert_eq!(block_on(store.save(0..3)), Ok(1), "72 bytes fit next to 20");
    TEXT.set("0123456789 01".try_into().unwrap());
    let error = block_on(store.save(0..3)).unwrap_err();
    assert_eq!(error, Error::Full { buffer: 96 });
    assert_eq!(error.to_string(), "the values do not fit into 96 bytes");
    load(&mut store);
    assert_eq!(TEXT.get().len(), 59);
    assert_eq!(block_on(store.erase()), Ok(1));
    TEXT.set("0123456789 01".try_into().unwrap());
    assert_eq!(block_on(store.save(0..3)), Ok(1));
}

#[test]
fn a_smaller_buffer_does_not_load_older_values() {
    let _turn = turn();
    let mut flash = Pages::new();
    let region = Region::new::<Pages>(0..384, 128);
    for period in [400, 401] {
        PERIOD.set(period);
        GAIN.set(-3);
        OLD.set(7);
        block_on(store(&mut flash, &FIRST).save(0..3)).unwrap();
    }
    PERIOD.set(1000);
    let mut small = Store::<_, 40>::new(&mut flash, region, &FIRST);
    let full = Err(Error::Full { buffer: 40 });
    assert_eq!(block_on(small.load(&mut |_| panic!())), full);
    assert_eq!(PERIOD.get(), 1000);
    assert_eq!(block_on(small.save(0..1)), full);
    block_on(small.erase()).unwrap();
    assert_eq!(block_on(small.save(1..2)), Ok(1));
    assert_eq!(block_on(small.load(&mut |_| panic!())), Ok(1));
    assert_eq!((PERIOD.get(), GAIN.get()), (1000, -3));
}

#[test]
fn flash_errors_are_returned() {
    let _turn = turn();
    start();
    let region = Region::new::<Pages>(0..512, 128);
    let mut flash = Pages::new();
    let mut store = Store::<_, 96>::new(&mut flash, region, &FIRST);
    let error = block_on(store.load(&mut |_| ())).unwrap_err();
    assert_eq!(error.to_string(), "the flash failed", "the flash has only 384 bytes");
}
