//! Prometheus metrics: `GET /metrics`.
//!
//! ```text
//! Stats, DbCounters, PushSummary, LogCounters -> collect -> registry -> text format -> http
//! ```
//!
//! The counters of the server and the database are read on each scrape.

mod collect;
mod http;
mod registry;

pub(crate) use self::http::{Endpoint, HttpAddress};
pub(crate) use self::registry::{Counters, LogCounters, Metrics, PushSummary};
