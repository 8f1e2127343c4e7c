//! The history of a target.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::response::Response;
use datakit_client::db::{Error, Result};
use datakit_github::Hash;

use super::page;
use crate::Target;
use crate::state::JobStatus;
use crate::web::html::escape;
use crate::web::model::{Badge, Moment, kind_name, short_hash, short_name};
use crate::web::store::HistoryEntry;
use crate::web::visit::Visit;
use crate::web::{WebState, time, urls};

/// The number of commits on a page.
const COMMITS: usize = 100;

/// The number of runs in a test's chart.
const BARS: usize = 40;

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    visit: Visit,
    kind: &'static str,
    repo: String,
    name: String,
    url: String,
    tests: Vec<TestRow>,
    entries: Vec<EntryRow>,
    older: Option<String>,
    is_first: bool,
}

struct EntryRow {
    url: String,
    time: Option<Moment>,
    message: String,
    source: String,
    jobs: Vec<(String, Badge)>,
}

/// The runs of a test.
struct TestRow {
    test: String,
    runs: usize,
    failed: usize,
    flaky: usize,
    commits: usize,
    median: String,
    longest: String,
    bars: String,
}

/// Shows the history of a target, starting at the newest commit or at the commit `from`.
pub(in crate::web) async fn list(
    visit: Visit,
    state: &WebState,
    target: &Target,
    from: Option<&str>,
) -> Result<Response> {
    let part = state.0.store.history(target, from, COMMITS).await?;
    if part.entries.is_empty() {
        return Err(Error::NotFound);
    }
    let url = urls::target(target);
    let runs = runs(&part.entries);
    Ok(page(&HistoryPage {
        visit,
        kind: kind_name(target),
        repo: target.repo().to_string(),
        name: short_name(target),
        tests: runs.iter().map(|(test, runs)| TestRow::new(test, runs)).collect(),
        entries: part.entries.iter().map(|entry| EntryRow::new(&url, entry)).collect(),
        older: part.older.map(|older| format!("{url}?history=&from={older}")),
        is_first: from.is_none(),
        url,
    }))
}

impl EntryRow {
    fn new(url: &str, entry: &HistoryEntry) -> EntryRow {
        let jobs = entry.record.jobs.iter();
        EntryRow {
            url: format!("{url}?history={}", entry.id),
            time: entry.time.map(Moment::new),
            message: entry.message.clone(),
            source: entry
                .record
                .source
                .map(|hash| short_hash(&hash.to_string()))
                .unwrap_or_default(),
            jobs: jobs.map(|(test, job)| (test.clone(), Badge::of(job.status))).collect(),
        }
    }
}

/// A finished run of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TestRun {
    source: Option<Hash>,
    failed: bool,
    /// The time between the commit in which the test became pending and the commit with the result.
    duration: Option<Duration>,
}

/// Finds the runs of each test in part of a history. The commits of a history are sorted from
/// newest to oldest, but the runs are in chronological order.
fn runs(entries: &[HistoryEntry]) -> BTreeMap<String, Vec<TestRun>> {
    let mut runs: BTreeMap<String, Vec<TestRun>> = BTreeMap::new();
    // The state of each test: the source commit, the status, and the start of the pending run.
    let mut last: BTreeMap<&str, (Option<Hash>, JobStatus, Option<SystemTime>)> = BTreeMap::new();
    for entry in entries.iter().rev() {
        let source = entry.record.source;
        for (test, job) in &entry.record.jobs {
            let before = last.get(test.as_str()).copied().filter(|before| before.0 == source);
            let is_new = before.is_none_or(|before| before.1 != job.status);
            let began = before.and_then(|before| before.2);
            if job.status == JobStatus::Pending {
                let began = began.filter(|_| !is_new).or(entry.time);
                last.insert(test, (source, job.status, began));
                continue;
            }
            if is_new {
                let duration =
                    began.zip(entry.time).and_then(|(from, to)| to.duration_since(from).ok());
                let failed = job.status == JobStatus::Failure;
                runs.entry(test.clone()).or_default().push(TestRun { source, failed, duration });
            }
            last.insert(test, (source, job.status, None));
        }
    }
    runs
}

