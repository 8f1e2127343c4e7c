//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use datakit_client::Url;
use datakit_github::{Capabilities, DEFAULT_BRANCH, Repo};
use datakit_program::HttpAddress;
use datakit_program::LogArgs;
use http::Uri;

/// Synchronize a DataKit branch with GitHub
///
/// The bridge copies the branches, tags, commit statuses and open pull requests of the monitored
/// repositories to files on a branch. If a client changes one of these files, the bridge sends the
/// change to GitHub. A repository is monitored if the branch contains USER/REPO/.monitor.
#[derive(Parser, Debug, Clone)]
#[command(name = "datakit-bridge-github", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// The database: a server at tcp://HOST:PORT, unix://PATH or file://PATH, or git://PATH for a
    /// local repository that no server is using
    #[arg(short, long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5640")]
    pub(crate) datakit: DatabaseUrl,
    /// Use no database; only receive webhooks and serve metrics
    #[arg(long)]
    pub(crate) no_datakit: bool,
    /// The branch that contains the files
    #[arg(short, long, value_name = "NAME", default_value = DEFAULT_BRANCH)]
    pub(crate) branch: String,
    /// Monitor these repositories
    #[arg(short, long, value_name = "USER/REPO,...", value_delimiter = ',')]
    pub(crate) repositories: Vec<Repo>,
    /// The operations that the bridge may perform, as a list of RESOURCE:OPS
    ///
    /// RESOURCE is `*` for all, `repo`, `repo[USER/REPO]`, `pr`, `commit`, `status`,
    /// `status[CONTEXT]`, `ref` or `webhook`. OPS consists of the letters r (read from GitHub), w
    /// (send changes to the branch to GitHub) and x (like rw, but also change GitHub to match the
    /// branch at the start).
    #[arg(short, long, value_name = "LIST", default_value = "*:rw")]
    pub(crate) capabilities: Capabilities,
    /// Read everything from GitHub again at this interval
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) resync_interval: u64,
    /// Do not read everything again at regular intervals
    #[arg(long)]
    pub(crate) no_resync: bool,
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics. PORT without HOST listens on all
    /// interfaces; port 0 picks a free port
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_prometheus: Option<HttpAddress>,
    /// Serve a `debug` directory over 9P on these addresses. The directory shows the log levels and
    /// GitHub's rate limits
    #[arg(long = "listen-9p", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) listen_9p: Vec<Url>,

    /// The root URL of the API; for GitHub Enterprise Server, https://HOST/api/v3
    #[arg(long, value_name = "URL", default_value = "https://api.github.com", value_parser = parse_api_url, help_heading = "GitHub")]
    pub(crate) github_url: Uri,
    /// The timeout for a call to GitHub
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "GitHub")]
    pub(crate) github_timeout: u64,
    /// Read the token from this file [default: $GITHUB_TOKEN, or the file datakit-github-cookie in
    /// ~/.github/jar or /run/secrets]
    #[arg(long, value_name = "FILE", conflicts_with = "app_id", help_heading = "GitHub")]
    pub(crate) token_file: Option<PathBuf>,
    /// Authenticate as the GitHub App with this ID
    #[arg(long, value_name = "NUMBER", requires = "app_key_file", help_heading = "GitHub")]
    pub(crate) app_id: Option<u64>,
    /// The file with the private key of the GitHub App, in PEM format
    #[arg(long, value_name = "FILE", requires = "app_id", help_heading = "GitHub")]
    pub(crate) app_key_file: Option<PathBuf>,

    /// Register a webhook with this public URL in each repository, and receive events on the URL's
    /// port
    #[arg(long, value_name = "URI", help_heading = "Webhooks")]
    pub(crate) webhook: Option<WebhookUri>,
    /// Receive events on this address instead of the URL's port, for example from a proxy
    #[arg(long, value_name = "IP:PORT", requires = "webhook", help_heading = "Webhooks")]
    pub(crate) webhook_listen: Option<SocketAddr>,
    /// Read the webhook secret from this file [default: a new random secret at each start]
    #[arg(long, value_name = "FILE", requires = "webhook", help_heading = "Webhooks")]
    pub(crate) webhook_secret_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

const EXAMPLES: &str = "\
Examples:
  datakit-bridge-github -r alice/hello
  datakit-bridge-github -r alice/hello -c '*:r,status[ci]:x' --webhook https://ci.example.com/hook \\
      --webhook-listen 127.0.0.1:8080";

/// The URL of a database server or of a local repository.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Returns the URL as a string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<DatabaseUrl, String> {
        match text.strip_prefix("git://") {
            Some("") => return Err("no path, use for example git:///srv/notes".to_owned()),
            Some(_) => {}
            None => drop(text.parse::<Url>().map_err(|error| error.to_string())?),
        }
        Ok(DatabaseUrl(text.to_owned()))
    }
}

/// The public URL of the webhook server.
#[derive(Debug, Clone)]
pub(crate) struct WebhookUri(Uri);

impl WebhookUri {
    /// Returns the port of the URL.
    pub(crate) fn port(&self) -> u16 {
        let default = if self.0.scheme_str() == Some("https") { 443 } else { 80 };
        self.0.port_u16().unwrap_or(default)
    }
}

impl fmt::Display for WebhookUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WebhookUri {
    type Err = String;

    fn from_str(text: &str) -> Result<WebhookUri, String> {
        parse_http_url(text, "https://ci.example.com/hook").map(WebhookUri)
    }
}

fn parse_api_url(text: &str) -> Result<Uri, String> {
    parse_http_url(text, "https://github.example.com/api/v3")
}

fn parse_http_url(text: &str, example: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    let has_userinfo = |uri: &Uri| uri.authority().is_some_and(|a| a.as_str().contains('@'));
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && !has_userinfo(uri))
        .ok_or_else(|| format!("use an address such as {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn ports_of_webhooks_have_defaults() {
        for (text, port) in [
            ("https://a/hook", 443),
            ("http://a", 80),
            ("http://a:8080/", 8080),
            ("https://[::1]:1", 1),
        ] {
            assert_eq!(text.parse::<WebhookUri>().unwrap().port(), port, "{text}");
        }
        for text in ["", "a", "ftp://a", "https://user:password@a/"] {
            assert!(text.parse::<WebhookUri>().is_err(), "{text}");
        }
    }
}
