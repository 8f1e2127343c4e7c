//! Reads and writes statuses as check runs, which only GitHub Apps can write.
use datakit_github::{Commit, Status, StatusId, StatusState};
use http::Method;
use serde_json::{Value, json};

use super::json::{CheckRun, CheckRuns, object};
use super::octocrab_api::{OctocrabApi, PER_PAGE};
use super::{ApiError, Result};

/// The maximum number of check runs whose ids are remembered.
const MAX_RUNS: usize = 100_000;

/// The maximum number of pages read when listing a commit's check runs.
const MAX_PAGES: usize = 100;

impl OctocrabApi {
    /// Returns the app's id if this commit's statuses are written as check runs.
    async fn checks_app(&self, commit: &Commit) -> Result<Option<u64>> {
        let app = self.gate.checks_app(commit.repo.user()).await;
        app.map_err(|error| ApiError::failed(format!("token for {}", commit.repo), error))
    }

    /// Reads the check runs created by this app. Returns an empty list if the app does not have
    /// permission to write check runs.
    pub(super) async fn check_runs(&self, commit: &Commit) -> Result<Vec<Status>> {
        let Some(app) = self.checks_app(commit).await? else { return Ok(Vec::new()) };
        let mut statuses = Vec::new();
        let mut read = 0;
        for page in 1..=MAX_PAGES {
            let path = format!(
                "/commits/{}/check-runs?app_id={app}&per_page={PER_PAGE}&page={page}",
                commit.hash
            );
            let found: CheckRuns = self.get(&commit.repo, &path).await?;
            for run in &found.check_runs {
                if let Some(status) = run.to_status(commit) {
                    self.remember(&status.id, run.id);
                    statuses.push(status);
                }
            }
            read += found.check_runs.len();
            if found.check_runs.is_empty() || read >= found.total_count {
                break;
            }
        }
        Ok(statuses)
    }

    /// Writes a status as a check run. Returns `false` if the app does not have permission to write
    /// check runs.
    pub(super) async fn set_check_run(&self, status: &Status) -> Result<bool> {
        let commit = &status.id.commit;
        if self.checks_app(commit).await?.is_none() {
            return Ok(false);
        }
        let known = self.runs.lock().get(&status.id).copied();
        let body = body(status);
        let run: CheckRun = match known {
            Some(id) => {
                let path = format!("/check-runs/{id}");
                self.call(Method::PATCH, &commit.repo, &path, Some(&body)).await?
            }
            None => self.call(Method::POST, &commit.repo, "/check-runs", Some(&body)).await?,
        };
        self.remember(&status.id, run.id);
        Ok(true)
    }

    fn remember(&self, id: &StatusId, run: u64) {
        let mut runs = self.runs.lock();
        while runs.len() >= MAX_RUNS && runs.pop_first().is_some() {}
        runs.insert(id.clone(), run);
    }
}

/// Returns the body of a call that creates or updates a check run.
fn body(status: &Status) -> Value {
    let Status { id, state, description, target_url } = status;
    let conclusion = match state {
        StatusState::Pending => None,
        StatusState::Success => Some("success"),
        StatusState::Failure => Some("failure"),
        StatusState::Error => Some("cancelled"),
    };
    let output = json!({
        "title": description.as_deref().unwrap_or(id.context.as_str()),
        "summary": description.as_deref().unwrap_or_default(),
    });
    object([
        ("name", Some(json!(id.context.as_str()))),
        ("head_sha", Some(json!(id.commit.hash.to_string()))),
        ("external_id", Some(json!(marks(status)))),
        ("output", Some(output)),
        ("status", conclusion.is_none().then(|| json!("in_progress"))),
        ("conclusion", conclusion.map(|conclusion| json!(conclusion))),
        ("details_url", target_url.as_deref().map(|url| json!(url))),
    ])
}

/// Returns a mark for each optional field that the status lacks. In the check run, GitHub fills
/// these fields with defaults or keeps their old values. When the bridge reads the check run, the
/// marks show which fields to ignore.
fn marks(status: &Status) -> String {
    let url = status.target_url.is_none().then_some(CheckRun::NO_URL);
    let description = status.description.is_none().then_some(CheckRun::NO_DESCRIPTION);
    url.into_iter().chain(description).collect::<Vec<&str>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use datakit_github::{Hash, Text};

    #[test]
    fn a_written_run_is_read_as_the_same_status() {
        let commit =
            Commit { repo: "a/b".parse().unwrap(), hash: Hash::parse("0".repeat(40)).unwrap() };
        let id = StatusId { commit: commit.clone(), context: "ci/x".parse().unwrap() };
        for state in StatusState::ALL {
            for (description, target_url) in [(None, None), (Some("text"), Some("http://a/"))] {
                let status = Status {
                    id: id.clone(),
                    state,
                    description: description.map(Into::into),
                    target_url: target_url.map(Text::from),
                };
                let mut run = body(&status);
                run["id"] = json!(1);
                if run.get("status").is_none() {
                    run["status"] = json!("completed");
                }
                // If no URL was given, GitHub shows the app's own URL.
                run["details_url"] = json!(target_url.unwrap_or("http://app/"));
                let run: CheckRun = serde_json::from_value(run).unwrap();
                assert_eq!(run.to_status(&commit), Some(status));
            }
        }
    }
}
