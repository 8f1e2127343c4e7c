//! The table of results. For each measurement, the table shows the median and whether it meets the
//! budget.

use std::time::Duration;

use crate::{load::Measured, workload::Operation, workload::Workload};

/// The measurements of the server and the baseline server in one round.
pub(crate) struct Pair {
    pub(crate) server: Measured,
    pub(crate) floor: Measured,
}

/// A table row.
pub(crate) struct Row {
    name: &'static str,
    value: String,
    share: String,
    latency: String,
    budget: String,
    /// Whether the measurements met all required limits.
    pub(crate) passed: bool,
}

impl Row {
    /// Summarizes `rounds`, which must not be empty.
    ///
    /// The reported share is the median of the shares in the individual rounds. In each round, the
    /// server and the baseline server run within seconds of each other, so the machine is in a
    /// similar state for both.
    pub(crate) fn new(workload: &Workload, rounds: &[Pair]) -> Self {
        let bulk = workload.operation == Operation::Bulk;
        let speed = |measured: &Measured| if bulk { measured.bytes } else { measured.rate };
        let share = median(rounds.iter().map(|pair| speed(&pair.server) / speed(&pair.floor)));
        let value = median(rounds.iter().map(|pair| speed(&pair.server)));
        let floor = median(rounds.iter().map(|pair| speed(&pair.floor)));
        let p50 = median(rounds.iter().map(|pair| micros(pair.server.p50)));
        let p99 = median(rounds.iter().map(|pair| micros(pair.server.p99)));
        let tail = workload.tail.is_none_or(|(must, _)| p99 < must * p50);
        let tail_aim = workload.tail.is_none_or(|(_, aim)| p99 < aim * p50);
        let passed = share >= workload.must && tail;
        let show = |speed: f64| {
            if bulk { format!("{:.0} MiB/s", speed / 1048576.0) } else { format!("{speed:.0}/s") }
        };
        let tails =
            workload.tail.map_or(String::new(), |(must, aim)| format!("  p99/p50 < {must}, {aim}"));
        Self {
            name: workload.name,
            value: format!("{:>12} {:>12}", show(value), show(floor)),
            share: format!("{share:.2}"),
            latency: format!("{p50:>8.1} {p99:>8.1}"),
            budget: budget(workload.must, workload.aim, passed, share >= workload.aim && tail_aim)
                + &tails,
            passed,
        }
    }

    /// Creates the row for the memory usage, in bytes, of an idle connection. Lower values are
    /// better.
    pub(crate) fn idle(server: f64, floor: f64) -> Self {
        const MUST: f64 = 4.0;
        const AIM: f64 = 2.5;
        let kib = server / 1024.0;
        Self {
            name: "idle",
            value: format!(
                "{:>12} {:>12}",
                format!("{kib:.1} KiB"),
                format!("{:.1} KiB", floor / 1024.0)
            ),
            share: "-".into(),
            latency: format!("{:>8} {:>8}", "-", "-"),
            budget: budget(MUST, AIM, kib <= MUST, kib <= AIM),
            passed: kib <= MUST,
        }
    }

    /// Creates the row for a workload that failed with an error.
    pub(crate) fn failed(name: &'static str, error: &str) -> Self {
        let none = String::new;
        Self {
            name,
            value: none(),
            share: none(),
            latency: none(),
            budget: format!("FAILED: {error}"),
            passed: false,
        }
    }

    pub(crate) fn print_head() {
        println!(
            "| workload | {:>12} {:>12} | share | {:>8} {:>8} |  must   aim",
            "server", "baseline", "p50 us", "p99 us"
        );
    }

    pub(crate) fn print(&self) {
        println!(
            "| {:<8} | {:>25} | {:>5} | {:>17} | {}",
            self.name, self.value, self.share, self.latency, self.budget
        );
    }
}

fn budget(must: f64, aim: f64, passed: bool, reached: bool) -> String {
    let verdict = if reached {
        "aim"
    } else if passed {
        "must"
    } else {
        "MISSED"
    };
    format!("{must:>5} {aim:>5}  {verdict}")
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    fn pair(server: f64, floor: f64) -> Pair {
        let measured = |rate| Measured {
            rate,
            bytes: rate,
            p50: Duration::from_micros(10),
            p99: Duration::from_micros(30),
        };
        Pair { server: measured(server), floor: measured(floor) }
    }

    #[test]
    fn median_of_even_and_odd() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 2.5);
    }

    #[test]
    fn a_slow_round_of_both_does_not_move_the_share() {
        let row = Row::new(&WORKLOADS[0], &[pair(90.0, 100.0), pair(9.0, 10.0), pair(80.0, 100.0)]);
        assert_eq!((row.share.as_str(), row.passed), ("0.90", true));
    }

    #[test]
    fn a_share_below_the_must_is_missed() {
        assert!(!Row::new(&WORKLOADS[0], &[pair(60.0, 100.0)]).passed);
    }

    #[test]
    fn less_memory_is_better() {
        assert!(Row::idle(4096.0, 0.0).passed && !Row::idle(5000.0, 0.0).passed);
    }
}
