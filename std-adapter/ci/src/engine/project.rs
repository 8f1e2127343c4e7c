//! The projects of an engine.

use std::fmt;
use std::sync::Arc;

use datakit_github::Repo;

use crate::term::Term;
use crate::{Metadata, Target};

/// The terms of a target's tests, keyed by test name.
pub type Tests = Vec<(String, Term<String>)>;

/// The name of the test that shows whether the tests of a target are known. Only projects that were
/// created with [`Project::dynamic`] have this test.
pub const PIPELINE: &str = "pipeline";

/// A repository and its tests.
#[derive(Clone)]
pub struct Project {
    /// The repository.
    pub repo: Repo,
    plan: Arc<Plan>,
}

type Plan = dyn Fn(&TestInput) -> Planned + Send + Sync;

/// The tests of a target.
pub(super) enum Planned {
    /// The tests do not depend on the commit under test.
    Fixed(Tests),
    /// The tests depend on the commit under test.
    Dynamic(Term<Arc<Tests>>),
}

impl Project {
    /// Creates a project. `tests` is called for each target and returns its tests.
    pub fn new(repo: Repo, tests: impl Fn(&TestInput) -> Tests + Send + Sync + 'static) -> Project {
        Project { repo, plan: Arc::new(move |input| Planned::Fixed(tests(input))) }
    }

    /// Creates a project whose tests depend on the commit under test. `tests` is called for each
    /// target and returns a term for its tests. If the term is pending or has failed, the target
    /// has only the [`PIPELINE`] test, which shows the reason.
    pub fn dynamic(
        repo: Repo,
        tests: impl Fn(&TestInput) -> Term<Arc<Tests>> + Send + Sync + 'static,
    ) -> Project {
        Project { repo, plan: Arc::new(move |input| Planned::Dynamic(tests(input))) }
    }

    pub(super) fn plan(&self, input: &TestInput) -> Planned {
        (self.plan)(input)
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("repo", &self.repo).finish_non_exhaustive()
    }
}

/// The inputs on which the tests of a target can depend.
#[derive(Debug, Clone)]
pub struct TestInput {
    /// The target.
    pub target: Target,
    /// The metadata branch.
    pub metadata: Arc<Metadata>,
}

impl TestInput {
    /// Returns a term for the commit under test.
    #[must_use]
    pub fn head(&self) -> Term<datakit_github::Commit> {
        self.metadata.head(&self.target)
    }
}
