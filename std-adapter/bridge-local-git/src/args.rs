//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use datakit_client::Url;
use datakit_github::{DEFAULT_BRANCH, InvalidRepo, Repo};
use datakit_program::{HttpAddress, LogArgs};

/// Publish the branches of local Git repositories in a DataKit database
///
/// For each branch of a repository, the bridge writes the hash of the branch's head to the file
/// USER/REPO/ref/heads/NAME/head in a branch of the database. Whenever a branch changes, the bridge
/// updates the file. The bridge never writes to the repositories.
///
/// Do not publish the repository in which the database stores its data, because each commit to the
/// database would cause another commit.
#[derive(Parser, Debug, Clone)]
#[command(name = "datakit-bridge-local-git", version, max_term_width = 100)]
pub(crate) struct Args {
    /// The name under which to publish a repository, and the path of the repository. The repository
    /// may be bare
    #[arg(required = true, value_name = "USER/REPO:PATH", value_parser = OsStringValueParser::new().try_map(parse_repository))]
    pub(crate) repositories: Vec<(Repo, PathBuf)>,
    /// The database server: HOST:PORT, tcp:HOST:PORT or the path of a socket
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DATAKIT_ADDRESS",
        default_value = "tcp:127.0.0.1:5640",
        visible_alias = "datakit"
    )]
    pub(crate) metadata_store: Url,
    /// The database branch to which the refs are written
    #[arg(short, long, value_name = "NAME", default_value = DEFAULT_BRANCH)]
    pub(crate) branch: String,
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics. PORT without HOST listens on all
    /// interfaces; port 0 picks a free port
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen_prometheus: Option<HttpAddress>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The error returned when an argument does not have the form `USER/REPO:PATH`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRepository {
    #[error("{0}: missing path (format should be user/project:path)")]
    MissingPath(String),
    #[error(transparent)]
    Name(#[from] InvalidRepo),
}

/// Parses `USER/REPO:PATH`. The path may contain colons and need not be UTF-8.
fn parse_repository(text: OsString) -> Result<(Repo, PathBuf), InvalidRepository> {
    let bytes = text.as_bytes();
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let repo = name.parse()?;
    match parts.next() {
        Some(path) if !path.is_empty() => Ok((repo, OsString::from_vec(path.to_vec()).into())),
        _ => Err(InvalidRepository::MissingPath(text.to_string_lossy().into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        let words = ["datakit-bridge-local-git"].iter().chain(words);
        Args::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn repositories_have_a_name_and_a_path() {
        let args =
            parse(&["a/b:/srv/x:y", "c/d:z", "--metadata-store", "tcp:localhost:1"]).unwrap();
        let shown: Vec<String> =
            args.repositories.iter().map(|(repo, path)| format!("{repo} {path:?}")).collect();
        assert_eq!(shown, ["a/b \"/srv/x:y\"", "c/d \"z\""]);
        assert_eq!(args.metadata_store.to_string(), "tcp://localhost:1");
        assert_eq!(args.branch, "github-metadata");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (words, text) in [
            (&[][..], "<USER/REPO:PATH>"),
            (&["x:/srv"], "Bad repository name \"x\" (format should be user/project)"),
            (&["a/b/c:/srv"], "Bad repository name \"a/b/c\" (format should be user/project)"),
            (&["a/b"], "a/b: missing path (format should be user/project:path)"),
            (&["a/b:"], "a/b:: missing path (format should be user/project:path)"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
