//! Counters for log messages.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters for log messages. Clones share the counters.
#[derive(Debug, Default, Clone)]
pub struct LogCounters {
    messages: Family<[(&'static str, &'static str); 2], Counter>,
    lost: Counter,
    suppressed: Counter,
}

impl LogCounters {
    /// Registers the counters as `datakit_logs_messages`, `datakit_logs_lost` and
    /// `datakit_logs_left_out`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("datakit_logs_messages", "Messages logged", self.messages.clone());
        let help = "Lines lost because standard error was not read";
        registry.register("datakit_logs_lost", help, self.lost.clone());
        let help = "Lines suppressed because many similar lines were logged";
        registry.register("datakit_logs_left_out", help, self.suppressed.clone());
    }

    /// Counts a message with the given level and source.
    pub fn count_message(&self, level: &'static str, source: &'static str) {
        self.messages.get_or_create(&[("level", level), ("src", source)]).inc();
    }

    /// Counts a line that was lost because standard error was not read in time.
    pub fn count_lost(&self) {
        self.lost.inc();
    }

    /// Returns the number of lost lines.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Counts a line that was suppressed because too many similar lines were logged.
    pub fn count_suppressed(&self) {
        self.suppressed.inc();
    }

    /// Returns the number of suppressed lines.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.get()
    }
}
