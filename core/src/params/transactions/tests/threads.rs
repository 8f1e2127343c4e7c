//! Transactions on several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const PAIRS: u32 = 1000;

/// Two clients set the same two parameters. Each client sets both parameters to the same value,
/// because the rule rejects unequal values.
#[test]
fn commits_on_two_threads_are_not_mixed() {
    static LEFT: Value<u32> = Value::new(0);
    static RIGHT: Value<u32> = Value::new(0);
    fn equal(left: &u32, proposed: &Proposed<'_>) -> Checked {
        if *left == proposed.get(&RIGHT) { Ok(()) } else { Err("left must equal right") }
    }
    static SET: ParamSet = ParamSet::new(&PARAMS);
    static MEMORY: TransactionMemory<2, 2, 8> = TransactionMemory::new();
    static TRANSACTIONS: Transactions<2, 2, 8> = Transactions::new(&SET, &MEMORY);
    static PARAMS: Dir = Dir::new(&[
        table("transactions", &TRANSACTIONS, 2),
        file("left", &Param::new(&LEFT).check(equal)),
        file("right", &Param::new(&RIGHT)),
    ]);
    static DONE: AtomicBool = AtomicBool::new(false);

    let reader = thread::spawn(|| {
        let mut reads = 0u32;
        while !DONE.load(Ordering::Relaxed) {
            let (left, right) = critical_section::with(|_| (LEFT.get(), RIGHT.get()));
            assert_eq!(left, right, "a reader saw half of a transaction");
            reads += 1;
            thread::yield_now();
        }
        reads
    });
    let writers = [0, 1].map(|slot: u8| {
        thread::spawn(move || {
            let tree = Tree::new(&PARAMS);
            let client = Client(slot);
            let path = |name: &str| std::format!("transactions/{slot}/{name}");
            let ctl = open_as(&tree, client, &path("ctl")).unwrap();
            let mut committed = 0;
            for number in 0..PAIRS {
                let value = (number * 2 + u32::from(slot)).to_string();
                write(&tree, client, &path("left"), &value).unwrap();
                write(&tree, client, &path("right"), &value).unwrap();
                match command(&tree, &ctl, "commit\n") {
                    Ok(()) => committed += 1,
                    Err(error) => assert_eq!(error.errno(), 116, "{error}"),
                }
            }
            committed
        })
    });
    let committed: u32 = writers.map(|writer| writer.join().unwrap()).iter().sum();
    DONE.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    assert!(committed >= PAIRS, "{committed}");
    assert_eq!((LEFT.version(), RIGHT.version()), (committed, committed));
}

/// Each client changes one of two parameters. Only a check of the final state can detect that the
/// two changes together violate the rule.
#[test]
fn a_rule_holds_although_its_parameters_are_in_different_transactions() {
    static LOW: Value<u32> = Value::new(0);
    static HIGH: Value<u32> = Value::new(9);
    fn below(low: &u32, proposed: &Proposed<'_>) -> Checked {
        if *low < proposed.get(&HIGH) { Ok(()) } else { Err("low must be below high") }
    }
    static SET: ParamSet = ParamSet::new(&PARAMS);
    static MEMORY: TransactionMemory<2, 2, 8> = TransactionMemory::new();
    static TRANSACTIONS: Transactions<2, 2, 8> = Transactions::new(&SET, &MEMORY);
    static PARAMS: Dir = Dir::new(&[
        table("transactions", &TRANSACTIONS, 2),
        file("low", &Param::new(&LOW).check(below)),
        file("high", &Param::new(&HIGH)),
    ]);
    let writers = [("low", ["6", "0"]), ("high", ["5", "9"])].map(|(name, values)| {
        thread::spawn(move || {
            let tree = Tree::new(&PARAMS);
            let slot = usize::from(name == "high");
            let client = Client(slot as u8);
            let ctl = open_as(&tree, client, &std::format!("transactions/{slot}/ctl")).unwrap();
            for number in 0..PAIRS as usize {
                let path = std::format!("transactions/{slot}/{name}");
                write(&tree, client, &path, values[number % 2]).unwrap();
                if let Err(error) = command(&tree, &ctl, "commit\n") {
                    assert_eq!(error.errno(), 22, "{error}");
                    command(&tree, &ctl, "abort\n").unwrap();
                }
                let (low, high) = critical_section::with(|_| (LOW.get(), HIGH.get()));
                assert!(low < high, "{low} {high}");
            }
        })
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}
