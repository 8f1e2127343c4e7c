//! A summary without quantiles, which the registry of the library does not have.

use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::time::Duration;

/// How many there were and how long they took together.
#[derive(Debug, Default)]
pub(crate) struct Summary(Mutex<(u64, Duration)>);

impl Summary {
    /// One more.
    pub(crate) fn observe(&self, took: Duration) {
        let (count, sum) = &mut *self.0.lock();
        *count = count.saturating_add(1);
        *sum = sum.saturating_add(took);
    }

    pub(super) fn render(&self, name: &str, help: &str, text: &mut String) -> fmt::Result {
        let (count, sum) = *self.0.lock();
        let sum = sum.as_secs_f64();
        writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} summary\n{name}_sum {sum}\n{name}_count {count}"
        )
    }
}
