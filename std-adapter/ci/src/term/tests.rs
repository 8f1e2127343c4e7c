//! Tests for the terms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

type Done = Result<(), Box<dyn std::error::Error>>;

/// Evaluates the term whenever it becomes stale, until its outcome is no longer pending.
async fn settle<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> Outcome<T> {
    let watcher = Watcher::new(term);
    loop {
        match term.evaluate().outcome {
            Outcome::Pending(_) => watcher.changed().await,
            outcome => return outcome,
        }
    }
}

fn log(branch: &str) -> Term<u32> {
    let branch: Arc<str> = branch.into();
    Term::with_compute(NodeKind::Constant, "", LogOnly(Logs::Live { branch }))
}

struct LogOnly(Logs);

impl node::Compute<u32> for LogOnly {
    fn compute(&self, _: &std::sync::Weak<dyn AnyNode>) -> Evaluation<u32> {
        Evaluation { outcome: Outcome::Success(1), logs: self.0.clone() }
    }
}

#[test]
fn first_problem_of_several_terms_is_reported() {
    let (one, two) = (Term::success(1), Term::success(2));
    let failed = Term::<i32>::failure("broken");
    let pending = Term::<i32>::pending("waiting");
    assert_eq!(one.pair(&two).evaluate().outcome, Outcome::Success((1, 2)));
    assert_eq!(failed.pair(&pending).evaluate().outcome, Outcome::failure("broken"));
    assert_eq!(pending.pair(&failed).evaluate().outcome, Outcome::pending("waiting"));
    let all = |terms: [&Term<i32>; 3]| Term::all(terms.map(Clone::clone)).evaluate().outcome;
    assert_eq!(all([&one, &two, &one]), Outcome::Success(vec![1, 2, 1]));
    assert_eq!(all([&one, &failed, &pending]), Outcome::failure("broken"));
    assert_eq!(all([&one, &pending, &failed]), Outcome::pending("waiting"));
    let add = Term::success(|n: i32| n + 1);
    assert_eq!(add.apply::<i32, i32>(&two).evaluate().outcome, Outcome::Success(3));
}

#[test]
fn logs_of_all_parts_are_kept() {
    let both = log("a").pair(&Term::<()>::failure("broken")).pair(&log("b")).evaluate();
    let branches: Vec<_> = both.logs.leaves().into_iter().cloned().collect();
    assert_eq!(branches, ["a", "b"].map(|branch| Logs::Live { branch: branch.into() }));
    assert_eq!(both.outcome, Outcome::failure("broken"));
    assert_eq!(log("a").without_logs().evaluate().logs, Logs::None);
    let sequence = log("a").bind(|_| log("b")).evaluate();
    assert_eq!(sequence.logs.leaves().len(), 2);
}

