//! Builders that fetch commits and run commands on them.

use std::fmt::Write;
use std::time::Duration;

use datakit_client::db::{self, Path, TreeOps};
use datakit_github::Commit;

use super::Repository;
use crate::Target;
use crate::build::{Build, BuildLog, Builder, LogLimits};
use crate::causes::with_causes;
use crate::command::{Command, Limits, Sandbox};
use crate::pool::{Holder, Pool};

const VALUE: &str = "value";

/// Fetches the commits of targets. The result is stored in the `git-pull-of-HASH` branch.
#[derive(Debug, Clone)]
pub struct FetchHead {
    repository: Repository,
}

/// The key of [`FetchHead`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchKey {
    /// The target whose ref is fetched.
    pub target: Target,
    /// The commit.
    pub commit: Commit,
}

impl FetchHead {
    /// Creates a builder for the commits of one repository.
    #[must_use]
    pub fn new(repository: Repository) -> FetchHead {
        FetchHead { repository }
    }
}

impl Builder for FetchHead {
    type Key = FetchKey;
    type Value = Commit;

    fn name(&self) -> &str {
        "git-fetch"
    }

    fn title(&self, key: &FetchKey) -> String {
        format!("Fetch {} of {}", key.commit.hash, key.target)
    }

    fn branch(&self, key: &FetchKey) -> String {
        format!("git-pull-of-{}", key.commit.hash)
    }

    fn repository(&self, key: &FetchKey) -> Option<String> {
        Some(key.commit.repo.to_string())
    }

    async fn generate(&self, build: &Build, key: &FetchKey) -> Result<Commit, String> {
        let fetched =
            self.repository.fetch(&key.target, &key.commit, build.progress(), build.log());
        fetched.await.map_err(|error| with_causes(&error))?;
        let text = format!("{}\n", key.commit.hash);
        write_value(build, text.as_bytes())?;
        Ok(key.commit.clone())
    }

    async fn load<T: TreeOps>(&self, _: &T, key: &FetchKey) -> db::Result<Commit> {
        // The repository directory might not contain the commit, because the directory can be newer
        // than the result in the database.
        let log = BuildLog::new(&self.title(key), Vec::new(), LogLimits::default());
        let fetched = self.repository.fetch_quietly(&key.target, &key.commit, &log);
        fetched.await.map_err(|error| db::Error::Backend(db::BackendError::new(error)))?;
        Ok(key.commit.clone())
    }
}

/// The options of [`Shell`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShellOptions {
    /// The time limit for each command. The default is one hour.
    pub timeout: Duration,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The limits on the resources of each command.
    pub limits: Limits,
    /// The environment variables.
    pub env: Vec<(String, String)>,
    /// Environment variables whose values are masked in the log.
    pub secrets: Vec<(String, String)>,
    /// The pool that limits the number of builds that run at the same time.
    pub pool: Option<Pool>,
}

impl Default for ShellOptions {
    fn default() -> ShellOptions {
        ShellOptions {
            timeout: Duration::from_secs(3600),
            sandbox: Sandbox::default(),
            limits: Limits::default(),
            env: Vec::new(),
            secrets: Vec::new(),
            pool: None,
        }
    }
}

/// Runs shell commands in a worktree of a commit. The commit must have been fetched. The result is
/// stored in the `shell-of-LABEL-on-HASH` branch.
#[derive(Debug, Clone)]
pub struct Shell {
    repository: Repository,
    label: String,
    commands: Vec<String>,
    options: ShellOptions,
}

/// The key of [`Shell`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellKey {
    /// The commit.
    pub commit: Commit,
    /// The target, which is shown to users waiting for the same pool.
    pub target: Target,
}

impl Shell {
    /// Creates a builder that runs commands one after the other. The build ends at the first
    /// command that fails. Use a different label for each list of commands.
    pub fn new<C: Into<String>>(
        repository: Repository,
        label: &str,
        commands: impl IntoIterator<Item = C>,
        options: ShellOptions,
    ) -> Shell {
        let commands = commands.into_iter().map(Into::into).collect();
        Shell { repository, label: label.to_owned(), commands, options }
    }

