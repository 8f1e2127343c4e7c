//! Runs the commands of a task in a directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datakit_github::Repo;

use super::model::CacheSpec;
use super::plan::Task;
use super::settings::Settings;
use super::trust::Trust;
use crate::Target;
use crate::build::BuildLog;
use crate::causes::with_causes;
use crate::command::{Command, CommandError, Image, Limits, Network, Sandbox};

/// A task for a commit.
#[derive(Debug, Clone)]
pub(super) struct TaskRun {
    pub(super) task: Arc<Task>,
    pub(super) repo: Repo,
    /// The hash of the commit.
    pub(super) commit: String,
    /// The target, if the result is specific to it.
    pub(super) target: Option<Target>,
    pub(super) trust: Trust,
    /// The images that can be downloaded if the commit is not trusted.
    pub(super) images: Arc<[String]>,
    /// The directory that contains the artifacts of the tasks that this task needs.
    pub(super) inputs: Option<PathBuf>,
    /// The sandbox, without the task's image and network setting.
    pub(super) sandbox: Sandbox,
    pub(super) settings: Arc<Settings>,
}

/// The reason why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TaskError {
    /// The task cannot run on this machine.
    Setup(String),
    /// The files of the task could not be read or written, for example because the network is down.
    Temporary(String),
    /// A command failed.
    Failed(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Setup(text) | TaskError::Temporary(text) | TaskError::Failed(text) => {
                f.write_str(text)
            }
        }
    }
}

/// The caches to store if the task succeeds, each with its directory.
type Unsaved = Vec<(CacheSpec, PathBuf)>;

impl TaskRun {
    /// Restores the caches, runs the commands, and stores new caches.
    ///
    /// If the future is dropped, all processes are killed.
    ///
    /// # Errors
    /// Returns the reason why the task failed.
    pub(super) async fn run(&self, dir: &Path, log: &BuildLog) -> Result<(), TaskError> {
        let sandbox = self.sandbox().map_err(TaskError::Setup)?;
        let secrets = self.settings.secrets_of(&self.task, self.trust).map_err(TaskError::Setup)?;
        if self.trust == Trust::Untrusted && !self.task.step.secrets.is_empty() {
            log.line("The secrets are not set, because the commit is not trusted");
        }
        if (self.limits(), self.timeout()) != (self.task.step.limits, self.task.step.timeout) {
            log.line(
                "The limits are lower than in the pipeline, because the commit is not trusted",
            );
        }
        let unsaved = self.restore(dir, log).await.map_err(TaskError::Temporary)?;
        let began = Instant::now();
        let count = self.task.step.run.len();
        for (index, script) in self.task.step.run.iter().enumerate() {
            let left = self.timeout().saturating_sub(began.elapsed());
            let command = self.command(script, dir, &secrets, sandbox.clone(), left);
            let number = (count > 1).then_some((index + 1, count));
            command.run(log).await.map_err(|error| self.problem(&error, number))?;
        }
        self.save(unsaved, dir, log).await;
        Ok(())
    }

