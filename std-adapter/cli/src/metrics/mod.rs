//! The Prometheus metrics that the server returns for `GET /metrics`.
//!
//! ```text
//! Stats, DbCounters, PushSummary, LogCounters -> collect -> registry -> text format
//! ```
//!
//! Each scrape reads the counters of the server and the database.

mod collect;
mod registry;

pub(crate) use self::registry::{Counters, Metrics, PushSummary};
