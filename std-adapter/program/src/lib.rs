#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod counters;
mod http;
mod log;
mod process;
mod signals;
mod text_format;

pub use counters::LogCounters;
pub use http::{Endpoint, HttpAddress, InvalidAddress};
pub use log::{APP, LogArgs, Source, flush};
pub use process::ProcessCollector;
pub use signals::end as end_signal;
pub use text_format::metrics_text;
