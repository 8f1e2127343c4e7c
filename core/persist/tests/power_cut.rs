//! Tests that cut the power at every word that a save writes and every page that it erases.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::string::String;
use std::sync::{Mutex, MutexGuard};

use common::{Damage, Flash, Random};
use datakit_core::files::{Millis, Param, Value};
use datakit_core::params::ParamSet;
use datakit_core::vfs::{Dir, dir, file};
use datakit_persist::{Region, Store};
use embassy_futures::block_on;

static COUNT: Value<u32> = Value::new(7);
static LEVEL: Value<i32> = Value::new(-5);
static ENABLED: Value<bool> = Value::new(true);
static DELAY: Value<Millis> = Value::new(Millis(1500));
static NAME: Value<heapless::String<20>> = Value::new(heapless::String::new());
static LOW: Value<u32> = Value::new(10);
static HIGH: Value<u32> = Value::new(20);

static SET: ParamSet = ParamSet::new(&ROOT);

static ROOT: Dir = Dir::new(&[
    file("count", &Param::new(&COUNT).range(0, 99_999).default(7)),
    file("level", &Param::new(&LEVEL).default(-5)),
    dir("motor", &MOTOR),
    // This parameter has no default.
    file("name", &Param::new(&NAME)),
]);

static MOTOR: Dir = Dir::new(&[
    file("enabled", &Param::new(&ENABLED).default(true)),
    file("delay", &Param::new(&DELAY).default(Millis(1500))),
    file(
        "low",
        &Param::new(&LOW).default(10).check(|low, proposed| {
            if *low < proposed.get(&HIGH) { Ok(()) } else { Err("low must be less than high") }
        }),
    ),
    file(
        "high",
        &Param::new(&HIGH).default(20).check(|high, proposed| {
            if *high > proposed.get(&LOW) { Ok(()) } else { Err("high must be greater than low") }
        }),
    ),
]);

/// The tests share the parameters, so they run one after another.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|error| error.into_inner())
}

/// Sets all parameters to the values that they have at startup.
fn start() {
    COUNT.set(7);
    LEVEL.set(-5);
    ENABLED.set(true);
    DELAY.set(Millis(1500));
    NAME.set(heapless::String::new());
    LOW.set(10);
    HIGH.set(20);
}

/// Sets some of the parameters to random values that satisfy the rule for `low` and `high`.
fn change(random: &mut Random) {
    for _ in 0..=random.below(3) {
        match random.below(6) {
            0 => COUNT.set(random.below(100_000) as u32),
            1 => LEVEL.set(random.next() as i32),
            2 => ENABLED.set(random.below(2) == 0),
            3 => DELAY.set(Millis(random.next() as u32)),
            4 => {
                let text = "a name of 20 letters".get(..random.below(21) as usize).unwrap();
                NAME.set(text.try_into().unwrap());
            }
            _ => {
                // Usually, both new values are above the old ones or both are below them.
                let low = random.below(1 << 31) as u32;
                LOW.set(low);
                HIGH.set(low + 1 + random.below(9) as u32);
            }
        }
    }
    // Sometimes, reset a parameter to its default.
    if random.below(4) == 0 {
        COUNT.set(7);
    }
}

/// Returns the values of all parameters.
fn values() -> Vec<String> {
    let mut values = Vec::new();
    SET.visit(|_, path, parameter| {
        let mut value = format!("{path} ");
        parameter.render(&mut value)?;
        values.push(value);
        Ok(())
    })
    .unwrap();
    values
}

/// The values of all parameters take up at most 220 bytes if words are at most 8 bytes long.
const BUFFER: usize = 224;

type Small<'f> = &'f mut Flash<3, 256, 4>;

fn store<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &mut Flash<PAGES, PAGE, WORD>,
) -> Store<&mut Flash<PAGES, PAGE, WORD>, BUFFER> {
    let region = Region::new::<Flash<PAGES, PAGE, WORD>>(0..(PAGES * PAGE) as u32, PAGE as u32);
    Store::new(flash, region, &SET)
}

