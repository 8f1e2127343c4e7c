//! Standard process metrics.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

/// Collects standard process metrics.
#[derive(Debug)]
pub struct ProcessCollector {
    /// The start time of the process, measured from the Unix epoch.
    started: Duration,
}

impl ProcessCollector {
    /// Creates a collector for a process that starts now.
    #[must_use]
    pub fn started_now() -> ProcessCollector {
        // Use 0 if the clock is set to a time before 1970.
        ProcessCollector {
            started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) =
            ("process_start_time_seconds", "Start of the process, in seconds since 1970.");
        let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(self.started.as_secs_f64()).encode(to)?;
        // The text format appends `_total` to the name.
        let (name, help) = ("process_cpu_seconds", "Processor time used by all threads.");
        let to = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(processor_time().as_secs_f64()).encode(to)
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}
