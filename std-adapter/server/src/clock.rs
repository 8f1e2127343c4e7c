//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use datakit_core::vfs::Time;

/// The time now.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { sec: since.as_secs().cast_signed(), nsec: since.subsec_nanos() }
}
