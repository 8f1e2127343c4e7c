//! The settings file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use datakit_ci::build::LogLimits;
use datakit_ci::command::Limits;
use datakit_ci::pool::{QUEUE_MAX, QueueLimits};
use datakit_github::Repo;
use serde::Deserialize;

/// The maximum size of the file, in bytes.
const SIZE_MAX: u64 = 1 << 20;

/// The settings of a server. All of them are optional.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// The repositories to test, keyed by `USER/REPO`.
    pub(crate) projects: BTreeMap<RepoName, ProjectConfig>,
    /// The pool capacities, keyed by pool name.
    pub(crate) pools: BTreeMap<String, NonZeroUsize>,
    /// The maximum number of steps per repository that can wait for a pool. The settings of a
    /// repository override it.
    pub(crate) queue: Option<usize>,
    /// The root directories of images, keyed by the names that pipelines use.
    pub(crate) images: BTreeMap<String, AbsolutePath>,
    /// Environment variables for all steps.
    pub(crate) env: BTreeMap<String, String>,
    /// Directories that steps can read even if they are in a hidden directory.
    pub(crate) visible: Vec<AbsolutePath>,
    pub(crate) untrusted: Untrusted,
    pub(crate) access: Access,
    pub(crate) logs: Logs,
}

/// The resources that steps of untrusted commits can use.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Untrusted {
    /// Whether the steps can use the host's network.
    pub(crate) network: bool,
    memory_mib: Option<NonZeroU32>,
    disk_mib: Option<NonZeroU32>,
    processes: Option<NonZeroU32>,
    cpu_seconds: Option<NonZeroU32>,
    timeout_seconds: Option<NonZeroU32>,
}

impl Untrusted {
    /// Returns the upper limits on the resources of a step.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let mib = |mib: NonZeroU32| u64::from(mib.get()) << 20;
        limits.memory = self.memory_mib.map(mib).or(limits.memory);
        limits.disk = self.disk_mib.map(mib).or(limits.disk);
        let number = |number: NonZeroU32| u64::from(number.get());
        limits.processes = self.processes.map(number).or(limits.processes);
        limits.cpu_seconds = self.cpu_seconds.map(number).or(limits.cpu_seconds);
        limits
    }

    /// Returns the maximum time limit of a step.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_seconds.map(|seconds| Duration::from_secs(seconds.get().into()))
    }
}

/// A repository name that is used as a table key.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(crate) struct RepoName(pub(crate) Repo);

impl TryFrom<String> for RepoName {
    type Error = datakit_github::InvalidRepo;

    fn try_from(text: String) -> Result<RepoName, datakit_github::InvalidRepo> {
        text.parse().map(RepoName)
    }
}

/// A path that does not depend on the directory in which the server was started.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(try_from = "PathBuf")]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<AbsolutePath, &'static str> {
        if path.is_absolute() { Ok(AbsolutePath(path)) } else { Err("the path must be absolute") }
    }
}

/// The settings of a repository.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ProjectConfig {
    /// The path or URL from which to clone the repository.
    pub(crate) source: Option<String>,
    /// The file that contains the `Authorization` header for requests to `source`. A relative path
    /// is relative to the secrets directory.
    pub(crate) authorization_file: Option<PathBuf>,
    /// The branches on the home page.
    pub(crate) dashboards: Vec<String>,
    /// When to rebuild the branches in `dashboards`, as cron expressions in UTC.
    pub(crate) rebuild: Vec<String>,
    /// The maximum number of the repository's steps that can wait for a pool.
    pub(crate) queue: Option<usize>,
}

impl Default for ProjectConfig {
    fn default() -> ProjectConfig {
        ProjectConfig {
            source: None,
            authorization_file: None,
            dashboards: vec!["master".to_owned(), "main".to_owned()],
            rebuild: Vec::new(),
            queue: None,
        }
    }
}

/// The users who can use the web pages.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Access {
    /// The users who can read the pages, as a comma-separated list of policies.
    pub(crate) read: String,
    /// The users who can cancel builds and start rebuilds, as a comma-separated list of policies.
    pub(crate) build: String,
    /// The SHA-256 hash (in hexadecimal) of the bearer token that `/metrics` requires.
    pub(crate) metrics_token_sha256: Option<String>,
    /// The addresses of proxies whose `X-Forwarded-For` header is trusted.
    pub(crate) trusted_proxies: Vec<IpAddr>,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            read: "everyone".to_owned(),
            build: "user:admin".to_owned(),
            metrics_token_sha256: None,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Access {
    /// Returns the hash of the metrics token.
    ///
    /// # Errors
    /// Returns an error if the setting is not a SHA-256 hash.
    pub(crate) fn metrics_token(&self) -> Result<Option<[u8; 32]>, InvalidHash> {
        let Some(text) = &self.metrics_token_sha256 else { return Ok(None) };
        let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).filter(|_| digits);
            let parsed = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            *byte = parsed.ok_or(InvalidHash)?;
        }
        Ok(Some(hash))
    }
}

/// The error returned if the `metrics-token-sha256` setting is invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidHash;

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics-token-sha256 must have 64 hexadecimal digits")
    }
}

impl std::error::Error for InvalidHash {}

/// The logs to keep.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Logs {
    /// The maximum age of a log in days.
    pub(crate) max_age_days: Option<u32>,
    /// The maximum number of logs.
    pub(crate) max_count: Option<usize>,
    /// The maximum size of a log in MiB. Longer logs are truncated.
    pub(crate) max_size_mib: Option<NonZeroU16>,
}