    fn command(
        &self,
        script: &str,
        dir: &Path,
        secrets: &[(String, String)],
        sandbox: Sandbox,
        timeout: Duration,
    ) -> Command {
        let command = Command::shell(script, dir)
            .sandbox(sandbox)
            .limits(self.limits())
            .timeout(timeout)
            .shown_as(script.trim_end());
        let env = self.env().into_iter().chain(secrets.iter().cloned());
        env.fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Returns the limits of the step. The limits are capped for untrusted commits, because anybody
    /// can open a pull request that changes the limits.
    fn limits(&self) -> Limits {
        match self.trust {
            Trust::Trusted => self.task.step.limits,
            Trust::Untrusted => self.task.step.limits.at_most(&self.settings.untrusted_limits),
        }
    }

    fn timeout(&self) -> Duration {
        match self.trust {
            Trust::Trusted => self.task.step.timeout,
            Trust::Untrusted => self.task.step.timeout.min(self.settings.untrusted_timeout),
        }
    }

    /// Returns the environment variables other than secrets.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env = self.settings.env.clone();
        env.extend(self.task.env.clone());
        let target = self.target.as_ref().map(Target::to_string);
        let trusted = (self.trust == Trust::Trusted).to_string();
        let inputs = self.inputs.as_ref().map(|dir| dir.display().to_string());
        for (name, value) in [
            ("CI", Some("true".to_owned())),
            ("DATAKIT_CI", Some("true".to_owned())),
            ("DATAKIT_CI_ARTIFACTS", inputs),
            ("DATAKIT_CI_COMMIT", Some(self.commit.clone())),
            ("DATAKIT_CI_REPO", Some(self.repo.to_string())),
            ("DATAKIT_CI_STEP", Some(self.task.name.to_string())),
            ("DATAKIT_CI_TARGET", target),
            ("DATAKIT_CI_TRUSTED", Some(trusted)),
        ] {
            env.extend(value.map(|value| (name.to_owned(), value)));
        }
        env
    }

    fn sandbox(&self) -> Result<Sandbox, String> {
        let network = self.network()?;
        match (self.sandbox.clone(), &self.task.image) {
            (Sandbox::Isolated(mut isolation), image) => {
                if let Some(image) = image {
                    isolation = isolation.image(self.image(image)?);
                }
                if let Some(caches) = &self.settings.caches {
                    // Cache files must be readable only by steps that are allowed to use the cache.
                    isolation = isolation.hide(caches.dir());
                }
                if let Some(dir) = &self.inputs {
                    isolation = isolation.read_only(dir.clone());
                }
                Ok(isolation.network(network).into())
            }
            (Sandbox::Unsandboxed, Some(_)) => {
                Err("an image cannot be used without a sandbox".to_owned())
            }
            (Sandbox::Unsandboxed, None) => Ok(Sandbox::Unsandboxed),
        }
    }

    fn image(&self, name: &str) -> Result<Image, String> {
        if let Some(image) = self.settings.images.get(name) {
            return Ok(image.clone());
        }
        let podman = self.settings.podman.clone();
        let is_known = self.images.iter().any(|known| known == name);
        if podman.is_some() && self.trust == Trust::Untrusted && !is_known {
            return Err(format!(
                "the image `{name}` is not allowed: an untrusted commit can use only images that \
                 the target branch's pipeline uses"
            ));
        }
        let image = podman.map(|cache| Image::Podman { name: name.to_owned(), cache });
        image.ok_or_else(|| {
            let known: Vec<&str> = self.settings.images.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("this machine does not provide the image `{name}`; its images: {known}")
        })
    }

    fn network(&self) -> Result<Network, String> {
        match (self.task.step.network, self.trust) {
            (false, _) => Ok(Network::None),
            (true, Trust::Untrusted) if !self.settings.untrusted_network => {
                Err("the step uses the network, which is not allowed for untrusted commits"
                    .to_owned())
            }
            (true, _) => Ok(Network::Host),
        }
    }

    fn problem(&self, error: &CommandError, number: Option<(usize, usize)>) -> TaskError {
        let text = match error {
            CommandError::Timeout { .. } => format!("timed out after {:?}", self.timeout()),
            error => with_causes(error),
        };
        let text = match number {
            Some((index, count)) => format!("command {index} of {count}: {text}"),
            None => text,
        };
        match error {
            CommandError::NoSandbox { .. }
            | CommandError::Sandbox { .. }
            | CommandError::Directory { .. }
            | CommandError::Start { .. } => TaskError::Setup(text),
            _ => TaskError::Failed(text),
        }
    }

