//! Term combinators: constants, functions of other terms, and parallel or sequential composition.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::node::{AnyNode, Compute, NodeKind, TermNode};
use super::{Evaluation, Logs, Outcome, Term};

/// A constant outcome.
struct Constant<T>(Outcome<T>);

impl<T: Clone + Send + Sync> Compute<T> for Constant<T> {
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<T> {
        self.0.clone().into()
    }
}

/// A term computed by applying a function to the evaluation of another term.
struct Function<T, F> {
    of: Term<T>,
    function: F,
}

impl<T, U, F> Compute<U> for Function<T, F>
where
    T: Clone + Send + Sync + 'static,
    F: Fn(Evaluation<T>) -> Evaluation<U> + Send + Sync,
{
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<U> {
        (self.function)(self.of.evaluate())
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        vec![self.of.node()]
    }
}

/// Two terms that are evaluated in parallel.
struct Pair<A, B>(Term<A>, Term<B>);

impl<A, B> Compute<(A, B)> for Pair<A, B>
where
    A: Clone + Send + Sync + 'static,
    B: Clone + Send + Sync + 'static,
{
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<(A, B)> {
        let (first, second) = (self.0.evaluate(), self.1.evaluate());
        let outcome = match (first.outcome.value(), second.outcome.value()) {
            (Ok(a), Ok(b)) => Outcome::Success((a, b)),
            (Err(problem), _) | (Ok(_), Err(problem)) => problem,
        };
        Evaluation { outcome, logs: first.logs.and(second.logs) }
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        vec![self.0.node(), self.1.node()]
    }
}

/// Any number of terms that are evaluated in parallel.
struct All<T>(Vec<Term<T>>);

impl<T: Clone + Send + Sync + 'static> Compute<Vec<T>> for All<T> {
    fn compute(&self, _: &Weak<dyn AnyNode>) -> Evaluation<Vec<T>> {
        let (mut values, mut problem, mut logs) = (Vec::new(), None, Logs::None);
        for term in &self.0 {
            let evaluated = term.evaluate();
            logs = logs.and(evaluated.logs);
            match evaluated.outcome.value() {
                Ok(value) => values.push(value),
                Err(found) => problem = problem.or(Some(found)),
            }
        }
        Evaluation { outcome: problem.unwrap_or(Outcome::Success(values)), logs }
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        self.0.iter().map(Term::node).collect()
    }
}

/// A term that depends on the value of another term.
struct Bind<T, U, F> {
    of: Term<T>,
    next: F,
    /// The value that was passed to `next`, and the term that `next` returned.
    current: Mutex<Option<(T, Term<U>)>>,
}

impl<T, U, F> Compute<U> for Bind<T, U, F>
where
    T: Clone + PartialEq + Send + Sync + 'static,
    U: Clone + Send + Sync + 'static,
    F: Fn(T) -> Term<U> + Send + Sync,
{
    fn compute(&self, node: &Weak<dyn AnyNode>) -> Evaluation<U> {
        let Evaluation { outcome, logs } = self.of.evaluate();
        let value = match outcome.value() {
            Ok(value) => value,
            Err(problem) => return Evaluation { outcome: problem, logs },
        };
        let next = self.next_for(value, node);
        let evaluated = next.evaluate();
        Evaluation { outcome: evaluated.outcome, logs: logs.and(evaluated.logs) }
    }

    fn children(&self) -> Vec<Arc<dyn AnyNode>> {
        let next = self.current.lock().as_ref().map(|(_, term)| term.node());
        std::iter::once(self.of.node()).chain(next).collect()
    }
}

impl<T, U, F> Bind<T, U, F>
where
    T: Clone + PartialEq + Send + Sync + 'static,
    U: Clone + Send + Sync + 'static,
    F: Fn(T) -> Term<U> + Send + Sync,
{
    /// Returns the term for `value`. If the value is the same as in the last evaluation, the same
    /// term is returned, so running builds are not restarted.
    fn next_for(&self, value: T, node: &Weak<dyn AnyNode>) -> Term<U> {
        let mut current = self.current.lock();
        if let Some((last, term)) = &*current
            && *last == value
        {
            return term.clone();
        }
        let term = (self.next)(value.clone());
        term.node().add_parent(node.clone());
        *current = Some((value, term.clone()));
        term
    }
}

