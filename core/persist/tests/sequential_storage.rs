//! Tests of the store that keeps its values in a map of the `sequential-storage` crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::string::String;

use common::params::{
    COUNT, HIGH, LEVEL, LOW, NAME, SET, SET_WITHOUT_RULE, change, restore, start, turn, values,
};
use common::{Damage, Flash, Random};
use datakit_core::files::{Param, Value};
use datakit_core::params::ParamSet;
use datakit_core::vfs::{Dir, file};
use datakit_persist::{Blocking, Error, Region, Rejected, SequentialStorage, Store, Unknown};
use embassy_futures::block_on;

const BUFFER: usize = 224;

/// A flash with the default geometry of these tests.
type Pages = Flash<4, 256, 4>;

type MapStore<F> = Store<SequentialStorage<F>, BUFFER>;

fn store_for<'f, const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &'f mut Flash<PAGES, PAGE, WORD>,
    set: &'static ParamSet,
) -> MapStore<&'f mut Flash<PAGES, PAGE, WORD>> {
    let region = Region::new::<Flash<PAGES, PAGE, WORD>>(0..(PAGES * PAGE) as u32, PAGE as u32);
    Store::with_sequential_storage(flash, region, set)
}

fn store<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &mut Flash<PAGES, PAGE, WORD>,
) -> MapStore<&mut Flash<PAGES, PAGE, WORD>> {
    store_for(flash, &SET_WITHOUT_RULE)
}

fn no_rejections(rejected: &Rejected<'_>) {
    panic!("{} was refused", rejected.path);
}

/// Creates a new store on the same flash and returns the loaded values.
fn restart<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &mut Flash<PAGES, PAGE, WORD>,
) -> Result<Vec<String>, Error> {
    start();
    block_on(store(flash).load(&mut no_rejections)).map(|_| values())
}

/// Performs random saves and cuts the power once for each word that a save writes and each page
/// that it erases. Returns the numbers of saves and power cuts, or `None` if a value is lost.
fn cut_everywhere<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    saves: u32,
    damage: Damage,
    seed: u64,
) -> Option<(u32, u32)> {
    let mut random = Random(seed);
    let mut flash = Flash::<PAGES, PAGE, WORD>::new();
    flash.damage = damage;
    let (mut made, mut cuts) = (0, 0);
    while made < saves {
        let old = restart(&mut flash).ok()?;
        change(&mut random);
        let new = values();
        let before = flash.clone();
        flash.steps = 0;
        block_on(store(&mut flash).save(0..u16::MAX)).ok()?;
        made += 1;
        for steps in 0..flash.steps {
            let mut cut = before.clone();
            cut.steps_left = Some(steps);
            cut.random = Random(random.next());
            // The changed values were overwritten by the load after the previous cut.
            restore(&new);
            assert!(block_on(store(&mut cut).save(0..u16::MAX)).is_err());
            cut.steps_left = None;
            let loaded = restart(&mut cut).ok()?;
            let mut all = loaded.iter().zip(old.iter().zip(&new));
            if !all.all(|(loaded, (old, new))| loaded == old || loaded == new) {
                return None;
            }
            cuts += 1;
            // The store works after the power cut.
            if random.below(8) == 0 {
                restore(&new);
                block_on(store(&mut cut).save(0..u16::MAX)).ok()?;
                if restart(&mut cut).ok()? != new {
                    return None;
                }
            }
            // Sometimes, continue with the flash as the power cut left it.
            if steps + 1 == flash.steps && random.below(4) == 0 {
                flash = cut;
                break;
            }
        }
    }
    Some((made, cuts))
}

#[test]
fn power_cuts_leave_the_old_or_the_new_value_of_each_parameter() {
    let _turn = turn();
    let (mut saves, mut cuts) = (0, 0);
    for run in [
        cut_everywhere::<4, 256, 4>(7000, Damage::Prefix, 1),
        cut_everywhere::<3, 512, 1>(1000, Damage::Prefix, 2),
        cut_everywhere::<4, 512, 8>(1000, Damage::Prefix, 3),
        cut_everywhere::<2, 512, 2>(1000, Damage::Prefix, 4),
    ] {
        let (made, cut) = run.unwrap();
        (saves, cuts) = (saves + made, cuts + cut);
    }
    println!("{saves} saves, {cuts} power cuts");
    assert_eq!(saves, 10_000);
}

/// Cuts the power at each step of 100 saves in each of 100 sequences, and prints how many of the
/// sequences end with a value that is lost or wrong.
#[test]
#[ignore = "measures another crate"]
fn how_often_values_are_lost() {
    let _turn = turn();
    for damage in Damage::ALL {
        let lost = |seed: &u64| cut_everywhere::<4, 256, 4>(100, damage, *seed).is_none();
        println!("{damage:?}: {} of 100 sequences lose a value", (1..=100).filter(lost).count());
    }
}

