//! A CI, its web server, and builds controlled by the tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datakit_ci::build::{Build, BuildLog, Builder, Builds, Cache, LiveLogs};
use datakit_ci::pool::{Holder, Pool, Pools};
use datakit_ci::state::JobStatus;
use datakit_ci::term::{Term, wait_for_all};
use datakit_ci::web::auth::{Auth, Options as AuthOptions, Policy};
use datakit_ci::web::server::{Limits, serve};
use datakit_ci::web::{WebState, router};
use datakit_ci::{Engine, Options, Project, Target, TargetView, View};
use datakit_client::db::{BranchExt, TransactionOps, TreeOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{Diff, Element, Hash, Pr, PrId, PrState, Ref, ensure_branch, write};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The time limit for every wait.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const EVIL: &str = "<img/src=x/onerror=window.evil=1>";

/// Builds the steps of a target. A build is named after its step and its target.
#[derive(Clone)]
struct Steps {
    permits: Arc<Semaphore>,
    logs: Arc<Mutex<HashMap<String, BuildLog>>>,
    pool: Pool,
}

type Key = (&'static str, String);

impl Builder for Steps {
    type Key = Key;
    type Value = String;

    fn name(&self) -> &str {
        "steps"
    }

    fn title(&self, (step, target): &Key) -> String {
        format!("Run {step} of {target}")
    }

    fn branch(&self, (step, target): &Key) -> String {
        format!("run-of-{step}-{}", target.replace(['/', ' '], "-"))
    }

    async fn generate(&self, build: &Build, (step, target): &Key) -> Result<String, String> {
        let log = build.log();
        match *step {
            "docs" => {
                let holder = Holder::new("me/app", format!("{target}:docs"));
                let _guard = self.pool.acquire(&holder, build.progress()).await;
                std::future::pending::<()>().await;
            }
            "deploy" => {
                log.line("$ ./deploy.sh --slowly");
                log.write("\x1b[1mdeploying\x1b[0m\n");
                self.logs.lock().unwrap().insert(target.clone(), log.clone());
                build.progress().text("Deploying");
                self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
            }
            _ => write_log(log, step, target),
        }
        if *step == "unit" && target.contains("broken") {
            return Err("exit status 101".to_owned());
        }
        build.write_file("value".parse().unwrap(), "done");
        Ok(format!("{step} passed"))
    }

    async fn load<T: TreeOps>(&self, _: &T, (step, _): &Key) -> datakit_client::db::Result<String> {
        Ok(format!("{step} passed"))
    }
}

/// Writes the output that a Rust project would produce.
fn write_log(log: &BuildLog, step: &str, target: &str) {
    log.line(&format!("$ cargo {step} --workspace"));
    for package in ["core", "client", "server", "program"] {
        log.write(&format!("\x1b[1m\x1b[32m   Compiling\x1b[0m app-{package} v0.1.0\n"));
    }
    log.write(&format!("{EVIL}\n\x1b[33mwarning\x1b[0m: unused variable: `x`\n"));
    log.line("$ cargo report");
    for test in 1..40 {
        log.write(&format!("test parse::case_{test} ... \x1b[32mok\x1b[0m\n"));
    }
    if target.contains("broken") && step == "unit" {
        log.write("test parse::case_40 ... \x1b[31mFAILED\x1b[0m\n");
        log.write("\x1b[1;91merror\x1b[0m: assertion failed at src/parse.rs:17\n");
    }
}

/// A CI and its web server.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) intro: String,
    view: View,
    db: DirectDb,
    steps: Steps,
    _dir: TempDir,
}

impl Site {
    pub(crate) async fn start() -> Site {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        let (live, builds, pools) = (LiveLogs::new(), Builds::new(), Pools::new());
        let pool = pools.get_or_add("documentation", 1);
        let steps = Steps { permits: Arc::new(Semaphore::new(0)), logs: Arc::default(), pool };
        let cache = Cache::new(db.clone(), steps.clone(), live.clone());
        builds.add(&cache);
        let project = Project::new("me/app".parse().unwrap(), move |input| {
            let step = |name| (name, cache.find(&(name, input.target.to_string())));
            tests(&step)
        });
        let mut engine = Engine::new(db.clone(), Options::default(), vec![project]);
        let view = engine.view();
        tokio::spawn(async move { engine.run().await });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut options = AuthOptions::new(dir.path(), url.clone());
        options.can_read = Policy::Everyone;
        let auth = Auth::open(options).unwrap();
        let intro = format!("{url}{}", auth.intro_path().unwrap());
        let state = WebState::new(db.clone(), view.clone(), live, builds, pools, auth);
        let dashboards = ["heads/master", "heads/broken", "tags/v1.0"];
        let dashboards = dashboards.map(|name| format!("me/app/{name}").parse().unwrap());
        let router = router(state.dashboards(dashboards.to_vec()));
        tokio::spawn(serve(listener, router, None, Limits::default(), std::future::pending()));
        Site { url, intro, view, db, steps, _dir: dir }
    }

    /// Adds branches, tags and pull requests, and waits until their builds are running.
    pub(crate) async fn fill(&self) {
        let mut elements = Vec::new();
        let names = ["heads/master", "heads/broken", "heads/fix/c++", "tags/v1.0"];
        let evil = format!("heads/{}", EVIL.replace(' ', "/"));
        for (at, name) in names.into_iter().chain([evil.as_str()]).enumerate() {
            let Target::Ref(id) = format!("me/app/{name}").parse().unwrap() else {
                panic!("a ref")
            };
            elements.push(Element::from(Ref { id, head: hash(at + 1) }));
        }
        for (number, title) in [(7, "Parse empty input"), (8, EVIL)] {
            elements.push(Element::from(Pr {
                id: PrId { repo: "me/app".parse().unwrap(), number },
                head: hash(100 + usize::try_from(number).unwrap()),
                state: PrState::Open,
                title: title.into(),
                owner: "someone".into(),
                base: "master".into(),
                comments: Vec::new(),
            }));
        }
        let branch = ensure_branch(&self.db, datakit_github::DEFAULT_BRANCH).await.unwrap();
        let diff = Diff::new(elements, []);
        let committed = branch.with_transaction(async |transaction| {
            write(transaction, &diff).await?;
            transaction.commit("bridge").await
        });
        committed.await.unwrap();
        self.wait_for("heads/master", "deploy", |_, text| text.contains("Deploying")).await;
        self.wait_for("heads/broken", "check", |status, _| status == JobStatus::Failure).await;
    }

    /// Waits until `is_done` returns `true` for the status and text of a target's test.
    pub(crate) async fn wait_for(
        &self,
        name: &str,
        test: &str,
        is_done: impl Fn(JobStatus, &str) -> bool,
    ) {
        let target: Target = format!("me/app/{name}").parse().unwrap();
        let mut changes = self.view.changes();
        let found = |view: &TargetView| {
            let job = view.jobs.iter().find(|job| job.test == test);
            job.is_some_and(|job| is_done(job.result.status, &job.result.text))
        };
        let waited = tokio::time::timeout(LIMIT, async {
            while !self.view.target(&target).is_some_and(|view| found(&view)) {
                let _ = changes.recv().await;
            }
        });
        assert!(waited.await.is_ok(), "{name}:{test}: {:?}", self.view.target(&target));
    }

    /// Returns the log of the running deployment of a target.
    pub(crate) fn log(&self, name: &str) -> BuildLog {
        self.steps.logs.lock().unwrap().get(&format!("me/app/{name}")).cloned().unwrap()
    }

    /// Allows `count` deployments to end.
    pub(crate) fn release(&self, count: usize) {
        self.steps.permits.add_permits(count);
    }
}

/// Returns the tests of a target. The `check` test consists of multiple steps, two of which must
/// succeed before `deploy` runs.
fn tests(
    step: &impl Fn(&'static str) -> (&'static str, Term<String>),
) -> Vec<(String, Term<String>)> {
    let [fmt, clippy, unit, doc] = ["fmt", "clippy", "unit", "doctest"].map(step);
    let needed = wait_for_all([("unit", unit.1.unit()), ("doctest", doc.1.unit())]).label("tests");
    let all = [("fmt", fmt.1.unit()), ("clippy", clippy.1.unit()), ("tests", needed.clone())];
    let check = wait_for_all(all).map(|()| "all steps passed".to_owned());
    let (_, deploy) = step("deploy");
    let deploy = needed.bind(move |()| deploy.clone());
    let (_, docs) = step("docs");
    vec![("check".to_owned(), check), ("deploy".to_owned(), deploy), ("docs".to_owned(), docs)]
}

fn hash(number: usize) -> Hash {
    Hash::parse(format!("{number:040x}")).unwrap()
}