impl<T: Clone + Send + Sync + 'static> Term<T> {
    pub(super) fn with_compute(
        kind: NodeKind,
        label: impl Into<Arc<str>>,
        compute: impl Compute<T> + 'static,
    ) -> Term<T> {
        Term(TermNode::new(kind, label.into(), compute))
    }

    /// A term that succeeds with `value`.
    #[must_use]
    pub fn success(value: T) -> Term<T> {
        Term::constant(Outcome::Success(value))
    }

    /// A term that fails.
    #[must_use]
    pub fn failure(text: impl Into<Arc<str>>) -> Term<T> {
        Term::constant(Outcome::failure(text))
    }

    /// A term that is always pending.
    #[must_use]
    pub fn pending(text: impl Into<Arc<str>>) -> Term<T> {
        Term::constant(Outcome::pending(text))
    }

    /// A term with a constant outcome.
    #[must_use]
    pub fn constant(outcome: Outcome<T>) -> Term<T> {
        Term::with_compute(NodeKind::Constant, "", Constant(outcome))
    }

    fn function<U: Clone + Send + Sync + 'static>(
        &self,
        kind: NodeKind,
        label: impl Into<Arc<str>>,
        function: impl Fn(Evaluation<T>) -> Evaluation<U> + Send + Sync + 'static,
    ) -> Term<U> {
        Term::with_compute(kind, label, Function { of: self.clone(), function })
    }

    /// Sets the name to show for the term in graphs, explanations and messages.
    #[must_use]
    pub fn label(&self, label: impl Into<Arc<str>>) -> Term<T> {
        self.function(NodeKind::Function, label, |evaluation| evaluation)
    }

    /// Applies `f` to the value.
    #[must_use]
    pub fn map<U: Clone + Send + Sync + 'static>(
        &self,
        f: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Term<U> {
        self.function(NodeKind::Function, "", move |Evaluation { outcome, logs }| Evaluation {
            outcome: outcome.map(&f),
            logs,
        })
    }

    /// Discards the value.
    #[must_use]
    pub fn unit(&self) -> Term<()> {
        self.map(|_| ())
    }

    /// Computes both terms in parallel. If neither term succeeds, the outcome is that of `self`.
    /// The result contains the logs of both terms.
    #[must_use]
    pub fn pair<U: Clone + Send + Sync + 'static>(&self, other: &Term<U>) -> Term<(T, U)> {
        Term::with_compute(NodeKind::All, "", Pair(self.clone(), other.clone()))
    }

    /// Applies the function computed by `self` to the value of `to`. Both terms are computed in
    /// parallel.
    #[must_use]
    pub fn apply<A, B>(&self, to: &Term<A>) -> Term<B>
    where
        A: Clone + Send + Sync + 'static,
        B: Clone + Send + Sync + 'static,
        T: Fn(A) -> B,
    {
        self.pair(to).map(|(function, value)| function(value))
    }

    /// Computes all terms in parallel. If one or more terms do not succeed, the outcome is that of
    /// the first such term. The result contains the logs of all terms.
    #[must_use]
    pub fn all(terms: impl IntoIterator<Item = Term<T>>) -> Term<Vec<T>> {
        Term::with_compute(NodeKind::All, "", All(terms.into_iter().collect()))
    }

    /// Applies `f` to every item and computes the resulting terms in parallel.
    #[must_use]
    pub fn list_map<I>(
        items: impl IntoIterator<Item = I>,
        f: impl FnMut(I) -> Term<T>,
    ) -> Term<Vec<T>> {
        Term::all(items.into_iter().map(f))
    }

    /// Passes the value of this term to `next`, and computes the term that `next` returns. `next`
    /// is called again only if the value changes. The sequence stops at the first term that does
    /// not succeed.
    #[must_use]
    pub fn bind<U: Clone + Send + Sync + 'static>(
        &self,
        next: impl Fn(T) -> Term<U> + Send + Sync + 'static,
    ) -> Term<U>
    where
        T: PartialEq,
    {
        let bind = Bind { of: self.clone(), next, current: Mutex::new(None) };
        Term::with_compute(NodeKind::Bind, "", bind)
    }

    /// Turns the outcome into a value. The new term always succeeds.
    #[must_use]
    pub fn state(&self) -> Term<Outcome<T>> {
        self.function(NodeKind::Observe, "", |Evaluation { outcome, logs }| Evaluation {
            outcome: Outcome::Success(outcome),
            logs,
        })
    }

    /// Turns a success or a failure into a value. The new term is pending while this term is
    /// pending.
    #[must_use]
    pub fn catch(&self) -> Term<Result<T, Arc<str>>> {
        self.function(NodeKind::Observe, "", |Evaluation { outcome, logs }| Evaluation {
            outcome: match outcome {
                Outcome::Success(value) => Outcome::Success(Ok(value)),
                Outcome::Failure(text) => Outcome::Success(Err(text)),
                Outcome::Pending(pending) => Outcome::Pending(pending),
            },
            logs,
        })
    }

    /// Discards the logs.
    #[must_use]
    pub fn without_logs(&self) -> Term<T> {
        self.function(NodeKind::Function, "", |Evaluation { outcome, .. }| outcome.into())
    }
}

impl<T: Clone + Send + Sync + 'static> Term<Outcome<T>> {
    /// Turns a value back into an outcome. This is the inverse of [`Term::state`].
    #[must_use]
    pub fn of_state(&self) -> Term<T> {
        self.function(NodeKind::Function, "", |Evaluation { outcome, logs }| Evaluation {
            outcome: outcome.value().unwrap_or_else(|problem| problem),
            logs,
        })
    }
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Term<Term<T>> {
    /// Flattens a term whose value is another term.
    #[must_use]
    pub fn join(&self) -> Term<T> {
        self.bind(|term| term)
    }
}

/// Two terms are equal if they refer to the same computation.
impl<T> PartialEq for Term<T> {
    fn eq(&self, other: &Term<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
