//! Plans a pipeline for a target: decides which steps run, in which variants, and in which order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datakit_github::RefKind;

use super::model::{CacheSpec, Pipeline, Step, When};
use super::pattern::{Pattern, selects};
use super::template::expand;
use crate::Target;

/// Limits the time for matching the changed paths against the patterns of all steps. The unit is
/// one operation of the matching algorithm, which takes about a nanosecond. Pipelines are planned
/// by a term, so planning must be fast even if the file and the paths come from a stranger.
const COST_MAX: usize = 30_000_000;

/// The target and the changes for which a pipeline is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The target.
    pub target: Target,
    /// The base branch of a pull request.
    pub base: Option<String>,
    /// The changed paths of a pull request. `None` selects all steps, regardless of their paths.
    pub changed: Option<Vec<String>>,
}

/// The tasks of a pipeline for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The tasks. Every task appears after the tasks that it needs.
    pub tasks: Vec<Arc<Task>>,
    /// The steps that do not run.
    pub skipped: Vec<Skipped>,
}

/// A variant of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The name of the step, followed by the values of the axes, for example
    /// `test:rust=1.88,os=linux`.
    pub name: Arc<str>,
    /// The step.
    pub step: Arc<Step>,
    /// The values of the axes.
    pub axes: Vec<(String, String)>,
    /// The names of the tasks that must succeed before this task starts.
    pub needs: Vec<Arc<str>>,
    /// The needed tasks whose artifacts the task can read.
    pub inputs: Vec<Input>,
    /// Whether the commands can read secrets: either the step's own secrets or secrets that a
    /// needed step could have written to its artifacts.
    pub reads_secrets: bool,
    /// The names of needed steps that do not run. The task does not wait for them.
    pub skipped_needs: Vec<Arc<str>>,
    /// The environment variables.
    pub env: BTreeMap<String, String>,
    /// The image, or `None` for the host.
    pub image: Option<String>,
    /// The pool.
    pub pool: Option<String>,
    /// The caches.
    pub caches: Vec<CacheSpec>,
}

/// A needed task that has artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name of the task.
    pub task: Arc<str>,
    /// Whether the task's result is specific to a target.
    pub per_target: bool,
}

/// A step that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The name of the step.
    pub step: Arc<str>,
    /// The reason.
    pub reason: String,
}

/// The error returned if the file has no step with the given name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStep {
    /// The name.
    pub name: String,
    /// The names of the tasks.
    pub known: Vec<Arc<str>>,
}

impl fmt::Display for UnknownStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no step `{}`; the steps are {}", self.name, self.known.join(", "))
    }
}

impl std::error::Error for UnknownStep {}

impl Plan {
    /// Plans the pipeline for a target.
    ///
    /// If a step needs another step that does not run for this target, the dependency counts as
    /// satisfied.
    ///
    /// If matching the changed paths would take too long, they count as unknown.
    #[must_use]
    pub fn new(pipeline: &Pipeline, trigger: &Trigger) -> Plan {
        let changed = trigger.changed.as_deref().filter(|paths| cost(pipeline, paths) <= COST_MAX);
        Plan::with(pipeline, |step| skip_reason(&step.when, trigger, changed))
    }

    /// Plans all steps, regardless of the conditions in `when`.
    #[must_use]
    pub fn all(pipeline: &Pipeline) -> Plan {
        Plan::with(pipeline, |_| None)
    }

