//! Runs a pipeline on a work tree, without a server and without a database.

mod copy;
mod git;
mod git_dir;
mod output;
mod run;
#[cfg(test)]
mod tests;
mod tools;

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datakit_github::{RefId, RefKind, RefName, Repo};

use parking_lot::Mutex;

use super::read::FILE_MAX;
use super::{
    Caches, DEFAULT_POOL, FILE, Pipeline, PipelineErrors, Plan, Settings, Trigger, UnknownStep,
};
use crate::Target;
use crate::causes::with_causes;
use crate::pool::Pools;
use run::LocalRun;

/// The result of a local run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitStatus {
    /// All steps passed.
    Passed,
    /// A step failed.
    Failed,
    /// The pipeline could not be run, for example because its file has errors.
    Error,
}

impl ExitStatus {
    /// Returns the exit status of the process: 0, 1 or 2.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Passed => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Error => 2,
        }
    }
}

/// The options of a local run.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// The names of the steps to run. The steps that they need also run, and `when` is ignored. If
    /// the list is empty, `when` selects the steps to run for the target.
    pub steps: Vec<String>,
    /// The target. The default is the current branch of the repository `local/DIRECTORY`.
    pub target: Option<Target>,
    /// The base branch, if the target is a pull request.
    pub base: Option<String>,
    /// The number of steps that can run at the same time. The default is the number of processors.
    pub jobs: Option<NonZeroUsize>,
    /// The directory in which caches and container images are kept for later runs, for example
    /// [`user_cache_dir`]. If neither this field nor `settings` sets a directory, caches have no
    /// effect and container images cannot be used.
    pub cache_dir: Option<PathBuf>,
    /// The resources that steps can use. Commits are trusted, so all steps can use the secrets.
    pub settings: Settings,
}

/// The error returned if a pipeline cannot be read or planned.
#[derive(Debug)]
#[non_exhaustive]
pub enum LocalError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has errors.
    Invalid(PipelineErrors),
    /// The file has no step with the requested name.
    UnknownStep(UnknownStep),
    /// The cache directory cannot be used.
    CacheDir {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A temporary directory cannot be created.
    Temporary {
        /// The cause.
        source: io::Error,
    },
    /// The name of the directory or branch is not valid in a target.
    NoTarget {
        /// The directory.
        dir: PathBuf,
    },
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalError::Read { path, .. } => write!(f, "{} cannot be read", path.display()),
            LocalError::Invalid(errors) => errors.fmt(f),
            LocalError::UnknownStep(error) => error.fmt(f),
            LocalError::CacheDir { dir, .. } => write!(f, "{} cannot be used", dir.display()),
            LocalError::Temporary { .. } => f.write_str("a temporary directory cannot be created"),
            LocalError::NoTarget { dir } => write!(
                f,
                "{} does not give a target; set the target, for example `me/app/heads/master`",
                dir.display()
            ),
        }
    }
}

impl std::error::Error for LocalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LocalError::Read { source, .. }
            | LocalError::CacheDir { source, .. }
            | LocalError::Temporary { source } => Some(source),
            _ => None,
        }
    }
}

/// Reads a pipeline file. If `path` is a directory, the file is [`FILE`] in this directory.
///
/// # Errors
/// Returns [`LocalError::Read`] or [`LocalError::Invalid`].
pub fn lint(path: &Path) -> Result<Pipeline, LocalError> {
    let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
    let read = |source| LocalError::Read { path: file.clone(), source };
    let content = read_limited(&file).map_err(read)?;
    let text = String::from_utf8(content);
    let text = text.map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let name = file.strip_prefix(".").unwrap_or(&file).display().to_string();
    Pipeline::parse(&name, &text).map_err(LocalError::Invalid)
}