#[test]
fn interrupted_erase_of_all_values_keeps_or_resets_each_parameter() {
    let _turn = turn();
    let mut random = Random(1);
    start();
    let defaults = values();
    for _ in 0..200 {
        let mut flash = Pages::new();
        for _ in 0..random.below(30) {
            change(&mut random);
            block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
        }
        let saved = restart(&mut flash).unwrap();
        flash.steps = 0;
        let before = flash.clone();
        block_on(store(&mut flash).erase()).unwrap();
        assert_eq!(restart(&mut flash).unwrap(), defaults);
        for steps in 0..flash.steps {
            let mut cut = before.clone();
            cut.steps_left = Some(steps);
            assert!(block_on(store(&mut cut).erase()).is_err());
            cut.steps_left = None;
            let loaded = restart(&mut cut).unwrap();
            for (loaded, (saved, default)) in loaded.iter().zip(saved.iter().zip(&defaults)) {
                assert!(loaded == saved || loaded == default, "{saved} {loaded}");
            }
        }
    }
}

#[test]
fn values_of_a_rule_that_a_power_cut_breaks_are_reset() {
    let _turn = turn();
    start();
    let mut flash = Pages::new();
    LOW.set(100);
    HIGH.set(200);
    block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
    LOW.set(300);
    HIGH.set(400);
    let steps_before = flash.steps;
    let mut complete = flash.clone();
    block_on(store(&mut complete).save(0..u16::MAX)).unwrap();
    let mut resets = 0;
    for steps in 0..complete.steps - steps_before {
        let mut cut = flash.clone();
        cut.steps_left = Some(steps);
        LOW.set(300);
        HIGH.set(400);
        block_on(store(&mut cut).save(0..u16::MAX)).unwrap_err();
        cut.steps_left = None;
        start();
        let mut refused = Vec::new();
        block_on(store_for(&mut cut, &SET).load(&mut |rejected| {
            refused.push(rejected.path.to_string());
        }))
        .unwrap();
        assert!(LOW.get() < HIGH.get());
        if !refused.is_empty() {
            assert_eq!((refused.concat().as_str(), LOW.get(), HIGH.get()), ("motor/low", 10, 200));
            resets += 1;
        }
    }
    assert!(resets > 0, "no power cut has separated the two values");
}

#[test]
fn unchanged_values_are_not_written() {
    let _turn = turn();
    let mut flash = Pages::new();
    start();
    COUNT.set(8);
    let mut first = store(&mut flash);
    let changed = "`count`, and `name`, which has no default";
    assert_eq!(block_on(first.save(0..u16::MAX)), Ok(2), "{changed}");
    assert_eq!(block_on(first.save(0..u16::MAX)), Ok(0));
    let steps = flash.steps;
    assert_eq!(block_on(store(&mut flash).save(0..u16::MAX)), Ok(0));
    assert_eq!(flash.steps, steps);
    // A default is stored, because the map may contain an older value.
    COUNT.set(7);
    assert_eq!(block_on(store(&mut flash).save(0..u16::MAX)), Ok(1));
    assert_eq!(block_on(store(&mut flash).save(0..u16::MAX)), Ok(0));
    COUNT.set(9);
    assert_eq!(block_on(store(&mut flash).load(&mut no_rejections)), Ok(1));
    assert_eq!(COUNT.get(), 7);
}

#[test]
fn pages_are_erased_equally_often() {
    let _turn = turn();
    let mut random = Random(5);
    let mut flash = Pages::new();
    start();
    let mut erases = 0;
    for _ in 0..3000 {
        change(&mut random);
        let saved = values();
        let mut changed = store(&mut flash);
        block_on(changed.save(0..u16::MAX)).unwrap();
        erases += changed.erases();
        assert_eq!(restart(&mut flash).unwrap(), saved);
    }
    let total: u32 = flash.erases.iter().sum();
    assert!(total > 100, "the saves have not filled the pages: {:?}", flash.erases);
    let (min, max) = (flash.erases.iter().min().unwrap(), flash.erases.iter().max().unwrap());
    assert!(max - min <= 1, "{:?}", flash.erases);
    assert_eq!(erases, total, "each store counts its own erases");
}

static OLD: Value<u32> = Value::new(0);
static PERIOD: Value<u32> = Value::new(1000);
static PERIOD_TEXT: Value<heapless::String<20>> = Value::new(heapless::String::new());