    /// Removes all tasks except the named ones and the tasks that they need. A name is either a
    /// task name or a step name, which stands for all tasks of the step.
    ///
    /// # Errors
    /// Returns the first name that does not match any task or step.
    pub fn only(mut self, names: &[String]) -> Result<Plan, UnknownStep> {
        let named = |task: &Task, name: &str| *task.name == *name || *task.step.name == *name;
        for name in names {
            if !self.tasks.iter().any(|task| named(task, name)) {
                let known = self.tasks.iter().map(|task| task.name.clone()).collect();
                return Err(UnknownStep { name: name.clone(), known });
            }
        }
        let mut wanted: Vec<Arc<str>> = Vec::new();
        // A task appears after the tasks it needs, so a single backward pass finds all of them.
        for task in self.tasks.iter().rev() {
            if wanted.contains(&task.name) || names.iter().any(|name| named(task, name)) {
                wanted.push(task.name.clone());
                wanted.extend(task.needs.iter().cloned());
            }
        }
        self.tasks.retain(|task| wanted.contains(&task.name));
        self.skipped.clear();
        Ok(self)
    }

    fn with(pipeline: &Pipeline, skip: impl Fn(&Step) -> Option<String>) -> Plan {
        let mut skipped = Vec::new();
        let mut selected: Vec<&Arc<Step>> = Vec::new();
        for step in &pipeline.steps {
            match skip(step) {
                None => selected.push(step),
                Some(reason) => skipped.push(Skipped { step: step.name.clone(), reason }),
            }
        }
        let mut needed = BTreeMap::new();
        let mut all = Vec::new();
        for step in in_order(&selected) {
            let tasks = tasks(step, &needed);
            let reads_secrets = tasks.iter().any(|task| task.reads_secrets);
            let names = tasks.iter().map(|task| task.name.clone()).collect();
            needed.insert(step.name.clone(), Needed { step, names, reads_secrets });
            all.extend(tasks.into_iter().map(Arc::new));
        }
        Plan { tasks: all, skipped }
    }
}

/// Returns the name of a task.
pub(super) fn task_name(step: &str, axes: &[(&str, &str)]) -> String {
    let values: Vec<String> = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    let colon = if values.is_empty() { "" } else { ":" };
    format!("{step}{colon}{}", values.join(","))
}

/// A step on which later steps can depend.
struct Needed<'s> {
    step: &'s Step,
    /// The names of its tasks.
    names: Vec<Arc<str>>,
    reads_secrets: bool,
}

/// Returns the tasks of a step. `needed` contains the selected steps that come before this step.
fn tasks(step: &Arc<Step>, needed: &BTreeMap<Arc<str>, Needed<'_>>) -> Vec<Task> {
    let (mut needs, mut skipped_needs, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut reads_secrets = !step.secrets.is_empty();
    for need in &step.needs {
        let Some(needed) = needed.get(need) else {
            skipped_needs.push(need.clone());
            continue;
        };
        needs.extend(needed.names.iter().cloned());
        if !needed.step.artifacts.is_empty() {
            let per_target = needed.step.per_target;
            let input = |task: &Arc<str>| Input { task: task.clone(), per_target };
            inputs.extend(needed.names.iter().map(input));
            reads_secrets |= needed.reads_secrets;
        }
    }
    let task = |axes: Vec<(&str, &str)>| {
        let expanded = |text: &String| expand(text, &axes);
        let mut env: BTreeMap<String, String> =
            step.env.iter().map(|(name, text)| (name.clone(), expanded(text))).collect();
        let axis = |(axis, value): &(&str, &str)| (matrix_variable(axis), (*value).to_owned());
        env.extend(axes.iter().map(axis));
        let caches = step.caches.iter().map(|cache| {
            let key = expanded(&cache.key);
            CacheSpec { key, ..cache.clone() }
        });
        Task {
            name: task_name(&step.name, &axes).into(),
            step: step.clone(),
            needs: needs.clone(),
            inputs: inputs.clone(),
            reads_secrets,
            skipped_needs: skipped_needs.clone(),
            env,
            image: step.image.as_ref().map(expanded),
            pool: step.pool.as_ref().map(expanded),
            caches: caches.collect(),
            axes: axes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect(),
        }
    };
    step.matrix.combinations().into_iter().map(task).collect()
}

/// Returns the name of the environment variable that contains the value of an axis.
fn matrix_variable(axis: &str) -> String {
    format!("MATRIX_{}", axis.to_ascii_uppercase())
}

/// Sorts the steps so that each step comes after the steps it needs. Otherwise, file order is
/// preserved. The reader has already rejected cycles.
fn in_order<'s>(steps: &[&'s Arc<Step>]) -> Vec<&'s Arc<Step>> {
    let (mut waiting, mut sorted) = (steps.to_vec(), Vec::<&Arc<Step>>::new());
    while !waiting.is_empty() {
        let is_waiting = |name: &Arc<str>| waiting.iter().any(|step| step.name == *name);
        let ready = waiting.iter().position(|step| !step.needs.iter().any(is_waiting));
        sorted.push(waiting.remove(ready.unwrap_or(0)));
    }
    sorted
}

