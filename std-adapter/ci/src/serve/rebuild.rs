//! Rebuilds dashboard branches on a schedule.

use std::convert::Infallible;
use std::sync::Arc;

use datakit_ci::build::Builds;
use datakit_ci::state::JobStatus;
use datakit_ci::term::Logs;
use datakit_ci::{Target, View};
use datakit_github::{RefId, RefKind, RefName, Repo};
use jiff::civil::DateTime;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::AnyError;
use crate::config::{Config, RepoName};
use crate::schedule::{self, Schedule};

/// The schedules of all repositories.
pub(super) struct Rebuilds {
    schedules: Vec<(Schedule, Vec<Target>)>,
    /// The times of the last builds, by schedule. They are kept when the connection to the database
    /// is lost, so a build that becomes due in the meantime starts after the server has
    /// reconnected.
    last: Arc<Mutex<Vec<DateTime>>>,
}

impl Rebuilds {
    /// Reads the schedules from the settings.
    pub(super) fn new(config: &Config) -> Result<Rebuilds, AnyError> {
        let mut schedules = Vec::new();
        for (RepoName(repo), project) in &config.projects {
            let targets = targets(repo, &project.dashboards)?;
            for text in &project.rebuild {
                schedules.push((Schedule::parse(text)?, targets.clone()));
            }
        }
        let last = Arc::new(Mutex::new(vec![schedule::now(); schedules.len()]));
        Ok(Rebuilds { schedules, last })
    }

    /// Starts builds at the scheduled times.
    pub(super) async fn run(&self, view: &View, builds: &Builds) -> Infallible {
        let mut running = JoinSet::new();
        for (index, (schedule, targets)) in self.schedules.iter().enumerate() {
            let (schedule, targets) = (schedule.clone(), targets.clone());
            let times = self.last.clone();
            let (view, builds) = (view.clone(), builds.clone());
            running.spawn(async move {
                loop {
                    let last = times.lock().get(index).copied().unwrap_or_else(schedule::now);
                    let next = schedule.next(last).await;
                    if let Some(time) = times.lock().get_mut(index) {
                        *time = next;
                    }
                    tracing::info!(%schedule, "building again");
                    for target in &targets {
                        build_again(target, &view, &builds).await;
                    }
                }
            });
        }
        // The tasks end only if they panic. Dropping `running` ends them.
        while running.join_next().await.is_some() {}
        std::future::pending().await
    }
}

/// Returns the branches with the given names.
pub(super) fn targets(repo: &Repo, branches: &[String]) -> Result<Vec<Target>, AnyError> {
    let target = |branch: &String| {
        let name = RefName::new(RefKind::Heads, branch)?;
        Ok(Target::Ref(RefId { repo: repo.clone(), name }))
    };
    branches.iter().map(target).collect()
}

/// Rebuilds all tests of a target.
async fn build_again(target: &Target, view: &View, builds: &Builds) {
    let Some(shown) = view.target(target) else { return };
    let finished = shown.jobs.iter().filter(|job| job.result.status != JobStatus::Pending);
    for log in finished.flat_map(|job| job.result.logs.leaves()) {
        let Logs::Saved(log) = log else { continue };
        if let Err(error) = builds.rebuild(&log.branch).await {
            tracing::warn!(branch = log.branch, %error, "cannot rebuild");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_schedules_are_found_at_the_start() {
        let repo: Repo = "me/app".parse().unwrap();
        let mut config = Config::default();
        config.add_projects(&[(repo.clone(), None)]);
        assert!(Rebuilds::new(&config).unwrap().schedules.is_empty());
        let project = config.projects.get_mut(&RepoName(repo)).unwrap();
        project.rebuild = vec!["0 3 * * *".to_owned(), "often".to_owned()];
        let error = Rebuilds::new(&config).err().unwrap().to_string();
        assert!(error.contains("invalid schedule \"often\""), "{error}");
        project_with_branch("a..b", &mut config);
        assert!(Rebuilds::new(&config).is_err());
    }

    fn project_with_branch(branch: &str, config: &mut Config) {
        for project in config.projects.values_mut() {
            project.rebuild.clear();
            project.dashboards = vec![branch.to_owned()];
        }
    }
}