impl Logs {
    /// Returns the limits for the log of a step.
    pub(crate) fn limits(&self) -> LogLimits {
        let bytes = |mib: NonZeroU16| LogLimits { bytes: usize::from(mib.get()) << 20 };
        self.max_size_mib.map_or_else(LogLimits::default, bytes)
    }

    /// Returns the policy, or `None` if all logs are kept.
    pub(crate) fn policy(&self) -> Option<datakit_ci::prune::LogPolicy> {
        let day = |days: u32| Duration::from_secs(u64::from(days).saturating_mul(86_400));
        let max_age = self.max_age_days.map(day);
        (max_age.is_some() || self.max_count.is_some())
            .then_some(datakit_ci::prune::LogPolicy { max_age, max_count: self.max_count })
    }
}

/// The error returned if a settings file cannot be read or is invalid.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Read(std::io::Error),
    TooLarge(u64),
    /// The error message contains the line, the column and the source line.
    Parse(Box<toml::de::Error>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Read(_) => write!(f, "{path} cannot be read"),
            Cause::TooLarge(size) => write!(f, "{path} has {size} bytes; the limit is {SIZE_MAX}"),
            Cause::Parse(error) => write!(f, "{path}: {}", error.to_string().trim_end()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Read(error) => Some(error),
            // The message of a parse error is already part of the text.
            Cause::TooLarge(_) | Cause::Parse(_) => None,
        }
    }
}

impl Config {
    /// Reads a settings file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is invalid.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let error = |cause| ConfigError { path: path.to_owned(), cause };
        let size = std::fs::metadata(path).map_err(|cause| error(Cause::Read(cause)))?.len();
        if size > SIZE_MAX {
            return Err(error(Cause::TooLarge(size)));
        }
        let text = std::fs::read_to_string(path).map_err(|cause| error(Cause::Read(cause)))?;
        toml::from_str(&text).map_err(|cause| error(Cause::Parse(Box::new(cause))))
    }

    /// Returns the limits on the number of waiting steps.
    pub(crate) fn queue_limits(&self) -> QueueLimits {
        let limit = |(RepoName(repo), project): (&RepoName, &ProjectConfig)| {
            Some((repo.to_string(), project.queue?))
        };
        let projects = self.projects.iter().filter_map(limit).collect();
        QueueLimits { default: self.queue.unwrap_or(QUEUE_MAX), projects }
    }

    /// Adds the repositories from the command line. Their sources override those in the file.
    pub(crate) fn add_projects(&mut self, projects: &[(Repo, Option<String>)]) {
        for (repo, source) in projects {
            let project = self.projects.entry(RepoName(repo.clone())).or_default();
            if source.is_some() {
                project.source.clone_from(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_example_is_read() {
        let text = include_str!("../docs/settings.toml");
        let mut config: Config = toml::from_str(text).unwrap();
        let repo: Repo = "me/app".parse().unwrap();
        config.add_projects(&[(repo.clone(), None), ("me/other".parse().unwrap(), None)]);
        let project = config.projects.get(&RepoName(repo.clone())).unwrap();
        assert_eq!(project.source.as_deref(), Some("https://git.example.org/me/app.git"));
        assert_eq!((config.queue, &*project.dashboards), (Some(50), &["master".to_owned()][..]));
        assert_eq!(config.projects.len(), 2);
        let limits = config.queue_limits();
        assert_eq!((limits.default, limits.projects), (50, [("me/app".to_owned(), 200)].into()));
        let (limits, timeout) = (config.untrusted.limits(), config.untrusted.timeout());
        assert_eq!((limits.memory, limits.processes), (Some(2 << 30), Some(500)));
        assert_eq!((limits.disk, limits.cpu_seconds), (Some(10 << 30), Some(1800)));
        assert_eq!((timeout, config.untrusted.network), (Some(Duration::from_secs(1800)), false));
        assert_eq!(config.pools.get("gpu").map(|capacity| capacity.get()), Some(1));
        assert_eq!(config.access.metrics_token().unwrap().unwrap()[..2], [0x9f, 0x86]);
        assert_eq!(config.access.trusted_proxies, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        config.access.metrics_token_sha256 = Some("9f86".to_owned());
        assert_eq!(config.access.metrics_token(), Err(InvalidHash));
        assert_eq!(config.logs.limits().bytes, 20 << 20);
        assert_eq!(config.visible, [AbsolutePath("/home/ci/.rustup".into())]);
        let policy = config.logs.policy().unwrap();
        assert_eq!(policy.max_age, Some(Duration::from_secs(90 * 86_400)));
        config.add_projects(&[(repo.clone(), Some("/srv/app.git".to_owned()))]);
        let project = config.projects.get(&RepoName(repo)).unwrap();
        assert_eq!(project.source.as_deref(), Some("/srv/app.git"));
    }

    #[test]
    fn mistakes_are_located() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("ci.toml");
        for (text, expected) in [
            ("[access]\nreed = \"everyone\"\n", "line 2"),
            ("[projects.\"app\"]\n", "user/project"),
            ("pools = 4\n", "line 1"),
            ("[pools]\ngpu = 0\n", "line 2"),
            ("[images]\ndebian = \"images/debian\"\n", "line 2, column 10"),
            ("visible = [\"rustup\"]\n", "the path must be absolute"),
            ("[logs]\nmax-size-mib = 0\n", "line 2"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Config::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("ci.toml"), "{error}");
        }
    }
}