/// Returns an upper bound on the time needed to match the changed paths.
fn cost(pipeline: &Pipeline, changed: &[String]) -> usize {
    let patterns = pipeline.steps.iter().flat_map(|step| &step.when.paths);
    let patterns: usize = patterns.map(Pattern::cost).sum();
    let bytes: usize = changed.iter().map(|path| path.len() + 1).sum();
    patterns.saturating_mul(bytes)
}

/// Returns why a step does not run for a target, or `None` if it runs.
fn skip_reason(when: &When, trigger: &Trigger, changed: Option<&[String]>) -> Option<String> {
    let target = &trigger.target;
    let refused = |what: &str, name: &[u8], patterns: &Option<Vec<Pattern>>| match patterns {
        _ if when.is_any_target() => None,
        Some(patterns) if selects(patterns, name) => None,
        _ => Some(format!("`when` does not select {what} `{}`", name.escape_ascii())),
    };
    let reason = match target {
        Target::Ref(id) if id.name.kind() == RefKind::Tags => {
            refused("the tag", id.name.short(), &when.tags)
        }
        Target::Ref(id) => refused("the branch", id.name.short(), &when.branches),
        Target::Pr(_) => {
            let base = trigger.base.as_deref().unwrap_or_default();
            refused("pull requests into", base.as_bytes(), &when.prs)
        }
    };
    let unchanged = || match (target, changed) {
        (Target::Pr(_), Some(changed)) if !when.selects_change(changed) => {
            Some("no changed path matches `when.paths`".to_owned())
        }
        _ => None,
    };
    reason.or_else(unchanged)
}

