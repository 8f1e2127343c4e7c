//! Measures the log pages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use datakit_ci::build::{BuildLog, Builds, LiveLogs, LogLimits};
use datakit_ci::pool::Pools;
use datakit_ci::web::auth::{Auth, Options as AuthOptions, Policy};
use datakit_ci::web::{WebState, router};
use datakit_ci::{Engine, Options};
use datakit_client::db::{BranchOps, CommitOps, Database as _, TransactionOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::memory;

const VIEWERS: usize = 500;

/// The size of the large log, in bytes.
const LARGE: usize = 100_000_000;

/// The pages of a CI without targets.
struct Site {
    db: DirectDb,
    live: LiveLogs,
    state: WebState,
    _secrets: TempDir,
}

impl Site {
    fn new() -> Site {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        let engine = Engine::new(db.clone(), Options::default(), Vec::new());
        let (live, secrets) = (LiveLogs::new(), TempDir::new().unwrap());
        let mut options = AuthOptions::new(secrets.path(), "http://localhost".to_owned());
        options.can_read = Policy::Everyone;
        let auth = Auth::open(options).unwrap();
        let (builds, pools) = (Builds::new(), Pools::new());
        let state = WebState::new(db.clone(), engine.view(), live.clone(), builds, pools, auth);
        Site { db, live, state, _secrets: secrets }
    }

    fn router(&self) -> Router {
        router(self.state.clone())
    }
}

/// Requests a page and returns its size in bytes.
async fn get(router: Router, path: String) -> usize {
    let request = Request::get(&path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    let mut body = response.into_body();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame.unwrap().data_ref().map_or(0, |data| data.len());
    }
    size
}

/// Measures how long it takes for 500 viewers to receive a 1 MB log, and how often the log is read.
pub(crate) async fn live_log() {
    let site = Site::new();
    let log = BuildLog::new("build", Vec::new(), LogLimits::default());
    let registered = site.live.add("live", log.clone()).unwrap();
    let router = site.router();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|_| tokio::spawn(get(router.clone(), "/log/live/live?events=0".to_owned())))
        .collect();
    let before = memory("VmRSS");
    let began = Instant::now();
    for line in 0..10_000 {
        log.write(&format!("{line:6} {}\n", "x".repeat(92)));
        if line % 2000 == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let reads = site.state.live_log_reads("live").unwrap();
    let used = memory("VmRSS").saturating_sub(before);
    log.finish();
    drop(registered);
    let mut bytes = 0;
    for viewer in viewers {
        bytes += viewer.await.unwrap();
    }
    let (mb, seconds) = (bytes as f64 / 1e6, began.elapsed().as_secs_f64());
    println!(
        "live log of 1 MB, {VIEWERS} viewers: {reads} reads, {mb:.0} MB sent in {seconds:.2} s, {used} MB of memory"
    );
}

/// Measures requests for a stored log of 100 MB.
pub(crate) async fn large_log() {
    let site = Site::new();
    let mut text = String::from("=== Run unit\n");
    for line in 0.. {
        text.push_str(&format!("\x1b[32mline {line}\x1b[0m {}\n", "x".repeat(80)));
        if text.len() >= LARGE {
            break;
        }
    }
    let branch = site.db.branch("large").await.unwrap();
    let transaction = branch.transaction().await.unwrap();
    transaction.create_file(&"log".parse().unwrap(), text.as_bytes(), false).await.unwrap();
    let commit = transaction.commit("large").await.unwrap().id();
    drop(text);
    let (router, url) = (site.router(), format!("/log/saved/large/{commit}"));
    let before = memory("VmRSS");
    // Resets `VmHWM`.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    for (name, path) in [
        ("first page, with the index", url.clone()),
        ("next page", format!("{url}?page=2")),
        ("line 500000", format!("{url}?line=500000")),
        ("search to the end", format!("{url}?q=not%20there")),
        ("download", format!("{url}?raw")),
    ] {
        let began = Instant::now();
        let size = get(router.clone(), path).await;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        println!("log of 100 MB, {name}: {ms:.1} ms, {:.1} kB", size as f64 / 1e3);
    }
    let used = memory("VmHWM").saturating_sub(before);
    println!("log of 100 MB, memory for these requests: {used} MB");
}
