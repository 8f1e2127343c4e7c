//! Tests that the check function of a struct is called for values in subdirectories.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A failure is a failed test.

use datakit_core::files::{Params, ParamsDir};
use datakit_core::params::{
    Ctl, ParamSet, Replies, TransactionMemory, Transactions, visit_parameters,
};
use datakit_core::vfs::{Dir, Name, OpenMode, Result, StaticTree, Vfs, file, table};
use embassy_futures::block_on;

#[derive(Params, Debug, Clone, PartialEq)]
#[params(check = within_budget)]
struct Power {
    #[param(default = 100)]
    budget: u32,
    motor: Motor,
    heaters: [Heater; 2],
    reserves: [u32; 2],
}

/// A struct without a check function, between two structs that have one.
#[derive(Params, Debug, Clone, PartialEq)]
struct Motor {
    #[param(default = 10)]
    idle: u32,
    start: Start,
}

#[derive(Params, Debug, Clone, PartialEq)]
#[params(check = in_order)]
struct Start {
    ramp: Ramp,
    #[param(default = 40)]
    high: u32,
}

#[derive(Params, Debug, Clone, PartialEq)]
struct Ramp {
    #[param(default = 20)]
    low: u32,
}

#[derive(Params, Debug, Clone, PartialEq)]
struct Heater {
    #[param(range = 0..=1000)]
    power: u32,
}

type Checked = core::result::Result<(), &'static str>;

fn within_budget(power: &Power) -> Checked {
    let heaters: u32 = power.heaters.iter().map(|heater| heater.power).sum();
    let reserves: u32 = power.reserves.iter().sum();
    let motor = power.motor.idle + power.motor.start.ramp.low + power.motor.start.high;
    if heaters + reserves + motor <= power.budget { Ok(()) } else { Err("over budget") }
}

fn in_order(start: &Start) -> Checked {
    if start.ramp.low < start.high { Ok(()) } else { Err("`low` must be below `high`") }
}

fn write<const OPENS: usize>(tree: &StaticTree<OPENS, 64>, path: &str, text: &str) -> Result<()> {
    block_on(async {
        let mut inode = tree.root();
        for name in path.split('/') {
            inode = tree.lookup(&inode, Name::new(name.as_bytes())?).await?;
        }
        let open = tree.open(&inode, OpenMode::READ_WRITE).await?;
        let written = match tree.write(&open, 0, text.as_bytes()).await {
            Ok(_) => tree.flush(&open).await,
            Err(error) => Err(error),
        };
        tree.close(&open);
        written
    })
}

/// Defines a tree with the parameters of `Power`. Not every test uses the whole tree.
macro_rules! tree {
    () => {
        static POWER: PowerParams = PowerParams::new();
        static REPLIES: Replies<2> = Replies::new();
        static PARAMS: ParamsDir<PowerParams> =
            ParamsDir::new(&[file("ctl", &Ctl::new(&SET, &REPLIES))], &POWER);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        #[allow(dead_code)]
        static MEMORY: TransactionMemory<1, 4, 8> = TransactionMemory::new();
        #[allow(dead_code)]
        static TRANSACTIONS: Transactions<1, 4, 8> = Transactions::new(&SET, &MEMORY);
        #[allow(dead_code)]
        static ROOT: Dir = Dir::new(&[
            PARAMS.entry("params"),
            table("transactions", &TRANSACTIONS, PowerParams::DEPTH + 1),
        ]);
    };
}

#[test]
fn a_check_sees_values_in_subdirectories() {
    tree!();
    // The rules must be found even if the first request to the tree is a write.
    let tree = StaticTree::<2, 64>::new(&ROOT);
    let refused = |path: &str, text| write(&tree, path, text).unwrap_err().to_string();
    assert_eq!(refused("params/heaters/1/power", "31"), "over budget");
    assert_eq!(refused("params/reserves/0", "31"), "over budget");
    assert_eq!(refused("params/motor/idle", "41"), "over budget");
    assert_eq!(refused("params/motor/start/high", "71"), "over budget");
    assert_eq!(refused("params/budget", "69"), "over budget");
    // If a value is in two structs that have check functions, both functions are called for it.
    assert_eq!(refused("params/motor/start/ramp/low", "40"), "`low` must be below `high`");
    write(&tree, "params/budget", "109").unwrap();
    write(&tree, "params/motor/start/high", "79").unwrap();
    assert_eq!(refused("params/motor/start/ramp/low", "21"), "over budget");
    write(&tree, "params/budget", "200").unwrap();
    write(&tree, "params/heaters/1/power", "91").unwrap();
    assert_eq!(refused("params/heaters/0/power", "1"), "over budget");
    // The program's own changes are not checked.
    POWER.motor.start.ramp.store(&Ramp { low: 500 });
    assert_eq!(refused("params/heaters/1/power", "90"), "over budget");
    assert_eq!(POWER.load().heaters, [Heater { power: 0 }, Heater { power: 91 }]);
}

#[test]
fn a_commit_checks_values_in_subdirectories() {
    tree!();
    let tree = StaticTree::<2, 64>::new(&ROOT);
    let before = POWER.load();
    block_on(async {
        let mut ctl = tree.root();
        for name in ["transactions", "0", "ctl"] {
            ctl = tree.lookup(&ctl, Name::new(name.as_bytes()).unwrap()).await.unwrap();
        }
        let ctl = tree.open(&ctl, OpenMode::READ_WRITE).await.unwrap();
        write(&tree, "transactions/0/heaters/0/power", "60").unwrap();
        write(&tree, "transactions/0/motor/start/high", "30").unwrap();
        let refused = tree.write(&ctl, 0, b"commit\n").await.unwrap_err().to_string();
        assert!(refused.ends_with(": over budget"), "{refused}");
        assert_eq!(POWER.load(), before);
        write(&tree, "transactions/0/budget", "120").unwrap();
        tree.write(&ctl, 0, b"commit\n").await.unwrap();
    });
    let after = POWER.load();
    assert_eq!((after.budget, after.heaters[0].power, after.motor.start.high), (120, 60, 30));
}

#[test]
fn a_reset_checks_values_in_subdirectories() {
    tree!();
    let tree = StaticTree::<2, 64>::new(&ROOT);
    write(&tree, "params/motor/idle", "0").unwrap();
    write(&tree, "params/heaters/0/power", "40").unwrap();
    let refused = write(&tree, "params/ctl", "reset motor").unwrap_err().to_string();
    assert!(refused.ends_with(": over budget"), "{refused}");
    assert_eq!(POWER.motor.idle.get(), 0);
    write(&tree, "params/ctl", "reset /").unwrap();
    assert_eq!((POWER.motor.idle.get(), POWER.heaters[0].power.get()), (10, 0));
}

#[test]
fn every_parameter_in_a_checked_struct_has_the_check() {
    tree!();
    POWER.budget.set(0);
    let mut count = 0;
    visit_parameters(&PARAMS, |path, parameter| {
        let checked = parameter.check_current(&datakit_core::files::Proposed::NONE);
        assert_eq!(checked.unwrap_err().to_string(), "over budget", "{path}");
        count += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 8);
}
