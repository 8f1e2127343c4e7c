//! The configuration that the original DataKitCI used to test DataKit, ported to this crate.
//!
//! The original built a Docker image for each component and ran the tests in the images. Here, each
//! component is a shell step in a worktree. The dependencies between the components are the same.
//!
//! ```sh
//! datakit serve --git ci-state &
//! datakit bridge local datakit-rs/datakit:. &
//! cargo run -p datakit-ci --example self_ci -- tcp://127.0.0.1:5640 . /tmp/self-ci
//! ```

use std::error::Error;
use std::time::Duration;

use datakit_ci::build::{Builds, Cache, LiveLogs};
use datakit_ci::git::{FetchHead, FetchKey, Repository, Shell, ShellKey, ShellOptions};
use datakit_ci::pool::Pool;
use datakit_ci::term::{Term, wait_for_all};
use datakit_ci::{Engine, Options, Project, Target, TestInput, Tests};
use datakit_client::db::{Database, Db};
use datakit_github::Commit;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, remote, dir] = &*arguments else { return Err("use: self_ci URL REMOTE DIR".into()) };
    let db = Db::connect(&url.parse()?).await?;
    let repository = Repository::open_or_clone(remote, dir).await?;
    let components = Components::new(&db, &repository, &ShellOptions::default(), COMMANDS);
    let project = Project::new("datakit-rs/datakit".parse()?, move |input| components.tests(input));
    Engine::new(db, Options::default(), vec![project]).run().await?;
    Ok(())
}

/// The components and their commands.
pub(crate) const COMMANDS: [(&str, &str); 7] = [
    ("client", "cargo test -p datakit-client"),
    // The oldest compiler supported by the client.
    ("client-1.88", "cargo +1.88 test -p datakit-client"),
    ("ci", "cargo test -p datakit-ci"),
    ("self-ci", "cargo build -p datakit-ci --example self_ci"),
    ("github", "cargo build -p datakit-github"),
    ("datakit", "cargo test -p datakit-server"),
    ("local-git", "cargo build -p datakit-bridge-local-git"),
];

/// The builders of the components.
pub(crate) struct Components<D: Database> {
    fetch: Cache<D, FetchHead>,
    shells: Vec<(&'static str, Cache<D, Shell>)>,
}

impl<D: Database> Components<D> {
    /// Creates one cache for each builder. At most ten commands run at the same time.
    pub(crate) fn new(
        db: &D,
        repository: &Repository,
        options: &ShellOptions,
        commands: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Components<D> {
        let (logs, builds) = (LiveLogs::new(), Builds::new());
        let mut options = options.clone();
        options.pool = Some(Pool::new("Docker", 10));
        options.timeout = Duration::from_secs(30 * 60);
        let fetch = Cache::new(db.clone(), FetchHead::new(repository.clone()), logs.clone());
        builds.add(&fetch);
        let shell = |(label, command)| {
            let shell = Shell::new(repository.clone(), label, [command], options.clone());
            let cache = Cache::new(db.clone(), shell, logs.clone());
            builds.add(&cache);
            (label, cache)
        };
        let shells = commands.into_iter().map(shell).collect();
        Components { fetch, shells }
    }

    /// Returns the tests of a target.
    pub(crate) fn tests(&self, input: &TestInput) -> Tests {
        // The web site's pages are not tested.
        if input.target.to_string().ends_with("/heads/gh-pages") {
            return Vec::new();
        }
        let source = self.source(input);
        let build = |label: &str| self.build(label, &input.target, &source);
        let after = |label: &str, base: &Term<()>| {
            // The log of the base build is already shown with the base's own test.
            let base = base.without_logs();
            let (source, build) = (source.clone(), build(label));
            source.without_logs().pair(&base).bind(move |_| build.clone())
        };
        let (client, ci) = (build("client"), build("ci"));
        let libraries = [("client", client.clone()), ("client-1.88", build("client-1.88"))];
        let text = |term: Term<()>, text: &'static str| term.map(move |()| text.to_owned());
        let tests = [
            ("ci", text(ci.clone(), "Tests passed")),
            ("self-ci", text(after("self-ci", &ci), "Build succeeded")),
            ("github", text(build("github"), "Build succeeded")),
            ("datakit", text(build("datakit"), "Tests passed")),
            ("local-git", text(after("local-git", &client), "Build succeeded")),
            ("libraries", text(wait_for_all(libraries), "Library tests succeeded")),
        ];
        tests.map(|(name, term)| (name.to_owned(), term)).into()
    }

    /// Returns a term for the commit of a target. The term succeeds when the commit has been
    /// fetched to disk.
    fn source(&self, input: &TestInput) -> Term<Commit> {
        let (fetch, target) = (self.fetch.clone(), input.target.clone());
        input.head().bind(move |commit| fetch.find(&FetchKey { target: target.clone(), commit }))
    }

    /// Returns a term that builds a component.
    fn build(&self, label: &str, target: &Target, source: &Term<Commit>) -> Term<()> {
        let Some((_, shell)) = self.shells.iter().find(|(name, _)| *name == label) else {
            return Term::failure(format!("there is no component {label}"));
        };
        let (shell, target) = (shell.clone(), target.clone());
        source.bind(move |commit| shell.find(&ShellKey { commit, target: target.clone() }))
    }
}