    /// Returns the sandbox, in which `git` can read the history. Other worktrees are hidden.
    fn sandbox(&self) -> Sandbox {
        let repository = &self.repository;
        match self.options.sandbox.clone() {
            Sandbox::Isolated(isolation) => {
                isolation.hide(repository.dir()).read_only(repository.git_dir()).into()
            }
            other => other,
        }
    }

    async fn run(&self, build: &Build, key: &ShellKey) -> Result<(), String> {
        let options = &self.options;
        let project = key.commit.repo.to_string();
        let holder = Holder::new(project, format!("{}: {}", key.target, self.label));
        let _resource = match &options.pool {
            Some(pool) => {
                let acquired = pool.acquire(&holder, build.progress()).await;
                Some(acquired.map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let worktree = self.repository.worktree(&key.commit, &holder, build.progress());
        let worktree = worktree.await.map_err(|error| with_causes(&error))?;
        build.progress().text(format!("Running {}", self.label));
        for script in &self.commands {
            let command = Command::shell(script, worktree.path())
                .sandbox(self.sandbox())
                .limits(options.limits)
                .timeout(options.timeout);
            let env = options.env.iter().chain(&options.secrets);
            let command = env.fold(command, |command, (name, value)| command.env(name, value));
            command.run(build.log()).await.map_err(|error| with_causes(&error))?;
        }
        Ok(())
    }
}

impl Builder for Shell {
    type Key = ShellKey;
    type Value = ();

    fn name(&self) -> &str {
        &self.label
    }

    fn title(&self, key: &ShellKey) -> String {
        format!("{} on {}", self.label, key.commit.hash)
    }

    fn branch(&self, key: &ShellKey) -> String {
        format!("shell-of-{}-on-{}", branch_part(&self.label), key.commit.hash)
    }

    fn repository(&self, key: &ShellKey) -> Option<String> {
        Some(key.commit.repo.to_string())
    }

    fn secrets(&self) -> Vec<String> {
        self.options.secrets.iter().map(|(_, value)| value.clone()).collect()
    }

    async fn generate(&self, build: &Build, key: &ShellKey) -> Result<(), String> {
        self.run(build, key).await?;
        write_value(build, b"")
    }

    async fn load<T: TreeOps>(&self, _: &T, _: &ShellKey) -> db::Result<()> {
        Ok(())
    }
}

fn write_value(build: &Build, value: &[u8]) -> Result<(), String> {
    build.write_file(Path::from_names([VALUE]).map_err(|error| with_causes(&error))?, value);
    Ok(())
}

/// Escapes characters that are not allowed in branch names. Every byte other than a letter, a
/// digit, `-`, `_` or a single `.` becomes `_` followed by two hexadecimal digits. A `_` that
/// precedes two hexadecimal digits is escaped as well; otherwise, two labels could produce the same
/// name.
fn branch_part(label: &str) -> String {
    let mut part = String::new();
    for (index, byte) in label.bytes().enumerate() {
        let next = || label.as_bytes().get(index + 1..index + 3);
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => part.push(char::from(byte)),
            b'.' if !part.ends_with('.') => part.push('.'),
            b'_' if !next().is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit)) => {
                part.push('_');
            }
            // Writing to a string never fails.
            other => drop(write!(part, "_{other:02x}")),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::branch_part;

    #[test]
    fn labels_become_parts_of_branch_names() {
        for (label, part) in [
            ("unit_tests", "unit_tests"),
            ("unit tests", "unit_20tests"),
            ("unit_20tests", "unit_5f20tests"),
            ("v1..2/x_", "v1._2e2_2fx_"),
            ("__2e", "__5f2e"),
        ] {
            assert_eq!(branch_part(label), part);
        }
    }
}
