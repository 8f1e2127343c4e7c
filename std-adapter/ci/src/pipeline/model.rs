//! The content of a pipeline file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::{Pattern, selects};
use crate::command::Limits;
use crate::term::Retry;

/// A pipeline: the steps in file order. The file's defaults have been applied to the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// The steps. The list is not empty, the step names are unique, and the dependencies are
    /// acyclic.
    pub steps: Vec<Arc<Step>>,
}

/// A step of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The name.
    pub name: Arc<str>,
    /// The scripts, which run one after another until one fails.
    pub run: Vec<String>,
    /// The names of the steps that must succeed before this step starts.
    pub needs: Vec<Arc<str>>,
    /// The environment variables. The values can refer to matrix axes.
    pub env: BTreeMap<String, String>,
    /// The directories that later builds reuse.
    pub caches: Vec<CacheSpec>,
    /// The image in which the scripts run, or `None` for the host. Its name can refer to axes.
    pub image: Option<String>,
    /// The time limit of each attempt.
    pub timeout: Duration,
    /// The targets and changes for which the step runs.
    pub when: When,
    /// The variants of the step.
    pub matrix: Matrix,
    /// The paths that are stored with the result.
    pub artifacts: Vec<String>,
    /// The names of the secrets. Each is the name of an environment variable.
    pub secrets: Vec<String>,
    /// The pool that limits how many steps run at the same time. The name can refer to axes.
    pub pool: Option<String>,
    /// Whether the step can use the network.
    pub network: bool,
    /// The limits on resources.
    pub limits: Limits,
    /// How the step is retried after a failure.
    pub retry: Retry,
    /// Whether the result is specific to a target. Otherwise, all targets with the same commit
    /// share the result.
    pub per_target: bool,
}

/// A set of paths that is stored after a successful step and restored before a later step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSpec {
    /// The name.
    pub name: String,
    /// The directories and files, relative to the work tree.
    pub paths: Vec<String>,
    /// A string that is part of the key. It can refer to axes.
    pub key: String,
    /// The files whose contents are part of the key.
    pub files: Vec<String>,
}

/// The targets and changes for which a step runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// The branches. `None` if the file does not mention branches.
    pub branches: Option<Vec<Pattern>>,
    /// The tags.
    pub tags: Option<Vec<Pattern>>,
    /// The base branches of pull requests.
    pub prs: Option<Vec<Pattern>>,
    /// The paths. The step runs for a pull request only if the pull request changes one of these
    /// paths. An empty list selects every change.
    pub paths: Vec<Pattern>,
}

impl When {
    /// Returns `true` if the lists for branches, tags and pull requests are all missing, which
    /// selects all targets.
    #[must_use]
    pub fn is_any_target(&self) -> bool {
        self.branches.is_none() && self.tags.is_none() && self.prs.is_none()
    }

    /// Returns `true` if any of the changed paths is selected.
    #[must_use]
    pub fn selects_change(&self, changed: &[String]) -> bool {
        self.paths.is_empty() || changed.iter().any(|path| selects(&self.paths, path.as_bytes()))
    }
}

/// The variants of a step: all combinations of one value from each axis, except for excluded ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matrix {
    /// The axes with their values, in file order.
    pub axes: Vec<(String, Vec<String>)>,
    /// Combinations to leave out. Each item assigns values to some of the axes, and excludes all
    /// combinations with these values.
    pub exclude: Vec<BTreeMap<String, String>>,
}

impl Matrix {
    /// Returns the number of combinations, including excluded ones.
    #[must_use]
    pub fn product(&self) -> usize {
        let counts = self.axes.iter().map(|(_, values)| values.len());
        counts.fold(1, |product, count| product.saturating_mul(count))
    }

    /// Returns the combinations. Without axes, there is one empty combination.
    ///
    /// The caller must first check that [`product`](Matrix::product) is not too large.
    #[must_use]
    pub fn combinations(&self) -> Vec<Combination<'_>> {
        let mut all = vec![Combination::new()];
        for (axis, values) in &self.axes {
            let mut longer = Vec::with_capacity(all.len() * values.len());
            for combination in &all {
                for value in values {
                    let mut combination = combination.clone();
                    combination.push((axis.as_str(), value.as_str()));
                    longer.push(combination);
                }
            }
            all = longer;
        }
        all.retain(|combination| !self.exclude.iter().any(|entry| contains(combination, entry)));
        all
    }
}

/// One value for each axis of a matrix, together with the name of the axis.
pub type Combination<'m> = Vec<(&'m str, &'m str)>;

fn contains(combination: &[(&str, &str)], entry: &BTreeMap<String, String>) -> bool {
    entry.iter().all(|(axis, value)| combination.contains(&(axis.as_str(), value.as_str())))
}
