//! Computations that run outside term evaluation, such as builds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::node::{AnyNode, Compute, NodeKind};
use super::{Evaluation, Logs, Outcome, Pending, Term, Wait};

/// A computation that runs as a Tokio task. The task is spawned when the term is first evaluated.
/// The term is pending until the task ends.
///
/// The task is aborted when both the term and the handle are dropped.
pub struct External<T: Clone + Send + Sync + 'static> {
    run: Arc<Computation<T>>,
    term: Term<T>,
}

type RunFuture<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

/// A computation and its state.
struct Computation<T> {
    label: Arc<str>,
    start: Box<dyn Fn(Progress) -> RunFuture<T> + Send + Sync>,
    state: Arc<Mutex<ComputationState<T>>>,
    node: Arc<OnceLock<Weak<dyn AnyNode>>>,
    timeout: Option<Duration>,
    retry: Retry,
}

struct ComputationState<T> {
    /// How many times the computation has been started. A task that was started earlier must not
    /// change the state.
    started: u64,
    phase: Phase<T>,
    logs: Logs,
    /// The logs to be shown when the computation ends or its description changes.
    next_logs: Option<Logs>,
}

impl<T> ComputationState<T> {
    fn show_next_logs(&mut self) {
        if let Some(logs) = self.next_logs.take() {
            self.logs = logs;
        }
    }
}

enum Phase<T> {
    Idle,
    Running(AbortHandle, Pending),
    Done(Outcome<T>),
}

/// The policy for retrying a failed computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The total number of attempts. A value of 0 is treated as 1.
    pub attempts: u32,
    /// The delay before the second attempt. The delay doubles after each further attempt.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Retry {
    /// A single attempt.
    pub const NEVER: Retry =
        Retry { attempts: 1, pause: Duration::ZERO, pause_max: Duration::ZERO };

    /// Returns the delay after `attempt` failed attempts.
    pub(crate) fn pause_after(&self, attempt: u32) -> Duration {
        let factor = 2u32.checked_pow(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.pause.saturating_mul(factor).min(self.pause_max)
    }
}

/// Reports the progress of a computation.
#[derive(Clone)]
pub struct Progress(Arc<dyn Report>);

trait Report: Send + Sync {
    fn pending(&self, pending: Pending);
    fn logs(&self, logs: Logs);
    fn next_logs(&self, logs: Logs);
}

impl Progress {
    /// Sets the description of the computation's current step.
    pub fn text(&self, text: impl Into<Arc<str>>) {
        self.0.pending(Pending::new(text));
    }

    /// Reports that the computation is waiting for a resource.
    pub fn wait(&self, text: impl Into<Arc<str>>, wait: Wait) {
        self.0.pending(Pending { text: text.into(), wait: Some(Arc::new(wait)) });
    }

    /// Sets the logs of the computation.
    pub fn logs(&self, logs: Logs) {
        self.0.logs(logs);
    }

    /// Sets the logs that are shown when the computation ends or its description changes. If a log
    /// were shown as complete before the computation ended, users could request a rebuild that
    /// would have no effect.
    pub fn next_logs(&self, logs: Logs) {
        self.0.next_logs(logs);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// The task of a running computation.
struct Reporter<T> {
    number: u64,
    state: Arc<Mutex<ComputationState<T>>>,
    node: Arc<OnceLock<Weak<dyn AnyNode>>>,
}

impl<T> Reporter<T> {
    /// Changes the state and marks the node as stale, unless the computation has been cancelled or
    /// restarted.
    fn update(&self, change: impl FnOnce(&mut ComputationState<T>)) {
        {
            let mut state = self.state.lock();
            if state.started != self.number {
                return;
            }
            change(&mut state);
        }
        if let Some(node) = self.node.get().and_then(Weak::upgrade) {
            node.invalidate();
        }
    }
}

impl<T: Send> Report for Reporter<T> {
    fn pending(&self, new: Pending) {
        self.update(|state| {
            state.show_next_logs();
            if let Phase::Running(_, pending) = &mut state.phase {
                *pending = new;
            }
        });
    }

    fn logs(&self, logs: Logs) {
        self.update(|state| (state.logs, state.next_logs) = (logs, None));
    }

    fn next_logs(&self, logs: Logs) {
        self.update(|state| state.next_logs = Some(logs));
    }
}

impl<T: Clone + Send + Sync + 'static> External<T> {
    /// Creates a computation. `start` is called for every attempt and must not block.
    pub fn new<F>(
        label: impl Into<Arc<str>>,
        start: impl Fn(Progress) -> F + Send + Sync + 'static,
    ) -> External<T>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        External::with_limits(label, None, Retry::NEVER, start)
    }

