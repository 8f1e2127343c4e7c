//! Tests for pools and their queues.

use super::*;
use crate::term::{External, Outcome, Term, Watcher};

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

type Acquired = Result<Arc<PoolGuard>, String>;

/// Returns a term that waits for the resource and then holds it.
fn acquire(pool: &Pool, project: &str, name: &str) -> Term<Acquired> {
    let (pool, holder) = (pool.clone(), Holder::new(project, name));
    let external = External::new("acquire", move |progress| {
        let (pool, holder) = (pool.clone(), holder.clone());
        async move {
            let acquired = pool.acquire(&holder, &progress).await;
            Ok(acquired.map(Arc::new).map_err(|error| error.to_string()))
        }
    });
    external.term()
}

/// Evaluates the term until `until` returns `true` for its state.
async fn settle(term: &Term<Acquired>, until: impl Fn(&Outcome<Acquired>) -> bool) {
    let watcher = Watcher::new(term);
    let settled = async {
        while !until(&term.evaluate().outcome) {
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
}

fn is_held(outcome: &Outcome<Acquired>) -> bool {
    matches!(outcome, Outcome::Success(Ok(_)))
}

fn waits(outcome: &Outcome<Acquired>) -> bool {
    matches!(outcome, Outcome::Pending(pending) if pending.wait.is_some())
}

fn names(list: &[(String, SystemTime)]) -> Vec<&str> {
    list.iter().map(|(name, _)| name.as_str()).collect()
}

/// Waits until the queue has the given length.
async fn queue_of(pool: &Pool, length: usize) {
    let mut changed = pool.0.changed.subscribe();
    let reached = async {
        while pool.status().queue.len() != length {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, reached).await.unwrap();
}

/// Starts a job that waits for the resource, and returns once the job is in the queue.
async fn queued(pool: &Pool, project: &str, name: &str) -> Term<Acquired> {
    let before = pool.status().queue.len();
    let term = acquire(pool, project, name);
    let _ = term.evaluate();
    queue_of(pool, before + 1).await;
    term
}

#[tokio::test(start_paused = true)]
async fn projects_take_turns_and_jobs_of_one_project_keep_their_order() {
    let pool = Pool::new("docker", 1);
    let first = acquire(&pool, "a", "first");
    settle(&first, is_held).await;
    let mut waiting = Vec::new();
    for (project, name) in
        [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"), ("c", "c1")]
    {
        waiting.push((name, queued(&pool, project, name).await));
    }
    let order = ["a1", "b1", "c1", "a2", "b2", "a3"];
    assert_eq!(names(&pool.status().queue), order);
    drop(first);
    for name in order {
        let at = waiting.iter().position(|(waiting, _)| *waiting == name).unwrap();
        let (_, term) = waiting.remove(at);
        settle(&term, is_held).await;
        assert_eq!(names(&pool.status().holders), [name]);
    }
    let status = pool.status();
    assert_eq!((status.waits.count, status.uses.count), (7, 7));
    assert!(status.holders.is_empty() && status.queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn wait_shows_position_and_holders_and_is_updated() {
    let pool = Pool::new("docker", 1);
    let first = acquire(&pool, "a", "me/app/prs/1: build");
    settle(&first, is_held).await;
    let second = queued(&pool, "a", "second").await;
    let third = queued(&pool, "a", "third").await;
    settle(&third, waits).await;
    let pending = third.evaluate().outcome.state().to_string();
    let since = pool.status().queue[1].1;
    let since = jiff::Timestamp::try_from(since).unwrap().strftime("%Y-%m-%d %H:%M.%S UTC");
    let start = format!("pending: Waiting for resource in \"docker\" (since {since}, position ");
    assert_eq!(pending, format!("{start}2 in the queue, held by me/app/prs/1: build)"));
    drop(first);
    settle(&third, |outcome| outcome.state().to_string().contains("position 1")).await;
    let pending = third.evaluate().outcome.state().to_string();
    assert_eq!(pending, format!("{start}1 in the queue, held by second)"));
    drop(second);
    settle(&third, is_held).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_wait_leaves_the_queue() {
    let pool = Pool::new("docker", 2);
    let holders = [acquire(&pool, "a", "one"), acquire(&pool, "a", "two")];
    for holder in &holders {
        settle(holder, is_held).await;
    }
    let third = queued(&pool, "a", "third").await;
    let fourth = queued(&pool, "b", "fourth").await;
    drop(third);
    queue_of(&pool, 1).await;
    drop(holders);
    settle(&fourth, is_held).await;
    assert_eq!(names(&pool.status().holders), ["fourth"]);
    drop(fourth);
    assert!(pool.status().holders.is_empty());
}

#[tokio::test]
async fn resource_granted_to_a_dropped_future_goes_to_the_next_job() {
    let pool = Pool::new("docker", 1);
    let enter = |name: &str| pool.enter(&Holder::new("a", name)).unwrap();
    let (first, none) = enter("first");
    let (second, granted) = enter("second");
    let (third, _) = enter("third");
    assert!(none.is_none() && granted.is_some());
    // The second job becomes a holder, but its future is dropped before it is polled again.
    drop(first);
    drop(second);
    assert!(third.wait().is_none());
    assert_eq!(names(&pool.status().holders), ["third"]);
}

#[tokio::test(start_paused = true)]
async fn full_queue_is_an_error_for_one_project_only() {
    let pool = Pool::with_queue("docker", 1, 2);
    let first = acquire(&pool, "me/app", "first");
    settle(&first, is_held).await;
    let waiting = [queued(&pool, "me/app", "1").await, queued(&pool, "me/app", "2").await];
    let refused = acquire(&pool, "me/app", "3");
    let error = "2 jobs of me/app are already waiting for \"docker\", which is the limit";
    settle(&refused, |outcome| matches!(outcome, Outcome::Success(Err(text)) if text == error))
        .await;
    let other = queued(&pool, "me/lib", "4").await;
    drop(waiting);
    drop(first);
    settle(&other, is_held).await;
}

#[tokio::test(start_paused = true)]
async fn a_project_can_have_its_own_queue_limit() {
    let limits = QueueLimits { default: 1, projects: [("me/app".to_owned(), 2)].into() };
    let pool = Pool::with_queue("docker", 1, limits);
    let first = acquire(&pool, "me/app", "first");
    settle(&first, is_held).await;
    let is_refused = |outcome: &Outcome<_>| matches!(outcome, Outcome::Success(Err(_)));
    let _waiting = [queued(&pool, "me/app", "1").await, queued(&pool, "me/app", "2").await];
    settle(&acquire(&pool, "me/app", "3"), is_refused).await;
    let _other = queued(&pool, "me/lib", "4").await;
    settle(&acquire(&pool, "me/lib", "5"), is_refused).await;
}

#[tokio::test(start_paused = true)]
async fn thousand_jobs_of_ten_projects_are_served_in_turn() {
    const JOBS: usize = 1000;
    let pool = Pool::new("docker", 3);
    let served = Arc::new(Mutex::new(Vec::new()));
    let task = |number: usize| {
        let (pool, served) = (pool.clone(), served.clone());
        let external = External::new("job", move |progress| {
            let (pool, served) = (pool.clone(), served.clone());
            async move {
                // The first project has 910 jobs, and each of the others has 10.
                let project = if number < 910 { 0 } else { (number - 910) / 10 + 1 };
                let holder = Holder::new(format!("project {project}"), format!("job {number}"));
                let guard = pool.acquire(&holder, &progress).await.unwrap();
                assert!(pool.status().holders.len() <= 3);
                tokio::time::sleep(Duration::from_millis(10)).await;
                served.lock().push(project);
                drop(guard);
                Ok(())
            }
        });
        let term = external.term();
        let _ = term.evaluate();
        term
    };
    let first = acquire(&pool, "x", "x");
    settle(&first, is_held).await;
    let terms = Term::all((0..JOBS).map(task));
    drop(first);
    let watcher = Watcher::new(&terms);
    let done = async {
        while !matches!(terms.evaluate().outcome, Outcome::Success(_)) {
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, done).await.unwrap();
    let served = served.lock();
    assert_eq!((served.len(), pool.status().uses.count), (JOBS, JOBS as u64 + 1));
    // The 90 jobs of the small projects do not wait for the 910 jobs of the first project.
    let last = served.iter().rposition(|project| *project > 0).unwrap();
    assert!(last < 130, "{last}");
}

#[tokio::test]
async fn pools_are_found_by_name_and_idle_pools_are_removed() {
    let pools = Pools::new();
    let docker = pools.get_or_add("docker", 2);
    assert_eq!(pools.get_or_add("docker", 7).status().capacity, 2);
    for number in 0..2500 {
        let _ = pools.get_or_add(&format!("pool {number}"), 1);
    }
    assert!(pools.status().len() <= 1000);
    assert_eq!(pools.get("docker").unwrap().status(), docker.status());
    assert!(pools.get("pool 0").is_none());
}
