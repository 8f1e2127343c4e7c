//! Compares this crate with `sequential-storage`: runs 100 sequences of random saves with power
//! cuts, and prints how many of the sequences end with a wrong or unreadable value.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Damage, Flash, Random};
use embassy_futures::block_on;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};

type Pages = Flash<4, 256, 4>;
type Map<'f> = MapStorage<u32, &'f mut Pages, Cache<Uncached, Uncached, Uncached, u32>>;

fn map(flash: &mut Pages) -> Map<'_> {
    MapStorage::new(flash, const { MapConfig::new(0..1024) }, Cache::new_uncached())
}

/// Performs up to 400 saves, each to one of eight keys, and cuts the power during some of the
/// saves. Returns `false` if a value cannot be read or is neither the old nor the new value.
fn survives(damage: Damage, seed: u64) -> bool {
    let mut random = Random(seed);
    let mut flash = Pages::new();
    flash.damage = damage;
    let mut known = [None; 8];
    let mut buffer = [0; 64];
    for _ in 0..400 {
        let key = random.below(8) as u32;
        let value = random.next() as u32;
        flash.steps_left = Some(random.below(40) as u32);
        // Cut the power during one third of all erases.
        flash.cuts_erase = random.below(3) == 0;
        let stored = block_on(map(&mut flash).store_item(&mut buffer, &key, &value)).is_ok();
        (flash.steps_left, flash.cuts_erase) = (None, false);
        for (index, known) in (0..).zip(&mut known) {
            let Ok(found) = block_on(map(&mut flash).fetch_item::<u32>(&mut buffer, &index)) else {
                return false;
            };
            let is_new = index == key && found == Some(value);
            let is_old = found == *known && (index != key || !stored);
            if !is_new && !is_old {
                return false;
            }
            *known = found;
        }
    }
    true
}

#[test]
#[ignore = "measures another crate"]
fn how_often_values_are_lost() {
    for damage in Damage::ALL {
        let lost = (1..=100).filter(|seed| !survives(damage, *seed)).count();
        println!("{damage:?}: {lost} of 100 sequences end with a wrong or unreadable value");
    }
}