    /// Creates a computation that limits the duration of each attempt and retries failed attempts.
    pub fn with_limits<F>(
        label: impl Into<Arc<str>>,
        timeout: Option<Duration>,
        retry: Retry,
        start: impl Fn(Progress) -> F + Send + Sync + 'static,
    ) -> External<T>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let label = label.into();
        let state =
            ComputationState { started: 0, phase: Phase::Idle, logs: Logs::None, next_logs: None };
        let run = Arc::new(Computation {
            label: label.clone(),
            start: Box::new(move |progress| Box::pin(start(progress))),
            state: Arc::new(Mutex::new(state)),
            node: Arc::new(OnceLock::new()),
            timeout,
            retry,
        });
        let term = Term::with_compute(NodeKind::External, label, run.clone());
        // This cannot fail: the term has just been created, so the cell is empty.
        let _ = run.node.set(Arc::downgrade(&term.node()));
        External { run, term }
    }

    /// Returns the term whose value is the result of the computation.
    #[must_use]
    pub fn term(&self) -> Term<T> {
        self.term.clone()
    }

    /// Aborts the task. The term then fails with the message `Cancelled at user's request`. Does
    /// nothing and returns `false` if the computation is not running.
    pub fn cancel(&self) -> bool {
        {
            let mut state = self.run.state.lock();
            let Phase::Running(task, _) = &state.phase else { return false };
            task.abort();
            state.started += 1;
            state.phase = Phase::Done(Outcome::failure("Cancelled at user's request"));
        }
        self.term.node().invalidate();
        true
    }

    /// Returns `true` if the task is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.run.state.lock().phase, Phase::Running(..))
    }

    /// Discards the result, so the next evaluation starts the computation again. Does nothing and
    /// returns `false` if the computation is running.
    pub fn rebuild(&self) -> bool {
        {
            let mut state = self.run.state.lock();
            if matches!(state.phase, Phase::Running(..)) {
                return false;
            }
            state.phase = Phase::Idle;
            (state.logs, state.next_logs) = (Logs::None, None);
        }
        self.term.node().invalidate();
        true
    }
}

impl<T: Clone + Send + Sync + 'static> Compute<T> for Arc<Computation<T>> {
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<T> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Idle) {
            let Ok(runtime) = Handle::try_current() else {
                return Outcome::failure("the term was evaluated outside a tokio runtime").into();
            };
            state.started += 1;
            let task = self.attempts(state.started);
            let abort = runtime.spawn(task).abort_handle();
            state.phase = Phase::Running(abort, Pending::new(self.label.clone()));
        }
        let outcome = match &state.phase {
            Phase::Done(outcome) => outcome.clone(),
            Phase::Running(_, pending) => Outcome::Pending(pending.clone()),
            Phase::Idle => Outcome::Pending(Pending::new(self.label.clone())),
        };
        Evaluation { outcome, logs: state.logs.clone() }
    }
}

impl<T: Clone + Send + Sync + 'static> Computation<T> {
    /// Returns the task, which runs the attempts and stores the outcome.
    fn attempts(
        self: &Arc<Computation<T>>,
        number: u64,
    ) -> impl Future<Output = ()> + Send + 'static {
        // The task must not hold a strong reference to the computation; otherwise, dropping the
        // last term would not abort the task.
        let run = Arc::downgrade(self);
        let reporter =
            Arc::new(Reporter { number, state: self.state.clone(), node: self.node.clone() });
        async move {
            let progress = Progress(reporter.clone());
            let mut attempt = 1;
            let outcome = loop {
                let Some(this) = run.upgrade() else { return };
                let (job, limit, retry) =
                    ((this.start)(progress.clone()), this.timeout, this.retry);
                drop(this);
                let text = match finish(job, limit).await {
                    Ok(value) => break Outcome::Success(value),
                    Err(text) => text,
                };
                if attempt >= retry.attempts {
                    break Outcome::failure(text);
                }
                let pause = retry.pause_after(attempt);
                progress.text(format!("Attempt {attempt} failed: {text}; next in {pause:?}"));
                tokio::time::sleep(pause).await;
                attempt += 1;
            };
            reporter.update(|state| {
                state.show_next_logs();
                state.phase = Phase::Done(outcome);
            });
        }
    }
}

/// Waits for a job to end. A panic in the job is treated as a failure.
async fn finish<T: Send + 'static>(
    job: RunFuture<T>,
    limit: Option<Duration>,
) -> Result<T, String> {
    // Run the job in a separate task, because the runtime catches panics in tasks.
    let task = AbortOnDrop(tokio::spawn(job));
    let ended = match limit {
        None => task.await,
        Some(limit) => match tokio::time::timeout(limit, task).await {
            Ok(ended) => ended,
            Err(_) => return Err(format!("timed out after {limit:?}")),
        },
    };
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => Err(super::node::panic_text(&*panic)),
        Err(error) => Err(error.to_string()),
    })
}

/// A task that is aborted when this handle is dropped.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Drop for Computation<T> {
    fn drop(&mut self) {
        if let Phase::Running(task, _) = &self.state.lock().phase {
            task.abort();
        }
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for External<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("External").field(&self.term).finish()
    }
}
