//! The parameters in `params/`.
//!
//! To add a parameter, define a [`Value`], add a directory entry with a [`Param`] for the value,
//! and use the value, for example in [`settings`]. The parameters use only four types, because each
//! additional type costs 2 KiB of flash. An additional parameter of one of these types costs 64
//! bytes plus the length of its strings.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use datakit_core::files::{Help, Param, Proposed, Value};
use datakit_core::vfs::{Dir, dir, file};

use crate::simulation::{LENGTH_MAX, Settings, Waveform};

/// The directory `params/`.
pub static PARAMS: Dir = Dir::new(&[
    file("help", &Help::new(&PARAMS)),
    dir("blink", &BLINK),
    dir("wave", &WAVE),
    dir("limits", &LIMITS),
    dir("net", &NET),
]);

static ENABLED: Value<bool> = Value::new(true);
static PERIOD: Value<u32> = Value::new(1000);
static DUTY: Value<u32> = Value::new(50);

static BLINK: Dir = Dir::new(&[
    file("enabled", &Param::new(&ENABLED).doc("whether the light blinks; sampling continues")),
    file(
        "period",
        &Param::new(&PERIOD).range(10, 60_000).unit(&"ms").doc("from one flash to the next"),
    ),
    file(
        "duty",
        &Param::new(&DUTY).range(1, 99).unit(&"%").doc("how much of the period the light is on"),
    ),
]);

static SHAPE: Value<Waveform> = Value::new(Waveform::Triangle);
static LENGTH: Value<u32> = Value::new(20);
static AMPLITUDE: Value<i32> = Value::new(100);
static OFFSET: Value<i32> = Value::new(0);
static SMOOTHING: Value<u32> = Value::new(0);

static WAVE: Dir = Dir::new(&[
    file("shape", &Param::new(&SHAPE).doc("shape of the signal")),
    file(
        "length",
        &Param::new(&LENGTH).range(2, LENGTH_MAX).unit(&"samples").doc("length of a cycle"),
    ),
    file(
        "amplitude",
        &Param::new(&AMPLITUDE).range(0, 1_000_000).doc("from the middle to the peak"),
    ),
    file("offset", &Param::new(&OFFSET).range(-1_000_000, 1_000_000).doc("middle of the signal")),
    file(
        "smoothing",
        &Param::new(&SMOOTHING).range(0, 8).doc("a sample has the weight 1 / 2^smoothing"),
    ),
]);

static HIGH: Value<i32> = Value::new(90);
static LOW: Value<i32> = Value::new(-90);

static LIMITS: Dir = Dir::new(&[
    file("high", &Param::new(&HIGH).check(above_low).doc("samples at or above it are events")),
    file("low", &Param::new(&LOW).check(below_high).doc("samples at or below it are events")),
]);

static IDLE: Value<u32> = Value::new(60);
static NAGLE: Value<bool> = Value::new(false);

static NET: Dir = Dir::new(&[
    file(
        "idle",
        &Param::new(&IDLE)
            .range(3, 3600)
            .unit(&"s")
            .doc("idle and vanished clients are disconnected after this time; for new connections"),
    ),
    file("nagle", &Param::new(&NAGLE).doc("coalesce small segments; for new connections")),
]);

fn above_low(high: &i32, proposed: &Proposed<'_>) -> Result<(), &'static str> {
    if *high > proposed.get(&LOW) {
        Ok(())
    } else {
        Err("the upper limit must be above the lower one")
    }
}

fn below_high(low: &i32, proposed: &Proposed<'_>) -> Result<(), &'static str> {
    if *low < proposed.get(&HIGH) {
        Ok(())
    } else {
        Err("the lower limit must be below the upper one")
    }
}

/// Returns the settings for the next step.
pub fn settings() -> Settings {
    Settings {
        enabled: ENABLED.get(),
        period_ms: PERIOD.get(),
        duty: DUTY.get(),
        waveform: SHAPE.get(),
        length: LENGTH.get(),
        amplitude: AMPLITUDE.get(),
        offset: OFFSET.get(),
        smoothing: SMOOTHING.get(),
        high: HIGH.get(),
        low: LOW.get(),
    }
}

/// Returns the number of seconds after which an idle connection is closed.
pub fn idle_seconds() -> u32 {
    IDLE.get()
}

/// Returns whether Nagle's algorithm is enabled.
pub fn nagle() -> bool {
    NAGLE.get()
}

/// Waits until a client sets a parameter that affects the time of the next step. The future can be
/// dropped at any time.
pub async fn timing_changed() {
    let mut enabled = pin!(ENABLED.changed(ENABLED.version()));
    let mut period = pin!(PERIOD.changed(PERIOD.version()));
    let mut duty = pin!(DUTY.changed(DUTY.version()));
    poll_fn(|cx| {
        let unchanged = enabled.as_mut().poll(cx).is_pending()
            && period.as_mut().poll(cx).is_pending()
            && duty.as_mut().poll(cx).is_pending();
        if unchanged { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
