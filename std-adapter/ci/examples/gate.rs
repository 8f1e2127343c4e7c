//! Runs a target's integration tests after another CI has built the packages for the same commit.
//!
//! The other CI reports its result as a status, for example on GitHub, and the bridge writes the
//! status to the metadata branch. The packages can be downloaded from the URL of the status.
//!
//! ```sh
//! datakit serve --git ci-state &
//! datakit bridge local me/app:. &
//! cargo run -p datakit-ci --example gate -- tcp://127.0.0.1:5640 me/app ci/packages
//! ```
//!
//! To set a status manually, use `cargo run -p datakit-github --example status`.

use std::error::Error;

use datakit_ci::build::{Build, Builder, Cache, LiveLogs};
use datakit_ci::command::{Command, Network, Sandbox};
use datakit_ci::term::Term;
use datakit_ci::{Engine, Options, Project, TestInput, Tests};
use datakit_client::db::{self, Database, Db, Path, TreeOps};
use datakit_github::{Commit, Context};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, repo, context] = &*arguments else { return Err("use: gate URL REPO CONTEXT".into()) };
    let db = Db::connect(&url.parse()?).await?;
    let builder = Integration { script: SCRIPT.to_owned(), sandbox: online() };
    let cache = Cache::new(db.clone(), builder, LiveLogs::new());
    let context: Context = context.parse()?;
    let project = Project::new(repo.parse()?, move |input| tests(&cache, &context, input));
    Engine::new(db, Options::default(), vec![project]).run().await?;
    Ok(())
}

/// Downloads the packages and tests them.
const SCRIPT: &str = "curl --fail --silent --show-error --output packages.tar \"$PACKAGES\"
tar -xf packages.tar
./integration-tests";

/// Returns a sandbox with network access.
fn online() -> Sandbox {
    datakit_ci::command::Isolation::default().network(Network::Host).into()
}

/// Returns the tests of a target. The `integration` test waits until the status with the given
/// context reports success. If the other CI reports a failure, the test fails without running.
pub(crate) fn tests<D: Database>(
    cache: &Cache<D, Integration>,
    context: &Context,
    input: &TestInput,
) -> Tests {
    let (metadata, target) = (&input.metadata, &input.target);
    let packages = metadata.ci_success_target_url(target, context);
    let cache = cache.clone();
    // A new commit or URL changes the key, so it starts another build.
    let tested = input
        .head()
        .pair(&packages)
        .bind(move |(commit, url)| -> Term<String> { cache.find(&Packages { commit, url }) });
    vec![("integration".to_owned(), tested)]
}

/// The packages of a commit.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    commit: Commit,
    url: String,
}

/// Tests packages.
#[derive(Debug)]
pub(crate) struct Integration {
    pub(crate) script: String,
    pub(crate) sandbox: Sandbox,
}

impl Builder for Integration {
    type Key = Packages;
    type Value = String;

    fn name(&self) -> &str {
        "integration"
    }

    fn title(&self, key: &Packages) -> String {
        format!("Integration tests of {}", key.url)
    }

    fn branch(&self, key: &Packages) -> String {
        format!("integration-of-{}", key.commit.hash)
    }

    async fn generate(&self, build: &Build, key: &Packages) -> Result<String, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let command = Command::shell(&self.script, dir.path())
            .sandbox(self.sandbox.clone())
            // A URL inserted into the script could change the meaning of the script.
            .env("PACKAGES", &key.url);
        command.run(build.log()).await.map_err(|error| error.to_string())?;
        let text = format!("Passed with {}", key.url);
        build.write_file(value().map_err(text_of)?, &*text);
        Ok(text)
    }

    async fn load<T: TreeOps>(&self, tree: &T, _: &Packages) -> db::Result<String> {
        let text = tree.read_file(&value()?).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn value() -> db::Result<Path> {
    Path::from_names(["value"])
}

fn text_of(error: db::Error) -> String {
    error.to_string()
}
