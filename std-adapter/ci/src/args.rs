//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use datakit_ci::Target;
use datakit_client::Url;
use datakit_github::{DEFAULT_BRANCH, Repo};
use datakit_program::{HttpAddress, LogArgs};

/// Test commits with the pipelines defined in the repositories under test
///
/// The results and logs are stored in a DataKit database.
#[derive(Parser, Debug)]
#[command(name = "datakit-ci", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// If this is the first argument, the program restricts a command with Landlock. The server runs
/// the program in this way inside a step's sandbox. The other arguments are described at
/// [`restrict_and_run`].
///
/// [`restrict_and_run`]: datakit_ci::command::landlock::restrict_and_run
pub(crate) const LANDLOCK: &str = "landlock";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Test all branches, tags and open pull requests, and serve the web pages
    Serve(Box<ServeArgs>),
    /// Run the pipeline of a work tree on this computer
    Run(RunArgs),
    /// Check a pipeline file
    Lint(LintArgs),
    /// Print the tests of a target, their states, and what they are waiting for
    Explain(ExplainArgs),
}

/// Arguments of `serve`.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct ServeArgs {
    /// A repository to test, and the path or URL from which to clone it. Without SOURCE, the
    /// repository is cloned from the URL that the bridge found
    #[arg(value_name = "USER/REPO[:SOURCE]", value_parser = parse_project)]
    pub(crate) projects: Vec<(Repo, Option<String>)>,
    /// Read additional settings from a TOML file
    #[arg(long, value_name = "FILE", env = "DATAKIT_CI_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The database server: HOST:PORT, tcp:HOST:PORT or a socket path
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DATAKIT_ADDRESS",
        default_value = "tcp:127.0.0.1:5640",
        visible_alias = "datakit"
    )]
    pub(crate) metadata_store: Url,
    /// The database branch to which the bridge writes
    #[arg(short, long, value_name = "NAME", default_value = DEFAULT_BRANCH)]
    pub(crate) branch: String,
    /// Test only this target. May be repeated
    #[arg(long, value_name = "TARGET")]
    pub(crate) canary: Vec<Target>,
    /// The directory for clones, work trees and caches
    #[arg(long, value_name = "DIR", env = "DATAKIT_CI_WORK_DIR", default_value_os_t = default_work_dir())]
    pub(crate) work_dir: PathBuf,
    /// The directory for passwords, certificates and pipeline secrets [default: /secrets if it
    /// exists, otherwise `secrets` in the work directory]
    #[arg(long, value_name = "DIR", env = "DATAKIT_CI_SECRETS_DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// The public root URL of the web pages [default: the address on which the server listens]
    #[arg(long, value_name = "URL")]
    pub(crate) web_ui: Option<String>,
    /// Serve the web pages with TLS on this address
    #[arg(
        long,
        value_name = "[HOST:]PORT",
        default_value = "127.0.0.1:8443",
        conflicts_with = "listen_http"
    )]
    pub(crate) listen_https: HttpAddress,
    /// Serve the web pages without TLS on this address, for example behind a proxy
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_http: Option<HttpAddress>,
    /// Where to store user sessions: memory://, redis://HOST:PORT or, with TLS, rediss://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "memory://")]
    pub(crate) sessions_backend: String,
    /// The number of steps that can run at the same time
    #[arg(short, long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) jobs: u32,
    /// Run the steps without a sandbox. They can then read and change everything that the server
    /// can, including secrets
    #[arg(long)]
    pub(crate) unsandboxed: bool,
    /// How long another server that uses the database has to respond before this server takes over,
    /// and how long builds continue without the database
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) lease_timeout: Duration,
    /// Serve Prometheus metrics at http://HOST:PORT/metrics, in addition to the web pages
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_prometheus: Option<HttpAddress>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Arguments of `run`.
#[derive(ClapArgs, Debug)]
pub(crate) struct RunArgs {
    /// The work tree
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Run only this step and the steps it needs. May be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) step: Vec<String>,
    /// Run the steps selected by `when` for this target [default: the current branch]
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<Target>,
    /// The base branch, if the target is a pull request
    #[arg(long, value_name = "BRANCH", requires = "target")]
    pub(crate) base: Option<String>,
    /// Pass the environment variable NAME to the steps as the secret NAME. May be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Vec<String>,
    /// The number of steps that can run at the same time
    #[arg(short, long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) jobs: u32,
    /// Run the steps without a sandbox
    #[arg(long)]
    pub(crate) unsandboxed: bool,
}

/// Arguments of `lint`.
#[derive(ClapArgs, Debug)]
pub(crate) struct LintArgs {
    /// The pipeline file, or a directory that contains `.datakit-ci.toml`
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
}

/// Arguments of `explain`.
#[derive(ClapArgs, Debug)]
pub(crate) struct ExplainArgs {
    /// The target: USER/REPO/heads/NAME, USER/REPO/tags/NAME or USER/REPO/prs/N
    pub(crate) target: Target,
    /// The work directory of the running server
    #[arg(long, value_name = "DIR", env = "DATAKIT_CI_WORK_DIR", default_value_os_t = default_work_dir())]
    pub(crate) work_dir: PathBuf,
}

/// Returns the `datakit-ci` directory in the user's state directory.
fn default_work_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let state = state.or_else(|| {
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
        state.map(|state| state.join("datakit-ci"))
    });
    state.unwrap_or_else(|| PathBuf::from("/var/lib/datakit-ci"))
}

fn default_jobs() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX).min(1024))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err(format!("{text} s is not between 0.1 s and 3600 s"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses `USER/REPO` or `USER/REPO:SOURCE`. The source can contain colons.
pub(crate) fn parse_project(text: &str) -> Result<(Repo, Option<String>), String> {
    let (name, source) = match text.split_once(':') {
        Some((_, "")) => return Err(format!("{text}: a path or URL must follow the colon")),
        Some((name, source)) => (name, Some(source.to_owned())),
        None => (text, None),
    };
    let repo = name.parse().map_err(|error: datakit_github::InvalidRepo| error.to_string())?;
    Ok((repo, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn projects_have_an_optional_source() {
        let parse =
            |text: &str| parse_project(text).map(|(repo, source)| (repo.to_string(), source));
        assert_eq!(parse("me/app"), Ok(("me/app".to_owned(), None)));
        let url = "https://example.org:8443/app.git";
        assert_eq!(
            parse(&format!("me/app:{url}")),
            Ok(("me/app".to_owned(), Some(url.to_owned())))
        );
        assert!(parse("me/app:").unwrap_err().contains("must follow the colon"));
        assert!(parse("app").unwrap_err().contains("user/project"));
    }

    #[test]
    fn lease_timeout_has_limits() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "ten"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
