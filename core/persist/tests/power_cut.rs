//! Tests that cut the power at every word that a save writes and every page that it erases.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::string::String;

use common::params::{COUNT, SET, change, restore, start, turn, values};
use common::{Damage, Flash, Random};
use datakit_persist::{Log, Region, Store};
use embassy_futures::block_on;

/// The values of all parameters take up at most 220 bytes if words are at most 8 bytes long.
const BUFFER: usize = 224;

type Small<'f> = Log<&'f mut Flash<3, 256, 4>>;

fn store<const PAGES: usize, const PAGE: usize, const WORD: usize>(
    flash: &mut Flash<PAGES, PAGE, WORD>,
) -> Store<Log<&mut Flash<PAGES, PAGE, WORD>>, BUFFER> {
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
