//! Terms that wait for other terms and set their own messages.

use std::sync::Arc;

use super::{Outcome, Term};

/// The maximum number of names to list in a message. If there are more names, the message contains
/// only their number.
const NAMES_MAX: usize = 10;

/// Returns a term that waits for `term` and replaces its messages. The message is `while_pending`
/// while `term` is pending, and `on_failure` if `term` fails. The new term has no value, and it has
/// the same logs as `term`.
#[must_use]
pub fn wait_for<T: Clone + Send + Sync + 'static>(
    term: &Term<T>,
    while_pending: impl Into<Arc<str>>,
    on_failure: impl Into<Arc<str>>,
) -> Term<()> {
    let (while_pending, on_failure) = (while_pending.into(), on_failure.into());
    let outcome = term.state().map(move |outcome| match outcome {
        Outcome::Success(_) => Outcome::Success(()),
        Outcome::Failure(_) => Outcome::Failure(on_failure.clone()),
        Outcome::Pending(mut pending) => {
            pending.text = while_pending.clone();
            Outcome::Pending(pending)
        }
    });
    outcome.of_state()
}

/// Returns a term that waits for all named terms. Its message names the terms that are pending or
/// have failed, for example `Waiting for a, b` or `a failed (still waiting for b)`. If there are
/// more than 10 names, the message contains only their number.
#[must_use]
pub fn wait_for_all<N: Into<Arc<str>>>(terms: impl IntoIterator<Item = (N, Term<()>)>) -> Term<()> {
    let (names, states): (Vec<Arc<str>>, Vec<_>) =
        terms.into_iter().map(|(name, term)| (name.into(), term.state())).unzip();
    let outcome = Term::all(states).map(move |outcomes| {
        let of = |is: fn(&Outcome<()>) -> bool| -> Vec<&str> {
            names.iter().zip(&outcomes).filter(|(_, o)| is(o)).map(|(name, _)| &**name).collect()
        };
        let failed = of(|outcome| matches!(outcome, Outcome::Failure(_)));
        let pending = of(|outcome| matches!(outcome, Outcome::Pending(_)));
        match (failed.as_slice(), pending.as_slice()) {
            ([], []) => Outcome::Success(()),
            ([], pending) => Outcome::pending(format!("Waiting for {}", list(pending))),
            (failed, []) => Outcome::failure(format!("{} failed", list(failed))),
            (failed, pending) => Outcome::failure(format!(
                "{} failed (still waiting for {})",
                list(failed),
                list(pending)
            )),
        }
    });
    outcome.of_state()
}

fn list(names: &[&str]) -> String {
    if names.len() > NAMES_MAX { format!("{} tasks", names.len()) } else { names.join(", ") }
}