impl fmt::Display for Plan {
    /// Writes one line for each task, followed by the steps that do not run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            writeln!(f, "{task}")?;
        }
        if self.tasks.is_empty() {
            writeln!(f, "no step runs")?;
        }
        for Skipped { step, reason } in &self.skipped {
            writeln!(f, "({step} does not run: {reason})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.needs.is_empty() {
            write!(f, ", after {}", self.needs.join(" and "))?;
        }
        if !self.skipped_needs.is_empty() {
            write!(f, ", not waiting for {}", self.skipped_needs.join(" and "))?;
        }
        if let Some(image) = &self.image {
            write!(f, ", in {image}")?;
        }
        if let Some(pool) = &self.pool {
            write!(f, ", pool {pool}")?;
        }
        if self.step.network {
            f.write_str(", with network")?;
        }
        if !self.step.secrets.is_empty() {
            write!(f, ", with secrets {}", self.step.secrets.join(" and "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, target: &str, base: Option<&str>, changed: Option<&[&str]>) -> Plan {
        let pipeline = Pipeline::parse("f", text).unwrap();
        let changed = changed.map(|paths| paths.iter().map(|path| (*path).to_owned()));
        let trigger = Trigger {
            target: target.parse().unwrap(),
            base: base.map(str::to_owned),
            changed: changed.map(Iterator::collect),
        };
        Plan::new(&pipeline, &trigger)
    }

    const FILE: &str = "
[step.deploy]
run = 'x'
needs = ['test', 'lint']
when = { tags = 'v*' }
[step.test]
run = 'x'
needs = 'lint'
image = 'rust:${matrix.rust}'
matrix = { rust = ['1.88', 'stable'] }
[step.lint]
run = 'x'
when = { branches = ['master', 'release/*'], tags = true, prs = 'master', paths = 'src/**' }
";

    #[test]
    fn tasks_follow_their_needs() {
        assert_eq!(
            plan(FILE, "me/app/tags/v1", None, None).to_string(),
            "lint\n\
             test:rust=1.88, after lint, in rust:1.88\n\
             test:rust=stable, after lint, in rust:stable\n\
             deploy, after test:rust=1.88 and test:rust=stable and lint\n"
        );
    }

    #[test]
    fn a_need_that_does_not_run_is_satisfied() {
        assert_eq!(
            plan(FILE, "me/app/heads/fix", None, None).to_string(),
            "test:rust=1.88, not waiting for lint, in rust:1.88\n\
             test:rust=stable, not waiting for lint, in rust:stable\n\
             (deploy does not run: `when` does not select the branch `fix`)\n\
             (lint does not run: `when` does not select the branch `fix`)\n"
        );
    }

    #[test]
    fn when_selects_targets_and_changes() {
        let runs = |target: &str, base: Option<&str>, changed: Option<&[&str]>| {
            let plan = plan(FILE, target, base, changed);
            plan.tasks.iter().any(|task| &*task.name == "lint")
        };
        for (target, base, changed, expected) in [
            ("me/app/heads/master", None, None, true),
            ("me/app/heads/release/1", None, None, true),
            ("me/app/heads/release/1/x", None, None, false),
            ("me/app/tags/anything", None, None, true),
            ("me/app/prs/1", Some("master"), None, true),
            ("me/app/prs/1", Some("other"), None, false),
            ("me/app/prs/1", None, None, false),
            ("me/app/prs/1", Some("master"), Some(&["README", "src/a/b"][..]), true),
            ("me/app/prs/1", Some("master"), Some(&["README"][..]), false),
            ("me/app/prs/1", Some("master"), Some(&[][..]), false),
            // All steps run for a branch, because the CI does not know which commits are new.
            ("me/app/heads/master", None, Some(&["README"][..]), true),
        ] {
            assert_eq!(runs(target, base, changed), expected, "{target} {base:?} {changed:?}");
        }
    }

    #[test]
    fn a_step_is_planned_with_its_needs() {
        let all = || Plan::all(&Pipeline::parse("f", FILE).unwrap());
        let names = |plan: Plan| {
            plan.tasks.iter().map(|task| task.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        let only = |name: &str| all().only(&[name.to_owned()]);
        assert_eq!(names(only("lint").unwrap()), "lint");
        assert_eq!(names(only("test").unwrap()), "lint test:rust=1.88 test:rust=stable");
        assert_eq!(names(only("test:rust=stable").unwrap()), "lint test:rust=stable");
        assert_eq!(
            only("tset").unwrap_err().to_string(),
            "there is no step `tset`; the steps are lint, test:rust=1.88, test:rust=stable, deploy"
        );
    }

    #[test]
    fn axes_are_environment_variables() {
        let plan = plan(FILE, "me/app/tags/v1", None, None);
        let task = plan.tasks.iter().find(|task| &*task.name == "test:rust=stable").unwrap();
        assert_eq!(task.env.get("MATRIX_RUST").map(String::as_str), Some("stable"));
    }

    #[test]
    fn names_that_are_not_utf_8_are_selected() {
        let pipeline = Pipeline::parse("f", FILE).unwrap();
        let repo = "me/app".parse().unwrap();
        let name = datakit_github::RefName::parse(b"heads/release/\xff").unwrap();
        let target = Target::Ref(datakit_github::RefId { repo, name });
        let plan = Plan::new(&pipeline, &Trigger { target, base: None, changed: None });
        assert!(plan.tasks.iter().any(|task| &*task.name == "lint"), "{plan}");
    }
}