macro_rules! set {
    ($name:ident: $($file:expr),*) => {
        static $name: ParamSet = {
            static DIR: Dir = Dir::new(&[$($file),*]);
            ParamSet::new(&DIR)
        };
    };
}

set!(FIRST: file("old", &Param::new(&OLD).default(0)),
    file("period", &Param::new(&PERIOD).default(1000)));
set!(SECOND: file("level", &Param::new(&LEVEL).default(-5)),
    file("period", &Param::new(&PERIOD).range(10, 500).default(100)));
set!(OTHER_TYPE: file("period", &Param::new(&PERIOD_TEXT)));

/// Loads the values of `set` and returns the paths of the rejected values.
fn load(flash: &mut Pages, set: &'static ParamSet, unknown: Unknown) -> (u16, Vec<String>) {
    let mut rejected = Vec::new();
    let mut store = store_for(flash, set).unknown(unknown);
    let count = block_on(store.load(&mut |value| rejected.push(value.path.to_string())));
    (count.unwrap(), rejected)
}

#[test]
fn a_firmware_update_keeps_the_values_that_are_still_valid() {
    let _turn = turn();
    let mut flash = Pages::new();
    OLD.set(1);
    PERIOD.set(400);
    LEVEL.set(3);
    block_on(store_for(&mut flash, &FIRST).save(0..2)).unwrap();
    PERIOD.set(100);
    assert_eq!(load(&mut flash, &SECOND, Unknown::Keep), (1, vec![]));
    assert_eq!((PERIOD.get(), LEVEL.get()), (400, -5), "an added parameter gets its default");
    PERIOD.set(501);
    block_on(store_for(&mut flash, &FIRST).save(0..2)).unwrap();
    PERIOD.set(400);
    assert_eq!(load(&mut flash, &SECOND, Unknown::Keep), (0, vec!["period".into()]));
    assert_eq!(PERIOD.get(), 100);
    assert_eq!(load(&mut flash, &OTHER_TYPE, Unknown::Keep), (0, vec!["period".into()]));
}

#[test]
fn values_of_missing_parameters_are_kept_or_dropped() {
    let _turn = turn();
    for (unknown, kept) in [(Unknown::Keep, 5), (Unknown::Drop, 0)] {
        let mut flash = Pages::new();
        OLD.set(5);
        PERIOD.set(400);
        LEVEL.set(3);
        block_on(store_for(&mut flash, &FIRST).save(0..2)).unwrap();
        for round in 0..100 {
            let mut second = store_for(&mut flash, &SECOND).unknown(unknown);
            block_on(second.load(&mut no_rejections)).unwrap();
            LEVEL.set(round);
            assert_eq!(block_on(second.save(0..2)), Ok(1));
        }
        assert!(flash.erases.iter().all(|erases| *erases > 0));
        OLD.set(0);
        let loaded = load(&mut flash, &FIRST, Unknown::Keep).0;
        assert_eq!((loaded, OLD.get()), (1 + u16::from(kept != 0), kept), "{unknown:?}");
    }
}

#[test]
fn a_blocking_driver_can_be_used() {
    let _turn = turn();
    let mut flash = Pages::new();
    for count in [8, 9] {
        start();
        let region = Region::new::<Blocking<Pages>>(0..1024, 256);
        let mut store: MapStore<Blocking<&mut Pages>> =
            Store::with_sequential_storage(Blocking(&mut flash), region, &SET);
        block_on(store.load(&mut no_rejections)).unwrap();
        assert_eq!(COUNT.get(), if count == 8 { 7 } else { 8 });
        COUNT.set(count);
        block_on(store.save(0..1)).unwrap();
    }
}

#[test]
fn unreadable_values_are_reported_until_they_are_erased() {
    let _turn = turn();
    start();
    let mut flash = Pages::new();
    // Each page is marked as closed, which is not possible.
    flash.bytes.fill(0);
    let mut damaged = store(&mut flash);
    assert_eq!(block_on(damaged.load(&mut no_rejections)), Err(Error::Unreadable));
    assert_eq!(block_on(damaged.save(0..u16::MAX)), Err(Error::Unreadable));
    assert_eq!(Error::Unreadable.to_string(), "the stored values are damaged: erase them");
    assert_eq!(block_on(damaged.erase()), Ok(0));
    assert_eq!(damaged.erases(), 4);
    COUNT.set(8);
    assert_eq!(block_on(damaged.save(0..1)), Ok(1));
    assert_eq!(block_on(damaged.erase()), Ok(1));
    assert_eq!(damaged.erases(), 4, "the region is erased only if it is damaged");
    assert_eq!(block_on(damaged.save(0..1)), Ok(1));
    start();
    block_on(store(&mut flash).load(&mut no_rejections)).unwrap();
    assert_eq!(COUNT.get(), 8);
}

