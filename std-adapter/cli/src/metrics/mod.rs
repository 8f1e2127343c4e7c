//! Prometheus metrics: `GET /metrics`.
//!
//! ```text
//! Stats, DbCounters, PushSummary, LogCounters -> collect -> registry -> text format
//! ```
//!
//! The counters of the server and the database are read on each scrape.

mod collect;
mod registry;

pub(crate) use self::registry::{Counters, Metrics, PushSummary};
