//! The outcome of a term, the reason why it is pending, and its logs.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

/// The outcome of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The value has been computed.
    Success(T),
    /// The computation failed for the given reason.
    Failure(Arc<str>),
    /// The value is not available yet.
    Pending(Pending),
}

impl<T> Outcome<T> {
    /// Creates a failure.
    pub fn failure(text: impl Into<Arc<str>>) -> Outcome<T> {
        Outcome::Failure(text.into())
    }

    /// Creates a pending outcome.
    pub fn pending(text: impl Into<Arc<str>>) -> Outcome<T> {
        Outcome::Pending(Pending::new(text))
    }

    /// Applies `f` to the value if the outcome is a success.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        self.value().map_or_else(|problem| problem, |value| Outcome::Success(f(value)))
    }

    /// Returns the value if the outcome is a success; otherwise, returns the outcome, converted to
    /// another type.
    pub(super) fn value<U>(self) -> Result<T, Outcome<U>> {
        match self {
            Outcome::Success(value) => Ok(value),
            Outcome::Failure(text) => Err(Outcome::Failure(text)),
            Outcome::Pending(pending) => Err(Outcome::Pending(pending)),
        }
    }

    /// Returns the state without the value.
    pub fn state(&self) -> State {
        match self {
            Outcome::Success(_) => State::Success,
            Outcome::Failure(text) => State::Failure(text.clone()),
            Outcome::Pending(pending) => State::Pending(pending.clone()),
        }
    }
}

/// The state of a term, which is its outcome without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The term has not been evaluated yet.
    NotEvaluated,
    /// The term has a value.
    Success,
    /// The term failed for the given reason.
    Failure(Arc<str>),
    /// The term is waiting.
    Pending(Pending),
}

impl State {
    /// Returns the name of the state: `not-evaluated`, `success`, `failure` or `pending`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            State::NotEvaluated => "not-evaluated",
            State::Success => "success",
            State::Failure(_) => "failure",
            State::Pending(_) => "pending",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::NotEvaluated | State::Success => f.write_str(self.name()),
            State::Failure(text) => write!(f, "failure: {text}"),
            State::Pending(pending) => write!(f, "pending: {pending}"),
        }
    }
}

/// The reason why a term is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// A description of the wait, for example `Waiting for lint`.
    pub text: Arc<str>,
    /// The resource that the term is waiting for, if any.
    pub wait: Option<Arc<Wait>>,
}

impl Pending {
    /// Creates a reason for a term that is not waiting for a resource.
    pub fn new(text: impl Into<Arc<str>>) -> Pending {
        Pending { text: text.into(), wait: None }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.wait.as_deref() {
            None => Ok(()),
            Some(wait) if ends_with_name(&self.text, &wait.resource) => {
                write!(f, " ({})", WaitDetails(wait))
            }
            Some(wait) => write!(f, " ({wait})"),
        }
    }
}

/// Returns whether `text` ends with `name`, which may be in quotation marks, as in `Waiting for
/// resource in "docker"`.
fn ends_with_name(text: &str, name: &str) -> bool {
    let before = text.trim_end_matches('"').strip_suffix(name);
    before.is_some_and(|before| before.ends_with([' ', '"']))
}

/// A wait for a resource, such as a pool or a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The name of the resource.
    pub resource: Arc<str>,
    /// The time at which the wait began.
    pub since: SystemTime,
    /// The position in the queue, starting at 1.
    pub position: Option<usize>,
    /// The jobs that hold the resource.
    pub holders: Vec<Arc<str>>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, WaitDetails(self))
    }
}

/// Displays everything except the name of the resource.
struct WaitDetails<'w>(&'w Wait);

impl fmt::Display for WaitDetails<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WaitDetails(wait) = self;
        let since = Timestamp::try_from(wait.since).unwrap_or_default();
        write!(f, "since {}", since.strftime("%Y-%m-%d %H:%M.%S UTC"))?;
        if let Some(position) = wait.position {
            write!(f, ", position {position} in the queue")?;
        }
        if wait.holders.is_empty() {
            Ok(())
        } else {
            write!(f, ", held by {}", wait.holders.join(", "))
        }
    }
}

/// The logs of a term. A term that combines two terms has the logs of both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Logs {
    /// No log.
    #[default]
    None,
    /// A log that is still being written.
    Live {
        /// The database branch of the build.
        branch: Arc<str>,
    },
    /// A log that is complete.
    Saved(Arc<SavedLog>),
    /// The logs of two terms, in order.
    Pair(Arc<(Logs, Logs)>),
}

/// A complete log, which is stored as the `log` file in a database commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLog {
    /// The title of the build.
    pub title: String,
    /// The branch that contains the result of the build.
    pub branch: String,
    /// The hash of the commit that contains the log.
    pub commit: String,
    /// Whether the build failed.
    pub failed: bool,
}

impl Logs {
    /// Combines the logs of two terms. Empty logs are left out.
    #[must_use]
    pub fn and(self, next: Logs) -> Logs {
        match (self, next) {
            (Logs::None, logs) | (logs, Logs::None) => logs,
            (first, second) => Logs::Pair(Arc::new((first, second))),
        }
    }

    /// Returns all live and saved logs in order.
    #[must_use]
    pub fn leaves(&self) -> Vec<&Logs> {
        let (mut leaves, mut rest) = (Vec::new(), vec![self]);
        while let Some(logs) = rest.pop() {
            match logs {
                Logs::None => {}
                Logs::Live { .. } | Logs::Saved(_) => leaves.push(logs),
                Logs::Pair(pair) => rest.extend([&pair.1, &pair.0]),
            }
        }
        leaves
    }
}

/// An outcome and the logs of the computation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<T> {
    /// The outcome.
    pub outcome: Outcome<T>,
    /// The logs.
    pub logs: Logs,
}

impl<T> From<Outcome<T>> for Evaluation<T> {
    fn from(outcome: Outcome<T>) -> Evaluation<T> {
        Evaluation { outcome, logs: Logs::None }
    }
}
