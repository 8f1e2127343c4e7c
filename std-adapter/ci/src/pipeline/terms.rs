//! Terms for the pipelines of all targets of a repository.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datakit_client::db::Database;
use datakit_github::{Commit, Element, RefId, RefKind, RefName};

use super::definition::{Definition, DefinitionBuilder, DefinitionKey};
use super::plan::{Plan, Task};
use super::settings::Settings;
use super::source::Source;
use super::step_key::StepKey;
use super::steps::StepBuilder;
use super::trust::Trust;
use crate::build::{Builds, Cache, LiveLogs};
use crate::term::{Outcome, Term, wait_for_all};
use crate::{Metadata, SharedDb, Target, TestInput, Tests};

/// The pipelines of a repository. All clones share the results.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use datakit_ci::build::{Builds, LiveLogs};
/// # use datakit_ci::{Project, git::Repository, pipeline::{Pipelines, Settings}};
/// # async fn example(db: datakit_client::db::Db) -> Result<(), Box<dyn std::error::Error>> {
/// let repository = Repository::open_or_clone("https://example.org/me/app.git", "clone").await?;
/// let pipelines = Pipelines::new(db, repository, Settings::default(), LiveLogs::new());
/// let builds = Builds::new();
/// pipelines.add_to(&builds);
/// let project = Project::dynamic("me/app".parse()?, move |input| pipelines.tests(input));
/// # Ok(())
/// # }
/// ```
pub struct Pipelines<D: Database, S: Source> {
    definitions: Cache<D, DefinitionBuilder<S>>,
    steps: Cache<D, StepBuilder<D, S>>,
}

impl<D: Database, S: Source> Pipelines<D, S> {
    /// Creates the result caches. Call this function only once for each repository.
    pub fn new(
        db: impl Into<SharedDb<D>>,
        source: S,
        settings: Settings,
        logs: LiveLogs,
    ) -> Pipelines<D, S> {
        let (db, source) = (db.into(), Arc::new(source));
        let definitions = DefinitionBuilder::new(source.clone(), &settings.pools);
        Pipelines {
            definitions: Cache::new(db.clone(), definitions, logs.clone()),
            steps: Cache::new(db.clone(), StepBuilder::new(db, source, settings), logs),
        }
    }

    /// Adds the caches to `builds`, so users can rebuild and cancel their builds.
    pub fn add_to(&self, builds: &Builds) {
        builds.add(&self.definitions);
        builds.add(&self.steps);
    }

    /// Returns a term for the tests of a target. There is one test for each task in the pipeline at
    /// the target's head. The term fails if the head does not have a valid pipeline file.
    #[must_use]
    pub fn tests(&self, input: &TestInput) -> Term<Arc<Tests>> {
        let (target, metadata) = (input.target.clone(), input.metadata.clone());
        let pipelines = self.clone();
        head(input).bind(move |(commit, base)| {
            let base = base.map(|branch| {
                let head = head_of(&metadata, &target, &branch);
                (branch, head)
            });
            let key = DefinitionKey { target: target.clone(), commit: commit.clone(), base };
            let (pipelines, target) = (pipelines.clone(), target.clone());
            let is_head = match target {
                Target::Pr(_) => ever(&metadata.is_head(&commit)),
                Target::Ref(_) => Term::success(true),
            };
            is_head.bind(move |is_head| pipelines.tests_of(&key, Trust::of(&target, is_head)))
        })
    }

    fn tests_of(&self, key: &DefinitionKey, trust: Trust) -> Term<Arc<Tests>> {
        let key = key.clone();
        let steps = self.steps.clone();
        self.definitions.find(&key).bind(move |definition: Definition| {
            // The file was valid when it was stored, but it may have been stored by another version
            // of the CI.
            match definition.plan(&key) {
                Ok(plan) => {
                    let images = definition.images.into();
                    Term::success(Arc::new(tests(&steps, &plan, &key, trust, images)))
                }
                Err(errors) => Term::failure(errors.to_string()),
            }
        })
    }
}

/// Returns a term that stays `true` once `term` has been `true`. This keeps a commit trusted after
/// its branch has moved on, so its steps do not run again.
fn ever(term: &Term<bool>) -> Term<bool> {
    let seen = AtomicBool::new(false);
    term.map(move |now| seen.fetch_or(now, Ordering::Relaxed) || now)
}

/// Returns the tests of a plan.
fn tests<D: Database, S: Source>(
    steps: &Cache<D, StepBuilder<D, S>>,
    plan: &Plan,
    key: &DefinitionKey,
    trust: Trust,
    images: Arc<[String]>,
) -> Tests {
    let mut terms: BTreeMap<Arc<str>, Term<String>> = BTreeMap::new();
    for task in &plan.tasks {
        let (commit, target) = (key.commit.clone(), key.target.clone());
        let images = images.clone();
        let key = StepKey { task: task.clone(), commit, target, trust, images };
        let passed = steps.find(&key).map(|result| result.text());
        let term = after_needs(task, &terms, passed).label(task.name.clone());
        terms.insert(task.name.clone(), term);
    }
    let name = |task: &Arc<Task>| Some((task.name.to_string(), terms.get(&task.name)?.clone()));
    plan.tasks.iter().filter_map(name).collect()
}

/// Returns a term that starts a task once the tasks that it needs have succeeded.
fn after_needs(
    task: &Task,
    terms: &BTreeMap<Arc<str>, Term<String>>,
    passed: Term<String>,
) -> Term<String> {
    if task.needs.is_empty() {
        return passed;
    }
    // The logs of the needed tasks are shown with the jobs of those tasks.
    let need = |name: &Arc<str>| Some((name.clone(), terms.get(name)?.without_logs().unit()));
    wait_for_all(task.needs.iter().filter_map(need)).bind(move |()| passed.clone())
}

/// Returns a term for the head of a target and, for a pull request, its base branch.
fn head(input: &TestInput) -> Term<(Commit, Option<String>)> {
    let missing = format!("Target {} does not exist", input.target);
    let outcome =
        input.metadata.element(input.target.element()).map(move |element| match element {
            Some(Element::Pr(pr)) => Outcome::Success((pr.commit(), Some(pr.base.to_string()))),
            Some(Element::Ref(reference)) => Outcome::Success((reference.commit(), None)),
            _ => Outcome::failure(missing.clone()),
        });
    outcome.of_state()
}

/// Returns the current head of a branch in the target's repository. Terms that use the result do
/// not depend on the branch, because a new branch head does not affect which paths a pull request
/// changes.
fn head_of(metadata: &Metadata, target: &Target, branch: &str) -> Option<Commit> {
    let name = RefName::new(RefKind::Heads, branch).ok()?;
    let id = RefId { repo: target.repo().clone(), name };
    match metadata.element(id).evaluate().outcome {
        Outcome::Success(Some(Element::Ref(reference))) => Some(reference.commit()),
        _ => None,
    }
}

impl<D: Database, S: Source> Clone for Pipelines<D, S> {
    fn clone(&self) -> Pipelines<D, S> {
        Pipelines { definitions: self.definitions.clone(), steps: self.steps.clone() }
    }
}

impl<D: Database, S: Source> fmt::Debug for Pipelines<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipelines").field("steps", &self.steps).finish_non_exhaustive()
    }
}
