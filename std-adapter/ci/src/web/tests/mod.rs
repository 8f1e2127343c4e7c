//! Tests for the pages, with an engine and an in-memory database.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod attacks;
mod logs;
mod pages;
mod streams;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use datakit_client::db::{BranchExt, BranchOps, CommitOps, Database as _, TransactionOps, TreeOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{Diff, Element, Hash, Pr, PrId, PrState, Ref, Repo, ensure_branch, write};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::auth::{Auth, Options as AuthOptions, Policy};
use super::{WebState, router};
use crate::build::{Build, BuildLog, Builder, Builds, Cache, LiveLogs};
use crate::pool::Pools;
use crate::state::JobStatus;
use crate::term::Term;
use crate::{Engine, Options, Project, Target, View};

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// A build that writes a string to its log and then succeeds or fails.
#[derive(Clone, Default)]
struct Script {
    log: String,
    failure: Option<String>,
    /// Whether the build waits for a permit after writing the log.
    waits: bool,
}

/// A builder that runs the scripts of the tests.
#[derive(Clone)]
struct Scripts {
    scripts: Arc<HashMap<String, Script>>,
    permits: Arc<Semaphore>,
    /// The logs of the waiting builds.
    logs: Arc<Mutex<HashMap<String, BuildLog>>>,
}

impl Builder for Scripts {
    type Key = String;
    type Value = String;

    fn name(&self) -> &str {
        "scripts"
    }

    fn title(&self, key: &String) -> String {
        format!("Run {key}")
    }

    fn branch(&self, key: &String) -> String {
        format!("run-of-{key}")
    }

    async fn generate(&self, build: &Build, key: &String) -> Result<String, String> {
        let script = self.scripts.get(key).cloned().unwrap_or_default();
        build.log().write(&script.log);
        if script.waits {
            self.logs.lock().insert(key.clone(), build.log().clone());
            build.progress().text("Building");
            self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
        }
        match script.failure {
            Some(failure) => Err(failure),
            None => {
                build.write_file("value".parse().unwrap(), "done");
                Ok("done".to_owned())
            }
        }
    }