/// Reads at most one byte more than the maximum size of a pipeline file.
fn read_limited(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(file)?.take(FILE_MAX as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Returns a list of the steps that run for a target, and the reasons why other steps do not run.
/// `base` is the base branch of a pull request.
///
/// # Errors
/// Returns the same errors as [`lint`].
pub fn explain(path: &Path, target: &Target, base: Option<&str>) -> Result<String, LocalError> {
    let trigger = Trigger { target: target.clone(), base: base.map(str::to_owned), changed: None };
    Ok(Plan::new(&lint(path)?, &trigger).to_string())
}

/// Runs the pipeline of the work tree in `dir`. Each step runs in a copy of the work tree, which
/// contains all tracked files, all untracked files that are not ignored, and the history.
///
/// Steps that do not need each other run at the same time. If the settings do not define a pool,
/// the steps that name it run one at a time.
///
/// In the sandbox, the directories in `PATH` and the rustup toolchains are visible even if they are
/// in the home directory, which is otherwise hidden.
///
/// Every line written to `output` is prefixed with the name of the step. If `output` returns an
/// error, the run stops.
///
/// If the future is dropped, all processes are killed.
pub async fn run(
    dir: &Path,
    options: &LocalOptions,
    output: &mut (dyn Write + Send),
) -> ExitStatus {
    let prepared = plan(dir, options).and_then(|planned| {
        let artifacts = tempfile::Builder::new().prefix("datakit-ci-").tempdir();
        let error = |source| LocalError::Temporary { source };
        Ok((planned, settings(options)?, artifacts.map_err(error)?))
    });
    let ((plan, target), settings, artifacts) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // There is no other way to report the error.
            let _ = writeln!(output, "{}", with_causes(&error));
            return ExitStatus::Error;
        }
    };
    let pools = Pools::new();
    let jobs = options.jobs.or_else(|| std::thread::available_parallelism().ok());
    let _ = pools.get_or_add(DEFAULT_POOL, jobs.map_or(1, NonZeroUsize::get));
    let (settings, output) = (Arc::new(settings), Mutex::new(output));
    let dir = dir.to_owned();
    let run = LocalRun { dir, target, settings, pools, artifacts, output };
    run.all(&plan).await.unwrap_or(ExitStatus::Error)
}

/// Returns the `datakit-ci` directory in the user's cache directory, or `None` if neither
/// `XDG_CACHE_HOME` nor `HOME` is set.
#[must_use]
pub fn user_cache_dir() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(cache.or_else(home)?.join("datakit-ci"))
}

fn settings(options: &LocalOptions) -> Result<Settings, LocalError> {
    let mut settings = tools::share(options.settings.clone(), |name| std::env::var_os(name));
    if let Some(dir) = &options.cache_dir {
        settings.podman.get_or_insert_with(|| dir.join("images"));
        if settings.caches.is_none() {
            let caches = Caches::open(dir.join("caches"));
            let error = |source| LocalError::CacheDir { dir: dir.clone(), source };
            settings.caches = Some(caches.map_err(error)?);
        }
    }
    Ok(settings)
}

fn plan(dir: &Path, options: &LocalOptions) -> Result<(Plan, Target), LocalError> {
    let pipeline = lint(dir)?;
    let target = options.target.clone().or_else(|| local_target(dir));
    let target = target.ok_or_else(|| LocalError::NoTarget { dir: dir.to_owned() })?;
    let plan = if options.steps.is_empty() {
        let (target, base) = (target.clone(), options.base.clone());
        Plan::new(&pipeline, &Trigger { target, base, changed: None })
    } else {
        Plan::all(&pipeline).only(&options.steps).map_err(LocalError::UnknownStep)?
    };
    Ok((plan, target))
}

/// Returns the current branch as a target in the repository `local/DIRECTORY`.
fn local_target(dir: &Path) -> Option<Target> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let directory = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let repo = Repo::new("local", &directory).ok()?;
    let branch = git::output(&dir, &["symbolic-ref", "--short", "HEAD"]);
    let branch = branch.unwrap_or_else(|| b"none".to_vec());
    let name = RefName::new(RefKind::Heads, branch.trim_ascii_end()).ok()?;
    Some(Target::Ref(RefId { repo, name }))
}
