//! Targets and jobs, as shown on the pages.

use std::time::SystemTime;

use super::{WebState, time, urls};
use crate::state::{JobResult, JobStatus};
use crate::term::Logs;
use crate::{JobView, Target, TargetView};

/// A status as a CSS class, a symbol and a word. Color is never the only indication of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
}

impl Badge {
    const NONE: Badge = Badge { class: "idle", sign: "\u{2013}", word: "no tests" };

    pub(super) fn of(status: JobStatus) -> Badge {
        match status {
            JobStatus::Success => Badge { class: "success", sign: "\u{2713}", word: "passed" },
            JobStatus::Failure => Badge { class: "failure", sign: "\u{2717}", word: "failed" },
            JobStatus::Pending => Badge { class: "pending", sign: "\u{2026}", word: "pending" },
        }
    }

    /// The status of a target: failed if any job failed, otherwise pending if any job is pending.
    pub(super) fn overall(statuses: impl IntoIterator<Item = JobStatus>) -> Badge {
        overall(statuses).map_or(Badge::NONE, Badge::of)
    }
}

/// Returns the overall status of a list of jobs, or `None` if the list is empty.
pub(super) fn overall(statuses: impl IntoIterator<Item = JobStatus>) -> Option<JobStatus> {
    let rank = |status: &JobStatus| match status {
        JobStatus::Success => 0,
        JobStatus::Pending => 1,
        JobStatus::Failure => 2,
    };
    statuses.into_iter().max_by_key(rank)
}

/// A time, as shown on the pages.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) machine: String,
    pub(super) human: String,
    pub(super) ago: String,
}

impl Moment {
    pub(super) fn new(time: SystemTime) -> Moment {
        Moment {
            machine: time::machine(time),
            human: time::human(time),
            ago: time::duration(time::elapsed(time)),
        }
    }
}

/// A job.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) test: String,
    pub(super) badge: Badge,
    pub(super) text: String,
    /// The URL of the target page with this test selected.
    pub(super) url: String,
    pub(super) since: Option<Moment>,
}

impl JobRow {
    pub(super) fn new(
        page: &str,
        test: &str,
        result: &JobResult,
        since: Option<SystemTime>,
    ) -> JobRow {
        let mark = if page.contains('?') { '&' } else { '?' };
        JobRow {
            test: test.to_owned(),
            badge: Badge::of(result.status),
            text: result.text.clone(),
            url: format!("{page}{mark}test={}", urls::encode_query(test)),
            since: since.map(Moment::new),
        }
    }

    fn of(page: &str, job: &JobView) -> JobRow {
        let row = JobRow::new(page, &job.test, &job.result, Some(job.since));
        JobRow { text: job.text(), ..row }
    }
}

/// A target.
#[derive(Debug, Clone)]
pub(super) struct TargetRow {
    pub(super) repo: String,
    /// The name without the repository, for example `master` or `#7`.
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) url: String,
    pub(super) head: String,
    pub(super) head_url: String,
    pub(super) badge: Badge,
    pub(super) jobs: Vec<JobRow>,
}

impl TargetRow {
    pub(super) fn new(view: &TargetView) -> TargetRow {
        let url = urls::target(&view.target);
        TargetRow {
            repo: view.target.repo().to_string(),
            name: short_name(&view.target),
            title: view.title.clone(),
            head: short_hash(&view.head.hash.to_string()),
            head_url: urls::commit(&view.head),
            badge: Badge::overall(view.jobs.iter().map(|job| job.result.status)),
            jobs: view.jobs.iter().map(|job| JobRow::of(&url, job)).collect(),
            url,
        }
    }
}

/// Returns the name of a target without its repository.
pub(super) fn short_name(target: &Target) -> String {
    match target {
        Target::Pr(id) => format!("#{}", id.number),
        Target::Ref(id) => String::from_utf8_lossy(id.name.short()).into_owned(),
    }
}

/// Returns `pull request`, `branch` or `tag`.
pub(super) fn kind_name(target: &Target) -> &'static str {
    match target {
        Target::Pr(_) => "pull request",
        Target::Ref(id) if id.name.kind() == datakit_github::RefKind::Tags => "tag",
        Target::Ref(_) => "branch",
    }
}

pub(super) fn short_hash(hash: &str) -> String {
    hash.chars().take(10).collect()
}

/// A log of a job.
#[derive(Debug, Clone)]
pub(super) struct LogRow {
    pub(super) title: String,
    pub(super) branch: String,
    /// The commit of a complete log.
    pub(super) commit: Option<String>,
    pub(super) badge: Badge,
    pub(super) url: String,
    pub(super) rebuild_url: String,
    pub(super) cancel_url: String,
    pub(super) duration: String,
    pub(super) selected: bool,
}

impl LogRow {
    /// Returns the logs of a job and reads their durations.
    pub(super) async fn all(state: &WebState, logs: &Logs) -> Vec<LogRow> {
        let mut rows = Vec::new();
        // A pipeline with thousands of logs would otherwise need thousands of reads.
        for log in logs.leaves().into_iter().take(LOGS_MAX) {
            rows.extend(LogRow::new(state, log).await);
        }
        rows
    }

    async fn new(state: &WebState, log: &Logs) -> Option<LogRow> {
        let row = |title: &str, branch: &str, status: JobStatus, url: String| LogRow {
            title: title.to_owned(),
            branch: branch.to_owned(),
            commit: None,
            badge: Badge::of(status),
            url,
            rebuild_url: urls::rebuild(branch),
            cancel_url: urls::cancel(branch),
            duration: String::new(),
            selected: false,
        };
        match log {
            Logs::Live { branch } => {
                let live = state.0.tails.live(branch);
                let start = live.map(|log| log.read_at(0, 1024)).unwrap_or_default();
                let title = title(&start).unwrap_or_else(|| branch.to_string());
                let mut row = row(&title, branch, JobStatus::Pending, urls::live_log(branch));
                let started = super::log::saved::first_time(&start);
                row.duration =
                    started.map(|time| time::duration(time::elapsed(time))).unwrap_or_default();
                Some(row)
            }
            Logs::Saved(log) => {
                let status = if log.failed { JobStatus::Failure } else { JobStatus::Success };
                let url = urls::saved_log(&log.branch, &log.commit);
                let mut row = row(&log.title, &log.branch, status, url);
                let duration = state.0.saved.duration(&log.commit).await;
                row.duration = duration.map(time::duration).unwrap_or_default();
                row.commit = Some(log.commit.clone());
                Some(row)
            }
            _ => None,
        }
    }
}

/// The maximum number of logs to list for a job.
const LOGS_MAX: usize = 200;

/// Returns the title from the first line of a log, `=== TITLE`.
pub(super) fn title(start: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(start);
    Some(text.lines().next()?.strip_prefix("=== ")?.to_owned())
}

/// Returns the position of the log to show: the first failed log, otherwise the first pending one,
/// otherwise the first successful one.
pub(super) fn default_log(rows: &[LogRow]) -> Option<usize> {
    let first = |status| rows.iter().position(|row| row.badge == Badge::of(status));
    first(JobStatus::Failure)
        .or_else(|| first(JobStatus::Pending))
        .or_else(|| first(JobStatus::Success))
}