/// Creates a new store on the same flash and returns the loaded values.
fn restart<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &mut Flash<PAGES, PAGE, WORD>,
) -> Vec<String> {
    start();
    block_on(store(flash).load(&mut |rejected| panic!("{} was refused", rejected.path))).unwrap();
    values()
}

/// Performs random saves and cuts the power once for each word that a save writes and each page
/// that it erases. Returns the numbers of saves and power cuts.
fn cut_everywhere<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    saves: u32,
    damage: Damage,
    seed: u64,
) -> (u32, u32) {
    let mut random = Random(seed);
    let mut flash = Flash::<PAGES, PAGE, WORD>::new();
    flash.damage = damage;
    let (mut made, mut cuts) = (0, 0);
    while made < saves {
        let old = restart(&mut flash);
        change(&mut random);
        // Save all parameters, those in the `motor` directory, or a single parameter. Parameters 4
        // and 5 share a rule, so they are always saved together.
        let ordinals = match random.below(4) {
            0 | 1 => 0..u16::MAX,
            2 => 2..6,
            _ => [0..1, 1..2, 2..3, 3..4, 6..7][random.below(5) as usize].clone(),
        };
        let changed = values();
        let new = (0..).zip(old.iter().zip(&changed)).map(|(ordinal, (old, changed))| {
            if ordinals.contains(&ordinal) { changed.clone() } else { old.clone() }
        });
        let new: Vec<_> = new.collect();
        let before = flash.clone();
        flash.steps = 0;
        block_on(store(&mut flash).save(ordinals.clone())).unwrap();
        made += 1;
        for steps in 0..flash.steps {
            let mut cut = before.clone();
            cut.steps_left = Some(steps);
            cut.random = Random(random.next());
            // The changed values were overwritten by the load after the previous cut.
            restore(&changed);
            assert!(block_on(store(&mut cut).save(ordinals.clone())).is_err());
            cut.steps_left = None;
            let loaded = restart(&mut cut);
            assert!(loaded == old || loaded == new, "{damage:?}\n{old:?}\n{new:?}\n{loaded:?}");
            cuts += 1;
            // The store works after the power cut.
            if random.below(8) == 0 {
                restore(&changed);
                block_on(store(&mut cut).save(ordinals.clone())).unwrap();
                assert_eq!(restart(&mut cut), new);
            }
            // Sometimes, continue with the flash as the power cut left it.
            if steps + 1 == flash.steps && random.below(4) == 0 {
                flash = cut;
                break;
            }
        }
    }
    (made, cuts)
}

/// Sets all parameters to values returned by [`values`].
fn restore(values: &[String]) {
    let mut values = values.iter();
    SET.visit(|_, _, parameter| {
        let value = values.next().unwrap().split_once(' ').unwrap().1;
        assert!(parameter.store(value.as_bytes()));
        Ok(())
    })
    .unwrap();
}

#[test]
fn power_cuts_leave_all_old_or_all_new_values() {
    let _turn = turn();
    let (mut saves, mut cuts) = (0, 0);
    for (damage, seed) in Damage::ALL.into_iter().zip(1..) {
        for (made, cut) in [
            cut_everywhere::<3, 256, 4>(1900, damage, seed),
            cut_everywhere::<2, 256, 1>(200, damage, seed + 10),
            cut_everywhere::<4, 512, 8>(200, damage, seed + 20),
            cut_everywhere::<3, 512, 2>(200, damage, seed + 30),
        ] {
            (saves, cuts) = (saves + made, cuts + cut);
        }
    }
    println!("{saves} saves, {cuts} power cuts");
    assert!(saves >= 10_000);
}