impl TestRow {
    fn new(test: &str, runs: &[TestRun]) -> TestRow {
        let of = |failed: bool| -> BTreeSet<Option<Hash>> {
            runs.iter().filter(|run| run.failed == failed).map(|run| run.source).collect()
        };
        let (failed, passed) = (of(true), of(false));
        let mut durations: Vec<Duration> = runs.iter().filter_map(|run| run.duration).collect();
        durations.sort_unstable();
        let show = |duration: Option<&Duration>| {
            duration.map_or("\u{2013}".to_owned(), |duration| time::duration(*duration))
        };
        TestRow {
            test: test.to_owned(),
            runs: runs.len(),
            failed: runs.iter().filter(|run| run.failed).count(),
            flaky: failed.intersection(&passed).count(),
            commits: failed.union(&passed).count(),
            median: show(durations.get(durations.len() / 2)),
            longest: show(durations.last()),
            bars: bars(test, runs),
        }
    }
}

/// Draws a chart of the durations and results of the latest runs.
fn bars(test: &str, runs: &[TestRun]) -> String {
    let shown = runs.get(runs.len().saturating_sub(BARS)..).unwrap_or_default();
    let longest = shown.iter().filter_map(|run| run.duration).max().unwrap_or_default();
    let failed = shown.iter().filter(|run| run.failed).count();
    let label = format!("The last {} runs of {test}, {failed} failed", shown.len());
    let mut svg = format!(
        "<svg class=\"bars\" role=\"img\" aria-label=\"{}\" width=\"{}\" height=\"24\">",
        escape(&label),
        shown.len() * 6,
    );
    for (at, run) in shown.iter().enumerate() {
        let part =
            run.duration.unwrap_or_default().as_secs_f64() / longest.as_secs_f64().max(0.001);
        let height = 4.0 + 20.0 * part.min(1.0);
        let class = if run.failed { "failure" } else { "success" };
        svg.push_str(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"5\" height=\"{height:.1}\"/>",
            at * 6,
            24.0 - height,
        ));
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JobResult, Record};
    use crate::term::Logs;

    fn entry(at: u64, source: u8, status: JobStatus) -> HistoryEntry {
        let source = Hash::parse(format!("{source:040x}")).ok();
        let result = JobResult { status, text: String::new(), logs: Logs::None };
        let jobs = [("unit".to_owned(), result)].into();
        HistoryEntry {
            id: at.to_string(),
            time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            message: String::new(),
            record: Record { source, jobs },
        }
    }

    #[test]
    fn runs_have_durations_and_flakiness() {
        use JobStatus::{Failure, Pending, Success};
        let mut entries = vec![
            entry(10, 1, Pending),
            entry(12, 1, Pending),
            entry(20, 1, Failure),
            entry(30, 1, Pending),
            entry(35, 1, Success),
            entry(36, 1, Success),
            entry(40, 2, Success),
            entry(50, 3, Pending),
        ];
        entries.reverse();
        let runs = runs(&entries);
        let runs = runs.get("unit").unwrap();
        let seconds: Vec<_> =
            runs.iter().map(|run| (run.failed, run.duration.map(|d| d.as_secs()))).collect();
        assert_eq!(seconds, [(true, Some(10)), (false, Some(5)), (false, None)]);
        let row = TestRow::new("unit", runs);
        assert_eq!((row.runs, row.failed, row.flaky, row.commits), (3, 1, 1, 2));
        assert_eq!((row.median.as_str(), row.longest.as_str()), ("10 s", "10 s"));
        assert!(
            row.bars.contains("3 runs of unit, 1 failed") && row.bars.matches("<rect").count() == 3
        );
    }
}
