//! The system clock.

use std::time::{SystemTime, UNIX_EPOCH};

use datakit_core::vfs::Time;

/// Returns the current time, for use as a file timestamp.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { sec: since.as_secs().cast_signed(), nsec: since.subsec_nanos() }
}
