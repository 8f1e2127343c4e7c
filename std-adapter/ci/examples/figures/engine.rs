//! Measures the engine with 1000 targets that have 5 tests each. The in-memory database runs in the
//! same process, so the figures include its work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datakit_ci::term::External;
use datakit_ci::{Engine, Options, Project, View};
use datakit_client::db::{BranchExt, TransactionOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{
    Commit, Context, Diff, Element, Hash, Ref, RefId, RefName, Repo, Status, StatusId, StatusState,
    Text, ensure_branch, write,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use crate::memory;

const TARGETS: usize = 1000;
const TESTS: usize = 5;
const REPEATS: usize = 21;

pub(crate) async fn measure() {
    let before = memory("VmRSS");
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
    let repo: Repo = "me/app".parse().unwrap();
    let heads = (0..TARGETS).map(|index| head(&repo, index, index));
    commit(&db, Diff::new(heads.map(Element::from), [])).await;

    let (started, mut starts) = mpsc::unbounded_channel();
    let project = Project::new(repo.clone(), move |input| {
        let gate = input.metadata.ci_success_target_url(&input.target, &context());
        let tests = (1..TESTS).map(|test| {
            let started = started.clone();
            let term = input.head().bind(move |commit: Commit| {
                let started = started.clone();
                External::new("build", move |_| {
                    // The receiver is dropped at the end of the program.
                    let _ = started.send(Instant::now());
                    let text = commit.hash.to_string();
                    async move { Ok(text) }
                })
                .term()
            });
            (format!("test-{test}"), term)
        });
        tests.chain([("gate".to_owned(), gate)]).collect()
    });
    let began = Instant::now();
    let mut engine = Engine::new(db.clone(), Options::default(), vec![project]);
    let (view, counters) = (engine.view(), engine.counters());
    let running = tokio::spawn(async move { engine.run().await });
    while counters.status_updates() < (TARGETS * TESTS) as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!(
        "cold start, {TARGETS} targets of {TESTS} tests: {:.2} s",
        began.elapsed().as_secs_f64()
    );
    let used = memory("VmRSS").saturating_sub(before);
    println!("memory of the targets and their database: {used} MB");
    while starts.try_recv().is_ok() {}

    let (mut latencies, mut costs) = (Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        wait_until_idle(&view).await;
        let (cpu, before) = (cpu_time(), counters.status_updates());
        let changed = head(&repo, repeat, TARGETS + repeat);
        commit(&db, Diff::new([Element::from(changed)], [])).await;
        let committed = Instant::now();
        let start = starts.recv().await.unwrap();
        latencies.push(start.saturating_duration_since(committed).as_secs_f64() * 1e3);
        while counters.status_updates() < before + TESTS as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wait_until_idle(&view).await;
        costs.push((cpu_time() - cpu).as_secs_f64() * 1e3);
        while starts.try_recv().is_ok() {}
    }
    println!("from a commit to the start of its build: {:.2} ms (median)", median(&mut latencies));
    println!("processor time of one changed head: {:.2} ms (median)", median(&mut costs));

    let mut costs = Vec::new();
    for repeat in 0..REPEATS {
        wait_until_idle(&view).await;
        let (cpu, before) = (cpu_time(), counters.status_updates());
        // The heads of these targets have not changed.
        let changed = status(&repo, TARGETS / 2 + repeat);
        commit(&db, Diff::new([Element::from(changed)], [])).await;
        while counters.status_updates() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wait_until_idle(&view).await;
        costs.push((cpu_time() - cpu).as_secs_f64() * 1e3);
    }
    println!("processor time of one changed status: {:.2} ms (median)", median(&mut costs));
    running.abort();
}

/// The context of the status that one test of each target waits for.
fn context() -> Context {
    Context::new("ci/other").unwrap()
}

/// Returns a successful status from another CI.
fn status(repo: &Repo, commit: usize) -> Status {
    let hash = Hash::parse(format!("{commit:040x}")).unwrap();
    let commit = Commit { repo: repo.clone(), hash };
    Status {
        id: StatusId { commit, context: context() },
        state: StatusState::Success,
        description: None,
        target_url: Some(Text::from("https://example.org/".to_owned())),
    }
}

fn head(repo: &Repo, branch: usize, commit: usize) -> Ref {
    let name = RefName::parse(format!("heads/topic-{branch}")).unwrap();
    let id = RefId { repo: repo.clone(), name };
    Ref { id, head: Hash::parse(format!("{commit:040x}")).unwrap() }
}

/// Commits a diff to the metadata branch, as a bridge does.
async fn commit(db: &DirectDb, diff: Diff) {
    let branch = ensure_branch(db, "github-metadata").await.unwrap();
    let committed = branch.with_transaction(async |transaction| {
        write(transaction, &diff).await?;
        transaction.commit("bridge").await
    });
    let committed: datakit_client::db::Result<_> = committed.await;
    committed.unwrap();
}

/// Waits until the view has not changed for 50 ms.
async fn wait_until_idle(view: &View) {
    let mut changes = view.changes();
    while tokio::time::timeout(Duration::from_millis(50), changes.recv()).await.is_ok() {}
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
