//! The result of a job as JSON.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::term::{Evaluation, Logs, Outcome, SavedLog};

/// The result of a job: its status, a description, and its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The status.
    pub status: JobStatus,
    /// The value of the job, or the reason why the job failed or is pending. The reason does not
    /// contain the position in a queue, which changes too often to be stored.
    pub text: String,
    /// The logs.
    pub logs: Logs,
}

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// The job has not finished.
    Pending,
    /// The job succeeded.
    Success,
    /// The job failed.
    Failure,
}

impl JobStatus {
    /// Returns `pending`, `success` or `failure`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Pending => "pending",
            JobStatus::Success => "success",
            JobStatus::Failure => "failure",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct JobOutput {
    result: ResultJson,
    #[serde(default)]
    logs: LogsJson,
}

#[derive(Serialize, Deserialize)]
struct ResultJson {
    status: JobStatus,
    descr: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(untagged)]
enum LogsJson {
    Saved {
        title: String,
        branch: String,
        commit: String,
        failed: bool,
    },
    Live {
        branch: Arc<str>,
    },
    Pair(Box<(LogsJson, LogsJson)>),
    #[default]
    None,
}

impl From<&Logs> for LogsJson {
    fn from(logs: &Logs) -> LogsJson {
        match logs {
            Logs::None => LogsJson::None,
            Logs::Live { branch } => LogsJson::Live { branch: branch.clone() },
            Logs::Saved(saved) => {
                let SavedLog { title, branch, commit, failed } = (**saved).clone();
                LogsJson::Saved { title, branch, commit, failed }
            }
            Logs::Pair(pair) => LogsJson::Pair(Box::new(((&pair.0).into(), (&pair.1).into()))),
        }
    }
}

impl From<LogsJson> for Logs {
    fn from(logs: LogsJson) -> Logs {
        match logs {
            LogsJson::None => Logs::None,
            LogsJson::Live { branch } => Logs::Live { branch },
            LogsJson::Saved { title, branch, commit, failed } => {
                Logs::Saved(Arc::new(SavedLog { title, branch, commit, failed }))
            }
            LogsJson::Pair(pair) => Logs::Pair(Arc::new((pair.0.into(), pair.1.into()))),
        }
    }
}

impl JobResult {
    /// Creates a result from an evaluation.
    #[must_use]
    pub fn of(evaluation: Evaluation<String>) -> JobResult {
        let (status, text) = match evaluation.outcome {
            Outcome::Success(text) => (JobStatus::Success, text),
            Outcome::Failure(text) => (JobStatus::Failure, text.to_string()),
            Outcome::Pending(pending) => (JobStatus::Pending, pending.text.to_string()),
        };
        JobResult { status, text, logs: evaluation.logs }
    }

    /// Returns the result as JSON, in the format of DataKitCI:
    /// `{"result":{"status":..,"descr":..},"logs":..}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let result = ResultJson { status: self.status, descr: self.text.clone() };
        let output = JobOutput { result, logs: (&self.logs).into() };
        // The conversion fails only for maps with non-string keys, which do not occur here.
        serde_json::to_string(&output).unwrap_or_default()
    }

    /// Parses the JSON of a result.
    ///
    /// # Errors
    /// Returns [`InvalidOutput`] if the text is not valid JSON or a field is missing.
    pub fn from_json(text: &[u8]) -> Result<JobResult, InvalidOutput> {
        // The original CI does not replace invalid UTF-8 in descriptions.
        let text = String::from_utf8_lossy(text);
        let JobOutput { result, logs } = serde_json::from_str(&text).map_err(InvalidOutput)?;
        Ok(JobResult { status: result.status, text: result.descr, logs: logs.into() })
    }
}

/// The error returned if a string cannot be parsed as a job result.
#[derive(Debug)]
pub struct InvalidOutput(serde_json::Error);

impl fmt::Display for InvalidOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid result of a job")
    }
}

impl std::error::Error for InvalidOutput {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_back() {
        let saved = SavedLog {
            title: "Build \"x\"".to_owned(),
            branch: "build-of-1".to_owned(),
            commit: "0123".to_owned(),
            failed: true,
        };
        let live = Logs::Live { branch: "b".into() };
        let pair = live.clone().and(Logs::Saved(Arc::new(saved)));
        for logs in [Logs::None, live, pair.clone(), pair.clone().and(pair)] {
            let result =
                JobResult { status: JobStatus::Failure, text: "exit status 1".to_owned(), logs };
            assert_eq!(JobResult::from_json(result.to_json().as_bytes()).unwrap(), result);
        }
    }

    #[test]
    fn format_is_that_of_the_original() {
        let result = JobResult {
            status: JobStatus::Success,
            text: "All good".to_owned(),
            logs: Logs::Live { branch: "x".into() },
        };
        assert_eq!(
            result.to_json(),
            r#"{"result":{"status":"success","descr":"All good"},"logs":{"branch":"x"}}"#
        );
        let none = br#"{"result":{"status":"pending","descr":"(new)"},"logs":null}"#;
        assert_eq!(JobResult::from_json(none).unwrap().logs, Logs::None);
        for invalid in [&b"{}"[..], b"", br#"{"result":{"status":"odd","descr":""},"logs":null}"#] {
            assert!(JobResult::from_json(invalid).is_err());
        }
    }
}
