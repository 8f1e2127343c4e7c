//! Parameters that are saved, and random changes to them.

use std::sync::{Mutex, MutexGuard};

use datakit_core::files::{Millis, Param, Value};
use datakit_core::params::ParamSet;
use datakit_core::vfs::{Dir, dir, file};

use super::Random;

pub(crate) static COUNT: Value<u32> = Value::new(7);
pub(crate) static LEVEL: Value<i32> = Value::new(-5);
pub(crate) static ENABLED: Value<bool> = Value::new(true);
pub(crate) static DELAY: Value<Millis> = Value::new(Millis(1500));
pub(crate) static NAME: Value<heapless::String<20>> = Value::new(heapless::String::new());
pub(crate) static LOW: Value<u32> = Value::new(10);
pub(crate) static HIGH: Value<u32> = Value::new(20);

/// All parameters. `low` must be less than `high`.
pub(crate) static SET: ParamSet = ParamSet::new(&ROOT);

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

/// The same parameters without the rule for `low` and `high`.
pub(crate) static SET_WITHOUT_RULE: ParamSet = {
    static ROOT: Dir = Dir::new(&[
        file("count", &Param::new(&COUNT).range(0, 99_999).default(7)),
        file("level", &Param::new(&LEVEL).default(-5)),
        dir("motor", &MOTOR),
        file("name", &Param::new(&NAME)),
    ]);
    static MOTOR: Dir = Dir::new(&[
        file("enabled", &Param::new(&ENABLED).default(true)),
        file("delay", &Param::new(&DELAY).default(Millis(1500))),
        file("low", &Param::new(&LOW).default(10)),
        file("high", &Param::new(&HIGH).default(20)),
    ]);
    ParamSet::new(&ROOT)
};

/// The tests share the parameters, so they run one after another.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|error| error.into_inner())
}

/// Sets all parameters to the values that they have at startup.
pub(crate) fn start() {
    COUNT.set(7);
    LEVEL.set(-5);
    ENABLED.set(true);
    DELAY.set(Millis(1500));
    NAME.set(heapless::String::new());
    LOW.set(10);
    HIGH.set(20);
}

/// Sets some of the parameters to random values that satisfy the rule for `low` and `high`.
pub(crate) fn change(random: &mut Random) {
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
pub(crate) fn values() -> Vec<String> {
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

/// Sets all parameters to values returned by [`values`].
pub(crate) fn restore(values: &[String]) {
    let mut values = values.iter();
    SET.visit(|_, _, parameter| {
        let value = values.next().unwrap().split_once(' ').unwrap().1;
        assert!(parameter.store(value.as_bytes()));
        Ok(())
    })
    .unwrap();
}
