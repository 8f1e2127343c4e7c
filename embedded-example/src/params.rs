//! `params/`: what can be set, and what it drives.
//!
//! Four types do for all: each further one costs 2 KiB of flash, each further parameter of a type
//! next to nothing.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use datakit_core::files::{Choice, Help, Param, Value};
use datakit_core::vfs::{Dir, dir, file};

use crate::signal::{LENGTH_MAX, Settings, Wave};

/// What `ls params` shows.
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
    file("enabled", &Param::new(&ENABLED).doc("whether the light blinks; samples go on without")),
    file(
        "period",
        &Param::new(&PERIOD).range(10, 60_000).unit("ms").doc("from one lighting to the next"),
    ),
    file(
        "duty",
        &Param::new(&DUTY).range(1, 99).unit("%").doc("how much of the period the light is on"),
    ),
]);

static SHAPE: Value<Choice> = Value::new(Choice(1));
static LENGTH: Value<u32> = Value::new(20);
static AMPLITUDE: Value<i32> = Value::new(100);
static OFFSET: Value<i32> = Value::new(0);
static SMOOTHING: Value<u32> = Value::new(0);

static WAVE: Dir = Dir::new(&[
    file(
        "shape",
        &Param::new(&SHAPE).names(&["square", "triangle", "saw"]).doc("of the sensor's signal"),
    ),
    file(
        "length",
        &Param::new(&LENGTH).range(2, LENGTH_MAX).unit("samples").doc("one cycle of the signal"),
    ),
    file(
        "amplitude",
        &Param::new(&AMPLITUDE)
            .range(0, 1_000_000)
            .doc("from the middle of the signal to its peak"),
    ),
    file(
        "offset",
        &Param::new(&OFFSET).range(-1_000_000, 1_000_000).doc("the middle of the signal"),
    ),
    file(
        "smoothing",
        &Param::new(&SMOOTHING)
            .range(0, 8)
            .doc("each sample counts for one part in 2 to the power of this"),
    ),
]);

static HIGH: Value<i32> = Value::new(90);
static LOW: Value<i32> = Value::new(-90);

static LIMITS: Dir = Dir::new(&[
    file("high", &Param::new(&HIGH).hook(above_low).doc("a sample from here on is an event")),
    file("low", &Param::new(&LOW).hook(below_high).doc("a sample up to here is an event")),
]);

static IDLE: Value<u32> = Value::new(60);
static NAGLE: Value<bool> = Value::new(false);

static NET: Dir = Dir::new(&[
    file(
        "idle",
        &Param::new(&IDLE).range(3, 3600).unit("s").doc("a client that asks and awaits nothing for so long is given up, as is one that vanished; for new connections"),
    ),
    file("nagle", &Param::new(&NAGLE).doc("gather small segments; for new connections")),
]);

fn above_low(high: i32) -> Result<(), &'static str> {
    if high > LOW.get() { Ok(()) } else { Err("the upper limit must be above the lower one") }
}

fn below_high(low: i32) -> Result<(), &'static str> {
    if low < HIGH.get() { Ok(()) } else { Err("the lower limit must be below the upper one") }
}

/// What the next step goes by.
pub fn settings() -> Settings {
    Settings {
        enabled: ENABLED.get(),
        period_ms: PERIOD.get(),
        duty: DUTY.get(),
        wave: match SHAPE.get() {
            Choice(0) => Wave::Square,
            Choice(1) => Wave::Triangle,
            Choice(_) => Wave::Saw,
        },
        length: LENGTH.get(),
        amplitude: AMPLITUDE.get(),
        offset: OFFSET.get(),
        smoothing: SMOOTHING.get(),
        high: HIGH.get(),
        low: LOW.get(),
    }
}

/// Seconds after which a connection with a silent peer is given up.
pub fn idle_seconds() -> u32 {
    IDLE.get()
}

/// Whether small segments are gathered.
pub fn nagle() -> bool {
    NAGLE.get()
}

/// Waits until a parameter is set that says when the next step is due: it must not wait for the old
/// time. May be dropped.
pub async fn retimed() {
    let mut enabled = pin!(ENABLED.changed(ENABLED.version()));
    let mut period = pin!(PERIOD.changed(PERIOD.version()));
    let mut duty = pin!(DUTY.changed(DUTY.version()));
    poll_fn(|cx| {
        let waits = enabled.as_mut().poll(cx).is_pending()
            && period.as_mut().poll(cx).is_pending()
            && duty.as_mut().poll(cx).is_pending();
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