    async fn load<T: TreeOps>(&self, _: &T, _: &String) -> datakit_client::db::Result<String> {
        Ok("done".to_owned())
    }
}

/// A CI with the project `me/app`, which has the same tests for all targets.
struct Site {
    db: DirectDb,
    view: View,
    router: Router,
    scripts: Scripts,
    state: WebState,
    _dir: TempDir,
    engine: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// The names and scripts of a site's tests.
type Tests = Vec<(&'static str, Script)>;

fn repo() -> Repo {
    "me/app".parse().unwrap()
}

fn hash(number: usize) -> Hash {
    Hash::parse(format!("{number:040x}")).unwrap()
}

fn branch(name: &str) -> Target {
    format!("me/app/heads/{name}").parse().unwrap()
}

impl Site {
    async fn new(tests: Tests) -> Site {
        Site::with(tests, "everyone", "everyone").await
    }

    async fn with(tests: Tests, can_read: &str, can_build: &str) -> Site {
        Site::of(&[repo()], tests, can_read, can_build).await
    }

    async fn of(repos: &[Repo], tests: Tests, can_read: &str, can_build: &str) -> Site {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        let scripts = Scripts {
            scripts: Arc::new(
                tests.iter().map(|(name, script)| ((*name).to_owned(), script.clone())).collect(),
            ),
            permits: Arc::new(Semaphore::new(0)),
            logs: Arc::default(),
        };
        let (live, builds, pools) = (LiveLogs::new(), Builds::new(), Pools::new());
        let cache = Cache::new(db.clone(), scripts.clone(), live.clone());
        builds.add(&cache);
        let names: Vec<String> = tests.iter().map(|(name, _)| (*name).to_owned()).collect();
        let project = |repo: &Repo| {
            let (cache, names) = (cache.clone(), names.clone());
            Project::new(repo.clone(), move |input| {
                let term = |name: &String| {
                    let head = input.head();
                    let build = cache.find(name).label(format!("build {name}"));
                    (name.clone(), head.pair(&build).map(|(_, text)| text))
                };
                names.iter().map(term).collect::<Vec<(String, Term<String>)>>()
            })
        };
        let projects = repos.iter().map(project).collect();
        let mut engine = Engine::new(db.clone(), Options::default(), projects);
        let view = engine.view();
        let dir = tempfile::tempdir().unwrap();
        let mut options = AuthOptions::new(dir.path(), "http://ci.example.org/");
        options.can_read = can_read.parse::<Policy>().unwrap();
        options.can_build = can_build.parse::<Policy>().unwrap();
        let auth = Auth::open(options).unwrap();
        let state = WebState::new(db.clone(), view.clone(), live, builds, pools, auth)
            .metrics(super::monitoring::sha256(b"secret"), || "up 1\n".to_owned());
        let router = router(state.clone());
        let engine = tokio::spawn(async move {
            engine.run().await.unwrap();
        });
        Site { db, view, router, scripts, state, _dir: dir, engine }
    }

    /// Commits metadata elements to the metadata branch, as a bridge does.
    async fn commit(&self, elements: impl IntoIterator<Item = Element>) {
        let branch = ensure_branch(&self.db, datakit_github::DEFAULT_BRANCH).await.unwrap();
        let diff = Diff::new(elements, []);
        let committed = branch.with_transaction(async |transaction| {
            write(transaction, &diff).await?;
            transaction.commit("bridge").await
        });
        committed.await.unwrap();
    }

    /// Sets the head of a branch, and waits until all its tests have the given status.
    async fn set_head(&self, name: &str, head: usize, status: JobStatus) {
        let Target::Ref(id) = branch(name) else { panic!("a branch is a ref") };
        self.commit([Element::from(Ref { id, head: hash(head) })]).await;
        let is_done = |view: &crate::TargetView| {
            view.head.hash == hash(head) && view.jobs.iter().all(|job| job.result.status == status)
        };
        self.wait_for(&branch(name), is_done).await;
    }

    async fn open_pr(&self, number: u64, title: &str, head: usize) {
        let pr = Pr {
            id: PrId { repo: repo(), number },
            head: hash(head),
            state: PrState::Open,
            title: title.into(),
            owner: "someone".into(),
            base: "master".into(),
            comments: Vec::new(),
        };
        let target = Target::Pr(pr.id.clone());
        self.commit([Element::from(pr)]).await;
        self.wait_for(&target, |_| true).await;
    }

    /// Waits until the view shows the target in the expected state.
    async fn wait_for(&self, target: &Target, is_done: impl Fn(&crate::TargetView) -> bool) {
        let mut changes = self.view.changes();
        let waited = tokio::time::timeout(LIMIT, async {
            while !self.view.target(target).is_some_and(|view| is_done(&view)) {
                changes.recv().await.unwrap();
            }
        });
        if waited.await.is_err() {
            panic!("{target} does not get the expected state: {:?}", self.view.target(target));
        }
    }

    fn browser(&self) -> Browser {
        Browser { router: self.router.clone(), cookie: None }
    }

    async fn get(&self, path: &str) -> Answer {
        self.browser().get(path).await
    }

    /// Fetches a page that must exist.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }
}

/// Waits until a target's history contains a commit with the given message.
async fn wait_for_history(site: &Site, target: &Target, message: &str) {
    let branch = site.db.branch(crate::state::history_branch(target)).await.unwrap();
    let mut heads = branch.watch_head().await.unwrap();
    let waited = tokio::time::timeout(LIMIT, async {
        while let Some(head) = heads.next().await {
            let Some(head) = head.unwrap() else { continue };
            if head.message().await.unwrap().starts_with(message) {
                return;
            }
        }
    });
    waited.await.unwrap();
}

/// A browser with one cookie.
struct Browser {
    router: Router,
    cookie: Option<String>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Browser {
    async fn send(&mut self, mut request: axum::http::request::Builder, body: String) -> Answer {
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(set) = parts.headers.get("set-cookie") {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), String::new()).await
    }

    /// Opens a page, and submits the form whose action starts with `action`.
    async fn submit(&mut self, page: &str, action: &str) -> Answer {
        let page = self.get(page).await;
        let action = attribute(&page.body, "action=\"", action);
        let csrf = attribute(&page.body, "name=\"csrf\" value=\"", "");
        self.post(&action, &format!("csrf={csrf}")).await
    }

    async fn post(&mut self, path: &str, form: &str) -> Answer {
        let kind = "application/x-www-form-urlencoded";
        self.send(Request::post(path).header("content-type", kind), form.to_owned()).await
    }
}

/// Returns the first attribute value that follows `name` and starts with `start`.
fn attribute(html: &str, name: &str, start: &str) -> String {
    let values = html.split(name).skip(1).filter_map(|rest| rest.split_once('"'));
    let found = values.map(|(value, _)| value).find(|value| value.starts_with(start));
    found.unwrap_or_else(|| panic!("no {name}{start} in {html}")).replace("&amp;", "&")
}

fn passing(log: &str) -> Script {
    Script { log: log.to_owned(), ..Script::default() }
}

fn failing(log: &str) -> Script {
    Script { log: log.to_owned(), failure: Some("exit status 1".to_owned()), ..Script::default() }
}

fn waiting(log: &str) -> Script {
    Script { log: log.to_owned(), waits: true, ..Script::default() }
}