/// After some power cuts, all values can be loaded, but none can be stored.
#[test]
fn the_store_can_be_erased_after_every_power_cut() {
    let _turn = turn();
    let mut refused = 0;
    for seed in 1..=5 {
        let mut random = Random(seed);
        let mut flash = Pages::new();
        flash.damage = Damage::Suffix;
        start();
        for _ in 0..25 {
            change(&mut random);
            let new = values();
            let before = flash.clone();
            flash.steps = 0;
            block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
            for steps in 0..flash.steps {
                let mut cut = before.clone();
                cut.steps_left = Some(steps);
                cut.random = Random(random.next());
                restore(&new);
                block_on(store(&mut cut).save(0..u16::MAX)).unwrap_err();
                cut.steps_left = None;
                COUNT.set(99_998);
                let mut store = store(&mut cut);
                if block_on(store.save(0..1)).is_err() {
                    refused += 1;
                    block_on(store.erase()).unwrap();
                    assert_eq!(block_on(store.save(0..1)), Ok(1));
                }
            }
            restore(&new);
        }
    }
    assert!(refused > 0, "no power cut has damaged the map");
}

#[test]
fn a_small_buffer_does_not_prevent_an_erase() {
    let _turn = turn();
    start();
    let mut flash = Pages::new();
    LEVEL.set(123_456_789);
    LOW.set(12_345_678);
    fn small(flash: &mut Pages) -> Store<SequentialStorage<&mut Pages>, 64> {
        let region = Region::new::<Pages>(0..1024, 256);
        Store::with_sequential_storage(flash, region, &SET_WITHOUT_RULE)
    }
    for ordinals in [1..2, 4..5, 6..7] {
        assert_eq!(block_on(small(&mut flash).save(ordinals)), Ok(1));
    }
    assert_eq!(block_on(small(&mut flash).erase()), Ok(3));
    assert_eq!(block_on(small(&mut flash).load(&mut no_rejections)), Ok(0));
    // A value that an earlier firmware version with a larger buffer has stored can be erased, too.
    NAME.set("a name of 20 letters".try_into().unwrap());
    block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
    let region = Region::new::<Pages>(0..1024, 256);
    let mut tiny: Store<_, 24> = Store::with_sequential_storage(&mut flash, region, &SET);
    assert_eq!(block_on(tiny.load(&mut no_rejections)), Err(Error::Full { buffer: 24 }));
    assert_eq!(block_on(tiny.erase()), Ok(0));
    assert_eq!(block_on(tiny.load(&mut no_rejections)), Ok(0));
}

#[test]
fn random_bytes_are_not_loaded() {
    let _turn = turn();
    let mut random = Random(9);
    start();
    let defaults = values();
    let mut unreadable = 0;
    for _ in 0..2000 {
        let mut flash = Pages::new();
        flash.bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
        match restart(&mut flash) {
            Ok(loaded) => assert_eq!(loaded, defaults),
            Err(error) => {
                assert_eq!(error, Error::Unreadable);
                block_on(store(&mut flash).erase()).unwrap();
                unreadable += 1;
            }
        }
        change(&mut random);
        let saved = values();
        if block_on(store(&mut flash).save(0..u16::MAX)).is_ok() {
            assert_eq!(restart(&mut flash).unwrap(), saved);
        }
    }
    println!("{unreadable} of 2000 flashes are unreadable");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let _turn = turn();
    start();
    NAME.set("name".try_into().unwrap());
    let mut flash = Flash::<2, 64, 4>::new();
    let region = Region::new::<Flash<2, 64, 4>>(0..128, 64);
    let mut small: Store<_, 32> =
        Store::with_sequential_storage(&mut flash, region, &SET_WITHOUT_RULE);
    assert_eq!(block_on(small.save(0..u16::MAX)), Ok(1));
    COUNT.set(8);
    assert_eq!(block_on(small.save(0..1)), Err(Error::Full { buffer: 32 }));
    let mut large = store(&mut flash);
    assert_eq!(block_on(large.save(0..1)), Ok(1));
    LEVEL.set(-2_000_000_000);
    LOW.set(1_000_000_000);
    HIGH.set(2_000_000_000);
    assert_eq!(block_on(large.save(0..u16::MAX)), Err(Error::RegionFull));
    let text = Error::RegionFull.to_string();
    assert_eq!(text, "the values do not fit into the flash region");
    // The values that were stored before are still there.
    COUNT.set(0);
    NAME.set(heapless::String::new());
    restart(&mut flash).unwrap();
    assert_eq!((COUNT.get(), NAME.get().as_str()), (8, "name"));
}