#[test]
fn interrupted_erase_of_all_values_keeps_all_or_none() {
    let _turn = turn();
    for (damage, seed) in Damage::ALL.into_iter().zip(1..) {
        let mut random = Random(seed);
        start();
        let defaults = values();
        for _ in 0..200 {
            let mut flash = Flash::<3, 256, 4>::new();
            flash.damage = damage;
            for _ in 0..random.below(30) {
                start();
                change(&mut random);
                block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
            }
            let saved = restart(&mut flash);
            flash.steps = 0;
            let before = flash.clone();
            block_on(store(&mut flash).erase()).unwrap();
            assert_eq!(restart(&mut flash), defaults);
            assert!(!contains(&flash.bytes, b"letter"), "the values are still in the flash");
            for steps in 0..flash.steps {
                let mut cut = before.clone();
                cut.steps_left = Some(steps);
                cut.random = Random(random.next());
                assert!(block_on(store(&mut cut).erase()).is_err());
                cut.steps_left = None;
                let loaded = restart(&mut cut);
                assert!(loaded == saved || loaded == defaults, "{saved:?}\n{loaded:?}");
            }
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[test]
fn pages_are_erased_equally_often() {
    let _turn = turn();
    let mut random = Random(5);
    let mut flash = Flash::<4, 256, 4>::new();
    start();
    for _ in 0..3000 {
        change(&mut random);
        let saved = values();
        block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
        assert_eq!(restart(&mut flash), saved);
    }
    let erases = flash.erases;
    let total: u32 = erases.iter().sum();
    assert!(total > 100, "the saves have not filled the pages: {erases:?}");
    assert!(erases.iter().max().unwrap() - erases.iter().min().unwrap() <= 1, "{erases:?}");
    let mut store = store(&mut flash);
    block_on(store.load(&mut |_| panic!())).unwrap();
    assert_eq!(store.erases(), total);
}

#[test]
fn unchanged_values_are_not_written() {
    let _turn = turn();
    let mut flash = Flash::<3, 256, 4>::new();
    start();
    COUNT.set(8);
    let mut small: Store<Small<'_>, BUFFER> = store(&mut flash);
    assert_eq!(
        block_on(small.save(0..u16::MAX)),
        Ok(2),
        "`count`, and `name`, which has no default"
    );
    assert_eq!(block_on(small.save(0..u16::MAX)), Ok(0));
    let steps = flash.steps;
    assert_eq!(block_on(store(&mut flash).save(0..u16::MAX)), Ok(0));
    assert_eq!(flash.steps, steps);
}

#[test]
fn random_bytes_are_not_loaded() {
    let _turn = turn();
    let mut random = Random(9);
    start();
    let defaults = values();
    for _ in 0..2000 {
        let mut flash = Flash::<3, 256, 4>::new();
        flash.bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
        assert_eq!(restart(&mut flash), defaults);
        change(&mut random);
        let saved = values();
        block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
        assert_eq!(restart(&mut flash), saved);
    }
}

#[test]
fn damaged_bytes_are_not_loaded_as_values() {
    let _turn = turn();
    let mut random = Random(11);
    for _ in 0..300 {
        let mut flash = Flash::<3, 256, 4>::new();
        start();
        // Every value that each parameter has had so far.
        let mut known: Vec<Vec<String>> = values().into_iter().map(|value| vec![value]).collect();
        for _ in 0..random.below(12) {
            change(&mut random);
            block_on(store(&mut flash).save(0..u16::MAX)).unwrap();
            known.iter_mut().zip(values()).for_each(|(known, value)| known.push(value));
        }
        for _ in 0..=random.below(4) {
            let at = random.below(3 * 256) as usize;
            flash.bytes[at] ^= 1 << random.below(8);
        }
        start();
        // The loaded values of `low` and `high` may violate the rule, because they may come from
        // different saves.
        block_on(store(&mut flash).load(&mut |_| ())).unwrap();
        for (known, value) in known.iter().zip(values()) {
            assert!(known.contains(&value), "{value}");
        }
    }
}