#[test]
fn sequence_stops_at_the_first_problem() {
    let calls = Arc::new(AtomicUsize::new(0));
    let next = {
        let calls = calls.clone();
        move |n: i32| {
            calls.fetch_add(1, Ordering::Relaxed);
            Term::success(n * 2)
        }
    };
    assert_eq!(Term::success(4).bind(next.clone()).evaluate().outcome, Outcome::Success(8));
    assert_eq!(Term::failure("no").bind(next.clone()).evaluate().outcome, Outcome::failure("no"));
    assert_eq!(Term::pending("yet").bind(next).evaluate().outcome, Outcome::pending("yet"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(Term::success(Term::success(5)).join().evaluate().outcome, Outcome::Success(5));
}

#[test]
fn outcome_can_be_observed() {
    let pending = Term::<i32>::pending("yet");
    assert_eq!(Term::success(1).catch().evaluate().outcome, Outcome::Success(Ok(1)));
    assert_eq!(
        Term::<i32>::failure("no").catch().evaluate().outcome,
        Outcome::Success(Err("no".into()))
    );
    assert_eq!(pending.catch().evaluate().outcome, Outcome::pending("yet"));
    assert_eq!(pending.state().evaluate().outcome, Outcome::Success(Outcome::pending("yet")));
    assert_eq!(pending.state().of_state().evaluate().outcome, Outcome::pending("yet"));
}

#[test]
fn waits_use_their_own_texts() {
    let wait = |term: &Term<i32>| wait_for(term, "Waiting for it", "It broke").evaluate().outcome;
    assert_eq!(wait(&Term::success(1)), Outcome::Success(()));
    assert_eq!(wait(&Term::failure("exit 1")), Outcome::failure("It broke"));
    assert_eq!(wait(&Term::pending("queued")), Outcome::pending("Waiting for it"));
    let (ok, bad, yet) = (Term::success(()), Term::failure("x"), Term::pending("y"));
    let all = |terms: &[(&str, &Term<()>)]| {
        wait_for_all(terms.iter().map(|(name, term)| (*name, (*term).clone()))).evaluate().outcome
    };
    assert_eq!(all(&[("a", &ok)]), Outcome::Success(()));
    assert_eq!(all(&[("a", &yet), ("b", &ok), ("c", &yet)]), Outcome::pending("Waiting for a, c"));
    assert_eq!(all(&[("a", &bad), ("b", &ok)]), Outcome::failure("a failed"));
    assert_eq!(
        all(&[("b", &yet), ("a", &bad)]),
        Outcome::failure("a failed (still waiting for b)")
    );
    let many: Vec<_> = (0..11).map(|_| ("n", &yet)).collect();
    assert_eq!(all(&many), Outcome::pending("Waiting for 11 tasks"));
}

#[test]
fn panic_is_the_failure_of_its_term() {
    let term = Term::success(1).map(|_| -> i32 { panic!("index 7 is out of range") });
    assert_eq!(
        term.pair(&Term::success(2)).evaluate().outcome,
        Outcome::failure("the term panicked: index 7 is out of range")
    );
}

#[test]
fn only_nodes_that_depend_on_a_changed_input_are_evaluated() {
    let count = |calls: &Arc<AtomicUsize>| {
        let calls = calls.clone();
        move |n: i32| {
            calls.fetch_add(1, Ordering::Relaxed);
            n + 1
        }
    };
    let (left_calls, right_calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (left, right) =
        (Input::new("left", Outcome::Success(1)), Input::new("right", Outcome::Success(10)));
    let sum = left
        .term()
        .map(count(&left_calls))
        .pair(&right.term().map(count(&right_calls)))
        .map(|(a, b)| a + b);
    assert_eq!(sum.evaluate().outcome, Outcome::Success(13));
    assert!(left.set(Outcome::Success(2)));
    assert!(!left.set(Outcome::Success(2)), "an equal value is no change");
    assert_eq!(sum.evaluate().outcome, Outcome::Success(14));
    assert_eq!(sum.evaluate().outcome, Outcome::Success(14));
    assert_eq!((left_calls.load(Ordering::Relaxed), right_calls.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn external_computation_reports_progress_and_ends() {
    let (go, wait) = tokio::sync::oneshot::channel();
    let wait = Arc::new(parking_lot::Mutex::new(Some(wait)));
    let external = External::new("build", move |progress| {
        let wait = wait.lock().take();
        async move {
            progress.text("compiling");
            progress.logs(Logs::Live { branch: "build-of-1".into() });
            wait.ok_or("started twice")?.await.map_err(|error| error.to_string())
        }
    });
    let term = external.term();
    let watcher = Watcher::new(&term);
    assert_eq!(term.evaluate().outcome, Outcome::pending("build"));
    while term.evaluate().logs == Logs::None {
        watcher.changed().await;
    }
    assert_eq!(term.evaluate().outcome, Outcome::pending("compiling"));
    go.send(7).unwrap();
    assert_eq!(settle(&term).await, Outcome::Success(7));
    assert!(!external.cancel(), "a finished computation cannot be cancelled");
}

#[test]
fn a_wait_names_its_resource_once() {
    let shown = |text: &str, resource: &str| {
        let (since, holders) = (std::time::UNIX_EPOCH, Vec::new());
        let wait = Wait { resource: resource.into(), since, position: Some(2), holders };
        Pending { text: text.into(), wait: Some(Arc::new(wait)) }.to_string()
    };
    let details = "since 1970-01-01 00:00.00 UTC, position 2 in the queue";
    for text in ["Waiting for resource in \"a\"", "Waiting for lock on a"] {
        assert_eq!(shown(text, "a"), format!("{text} ({details})"));
    }
    for text in ["Waiting", "Fetching data"] {
        assert_eq!(shown(text, "a"), format!("{text} (a {details})"));
    }
}

#[tokio::test]
async fn next_logs_are_shown_when_the_computation_continues_or_ends() {
    let log = |branch: &str| Logs::Live { branch: branch.into() };
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let steps = permits.clone();
    let external = External::new("build", move |progress| {
        let steps = steps.clone();
        async move {
            let step = async || steps.acquire().await.expect("the semaphore is open").forget();
            progress.logs(log("first"));
            progress.next_logs(log("second"));
            step().await;
            progress.text("again");
            progress.next_logs(log("third"));
            step().await;
            Ok(1)
        }
    });
    let term = external.term();
    let watcher = Watcher::new(&term);
    let shown = async |logs: Logs| {
        while term.evaluate().logs != logs {
            watcher.changed().await;
        }
        term.evaluate().outcome
    };
    assert_eq!(shown(log("first")).await, Outcome::pending("build"));
    permits.add_permits(1);
    assert_eq!(shown(log("second")).await, Outcome::pending("again"));
    permits.add_permits(1);
    // The result is known as soon as the last log is shown.
    assert_eq!(shown(log("third")).await, Outcome::Success(1));
    assert!(external.rebuild());
}

#[tokio::test]
async fn cancelled_computation_fails_and_can_be_built_again() {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let external = External::<u32>::new("build", move |progress| {
        let start = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if start == 0 {
                progress.text("started");
                std::future::pending::<()>().await;
            }
            Ok(5)
        }
    });
    let term = external.term();
    let watcher = Watcher::new(&term);
    while term.evaluate().outcome != Outcome::pending("started") {
        watcher.changed().await;
    }
    assert!(!external.rebuild(), "a running computation is not restarted");
    assert!(external.cancel());
    assert_eq!(settle(&term).await, Outcome::failure("Cancelled at user's request"));
    assert!(external.rebuild());
    assert_eq!(settle(&term).await, Outcome::Success(5));
    assert_eq!(starts.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_repeated_with_growing_pauses() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let retry =
        Retry { attempts: 4, pause: Duration::from_secs(1), pause_max: Duration::from_secs(3) };
    let limit = Some(Duration::from_secs(10));
    let external = External::<u32>::with_limits("flaky", limit, retry, move |_| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match attempt {
                0 => Err("connection reset".into()),
                1 => panic!("boom"),
                2 => std::future::pending().await,
                _ => Ok(9),
            }
        }
    });
    let began = tokio::time::Instant::now();
    assert_eq!(settle(&external.term()).await, Outcome::Success(9));
    // The delays are 1 s, 2 s and 3 s, and the third attempt times out after 10 s.
    assert_eq!(began.elapsed().as_secs(), 16);
    let failing = External::<u32>::with_limits("slow", limit, Retry::NEVER, |_| {
        std::future::pending::<Result<u32, String>>()
    });
    assert_eq!(settle(&failing.term()).await, Outcome::failure("timed out after 10s"));
}

#[tokio::test]
async fn dropping_the_term_aborts_the_computation() -> Done {
    struct Report(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Report {
        fn drop(&mut self) {
            let _ = self.0.take().map(|sender| sender.send(()));
        }
    }
    let (sender, dropped) = tokio::sync::oneshot::channel();
    let (started, running) = tokio::sync::oneshot::channel();
    let guards = Arc::new(parking_lot::Mutex::new(Some((Report(Some(sender)), started))));
    let external = External::<u32>::new("build", move |_| {
        let guards = guards.lock().take();
        async move {
            let (_guard, started) = guards.ok_or("started twice")?;
            let _ = started.send(());
            std::future::pending().await
        }
    });
    assert!(matches!(external.term().evaluate().outcome, Outcome::Pending(_)));
    running.await?;
    drop(external);
    dropped.await?;
    Ok(())
}

#[test]
fn external_computation_needs_a_runtime() {
    let external = External::<u32>::new("build", |_| async { Ok(1) });
    assert_eq!(
        external.term().evaluate().outcome,
        Outcome::failure("the term was evaluated outside a tokio runtime")
    );
}

#[test]
fn explanation_lists_labelled_nodes_once() {
    let source = Input::new("head of master", Outcome::Success(1));
    let lint = source.term().map(|n| n + 1).label("lint");
    let test = source.term().bind(|_| Term::<i32>::failure("exit status 1")).label("test");
    let both = wait_for_all([("lint", lint.unit()), ("test", test.unit())]).label("all");
    assert_eq!(explain(&both.node()).to_string().lines().next(), Some("all: not-evaluated"));
    let _ = both.evaluate();
    assert_eq!(
        explain(&both.node()).to_string(),
        "all: failure: test failed
  lint: success
    head of master: success
  test: failure: exit status 1
    head of master: success (see above)
    constant: failure: exit status 1
"
    );
}
