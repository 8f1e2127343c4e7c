//! The Prometheus text format.

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

/// Returns the metrics of a registry in version 0.0.4 of the Prometheus text format.
#[must_use]
pub fn metrics_text(registry: &Registry) -> String {
    let mut text = String::new();
    // Ignore the result, because writing to a string cannot fail.
    let _ = prometheus_text::encode(&mut text, registry);
    text
}