    async fn restore(&self, dir: &Path, log: &BuildLog) -> Result<Unsaved, String> {
        let Some(caches) = self.settings.caches.clone().filter(|_| !self.task.caches.is_empty())
        else {
            return Ok(Vec::new());
        };
        let (job, dir, log) = (self.clone(), dir.to_owned(), log.clone());
        let restore =
            move || caches.restore(&job.task, &job.repo, job.trust, &dir, |text| log.line(&text));
        tokio::task::spawn_blocking(restore).await.map_err(|error| error.to_string())?
    }

    /// Stores new caches. The task does not fail if a cache cannot be stored.
    async fn save(&self, unsaved: Unsaved, dir: &Path, log: &BuildLog) {
        // `restore` does not return any caches if the commit is not trusted; check again to be
        // safe.
        let caches = self.settings.caches.clone().filter(|_| self.trust == Trust::Trusted);
        let Some(caches) = caches else { return };
        for (cache, entry) in unsaved {
            let (caches, dir, name) = (caches.clone(), dir.to_owned(), cache.name.clone());
            let save = move || caches.save(&cache, &entry, &dir);
            let saved = tokio::task::spawn_blocking(save).await;
            match saved.map_err(|error| error.to_string()) {
                Ok(Ok(())) => log.line(&format!("Stored the cache {name}")),
                Ok(Err(error)) => log.line(&format!("The cache {name} is not stored: {error}")),
                Err(error) => log.line(&format!("The cache {name} is not stored: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Pipeline, Plan};

    fn job(trust: Trust, images: &[&str]) -> TaskRun {
        let pipeline = Pipeline::parse("f", "[step.a]\nrun='x'\nimage='debian:12'\n").unwrap();
        let settings = Settings { podman: Some(PathBuf::from("/images")), ..Settings::default() };
        TaskRun {
            task: Plan::all(&pipeline).tasks[0].clone(),
            repo: "me/app".parse().unwrap(),
            commit: String::new(),
            target: None,
            inputs: None,
            trust,
            images: images.iter().map(|image| (*image).to_owned()).collect(),
            sandbox: Sandbox::default(),
            settings: Arc::new(settings),
        }
    }

    #[test]
    fn an_untrusted_commit_downloads_only_images_of_the_target_branch() {
        for (trust, images, allowed) in [
            (Trust::Trusted, &[][..], true),
            (Trust::Untrusted, &["debian:12"], true),
            (Trust::Untrusted, &["debian:11"], false),
            (Trust::Untrusted, &[], false),
        ] {
            let sandbox = job(trust, images).sandbox();
            assert_eq!(sandbox.is_ok(), allowed, "{trust:?} {images:?} {sandbox:?}");
        }
    }

    #[test]
    fn an_untrusted_commit_cannot_raise_its_limits() {
        let text = "timeout='20h'\n[step.a]\nrun='x'\n\
                    limits={memory='1000GiB', disk='1MiB', processes=100000, cpu='20h'}\n";
        let pipeline = Pipeline::parse("f", text).unwrap();
        let with =
            |trust| TaskRun { task: Plan::all(&pipeline).tasks[0].clone(), ..job(trust, &[]) };
        let (trusted, untrusted) = (with(Trust::Trusted), with(Trust::Untrusted));
        assert_eq!(trusted.limits().memory, Some(1000 << 30));
        assert_eq!(trusted.timeout(), Duration::from_secs(20 * 3600));
        let limits = Limits { disk: Some(1 << 20), ..Limits::default() };
        assert_eq!(untrusted.limits(), limits);
        assert_eq!(untrusted.timeout(), Duration::from_secs(3600));
    }

    #[test]
    fn images_of_the_operator_are_for_all_commits() {
        let mut job = job(Trust::Untrusted, &[]);
        let mut settings = Settings::default();
        settings.images.insert("debian:12".to_owned(), Image::Directory("/debian".into()));
        job.settings = Arc::new(settings);
        let Ok(Sandbox::Isolated(isolation)) = job.sandbox() else { panic!("no sandbox") };
        assert_eq!(isolation.image, Image::Directory("/debian".into()));
    }
}
