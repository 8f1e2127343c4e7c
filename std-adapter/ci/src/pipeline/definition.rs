//! Reads the pipeline of a commit and stores it in the database.

use std::collections::BTreeSet;
use std::sync::Arc;

use datakit_client::db::{self, Path, TreeExt, TreeOps};
use datakit_github::Commit;

use super::error::PipelineErrors;
use super::model::Pipeline;
use super::names::pipeline_branch;
use super::plan::{Plan, Trigger};
use super::read::FILE_MAX;
use super::source::{CheckoutRequest, Source, SourceError};
use super::{FILE, error::ERRORS_MAX};
use crate::Target;
use crate::build::{Build, Builder};
use crate::pool::{Holder, Pool, Pools};

/// The maximum number of changed paths. If more paths changed, all steps run.
const CHANGED_MAX: usize = 3000;

/// The name of the pool that limits how many pipelines are read at the same time.
pub const PIPELINES_POOL: &str = "pipelines";

/// The capacity of [`PIPELINES_POOL`]. When a repository is added, the pipelines of all its
/// branches and tags are read.
const CAPACITY: usize = 8;

/// The maximum number of pipelines per repository that can wait to be read.
const QUEUE_MAX: usize = 100_000;

/// A commit whose pipeline is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionKey {
    /// A target whose head is the commit.
    pub target: Target,
    /// The commit.
    pub commit: Commit,
    /// The base branch of a pull request, and the head of that branch.
    pub base: Option<(String, Option<Commit>)>,
}

/// The pipeline file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The content of the file, or `None` if the commit has no pipeline, in which case no step
    /// runs.
    pub text: Option<Arc<str>>,
    /// The paths that a pull request changes, if they are known.
    pub changed: Option<Vec<String>>,
    /// The images in the pipeline of a pull request's base branch.
    pub images: Vec<String>,
}

impl Definition {
    /// Plans the pipeline.
    ///
    /// # Errors
    /// Returns the errors in the file.
    pub fn plan(&self, key: &DefinitionKey) -> Result<Plan, PipelineErrors> {
        let Some(text) = &self.text else {
            return Ok(Plan { tasks: Vec::new(), skipped: Vec::new() });
        };
        let pipeline = Pipeline::parse(FILE, text)?;
        let trigger = Trigger {
            target: key.target.clone(),
            base: key.base.as_ref().map(|(branch, _)| branch.clone()),
            changed: self.changed.clone(),
        };
        Ok(Plan::new(&pipeline, &trigger))
    }
}

/// Reads pipelines. The value is stored in the `value` directory. It contains either `pipeline`,
/// which is a copy of the pipeline file, or the empty file `no-pipeline`. For a pull request,
/// `changed` is a JSON list of the changed paths, and `images` is a JSON list of the images in the
/// base branch's pipeline.
#[derive(Debug)]
pub struct DefinitionBuilder<S> {
    source: Arc<S>,
    pool: Pool,
}

impl<S: Source> DefinitionBuilder<S> {
    /// Creates a builder.
    pub fn new(source: Arc<S>, pools: &Pools) -> DefinitionBuilder<S> {
        let pool = || Pool::with_queue(PIPELINES_POOL, CAPACITY, QUEUE_MAX);
        DefinitionBuilder { source, pool: pools.get_or_insert_with(PIPELINES_POOL, pool) }
    }

    async fn read(
        &self,
        request: &CheckoutRequest<'_>,
        key: &DefinitionKey,
    ) -> Result<Definition, SourceError> {
        let text = match self.source.read_file(request, FILE, FILE_MAX).await? {
            Some(content) => Some(String::from_utf8(content).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                let text = format!("{FILE} is not UTF-8: the byte at offset {at} is invalid");
                SourceError::permanent(text)
            })?),
            // Otherwise, a pull request could evade its failing tests by removing the file.
            None if key.base.is_some() && !self.base_has_none(request, key).await? => {
                return Err(SourceError::permanent(format!("the commit does not contain {FILE}")));
            }
            None => None,
        };
        let (mut changed, mut images) = (None, Vec::new());
        if let Some((branch, Some(base))) = &key.base {
            changed = self.source.changed_paths(request, branch, base, CHANGED_MAX).await?;
            images = self.images(&CheckoutRequest { commit: base, ..request.clone() }).await;
        }
        Ok(Definition { text: text.map(Into::into), changed, images })
    }

    /// Returns `true` if the base branch of a pull request has no pipeline file.
    async fn base_has_none(
        &self,
        request: &CheckoutRequest<'_>,
        key: &DefinitionKey,
    ) -> Result<bool, SourceError> {
        let Some((branch, Some(base))) = &key.base else { return Ok(false) };
        // This call also fetches the base commit.
        self.source.changed_paths(request, branch, base, 0).await?;
        let request = CheckoutRequest { commit: base, ..request.clone() };
        match self.source.read_file(&request, FILE, FILE_MAX).await {
            Err(error) if error.is_temporary => Err(error),
            file => Ok(matches!(file, Ok(None))),
        }
    }

    /// Returns the images in a commit's pipeline, or an empty list if the pipeline cannot be read.
    async fn images(&self, request: &CheckoutRequest<'_>) -> Vec<String> {
        let content = self.source.read_file(request, FILE, FILE_MAX).await;
        let text = content.ok().flatten().and_then(|content| String::from_utf8(content).ok());
        let pipeline = text.and_then(|text| Pipeline::parse(FILE, &text).ok());
        let plan = pipeline.map(|pipeline| Plan::all(&pipeline));
        let tasks = plan.iter().flat_map(|plan| &plan.tasks);
        let images: BTreeSet<&String> = tasks.filter_map(|task| task.image.as_ref()).collect();
        images.into_iter().cloned().collect()
    }
}

fn value(name: &str) -> db::Result<Path> {
    Path::from_names(["value", name])
}

/// Returns a one-line description for the status.
fn summary(errors: &PipelineErrors) -> String {
    let text = errors.to_string();
    let first = text.lines().next().unwrap_or_default();
    match errors.errors.len() + errors.more {
        0 | 1 => first.to_owned(),
        count if count > ERRORS_MAX => format!("more than {ERRORS_MAX} errors; the first: {first}"),
        count => format!("{count} errors; the first: {first}"),
    }
}

/// Adds the files of a pipeline to the result.
fn write(build: &Build, definition: &Definition) -> db::Result<()> {
    let (name, text) = match &definition.text {
        Some(text) => ("pipeline", &**text),
        None => ("no-pipeline", ""),
    };
    build.write_file(value(name)?, text);
    let changed = definition.changed.as_ref();
    let images = Some(&definition.images).filter(|images| !images.is_empty());
    for (name, list) in [("changed", changed), ("images", images)] {
        if let Some(list) = list {
            build.write_file(value(name)?, serde_json::to_vec(list).unwrap_or_default());
        }
    }
    Ok(())
}

impl<S: Source> Builder for DefinitionBuilder<S> {
    type Key = DefinitionKey;
    type Value = Definition;

    fn name(&self) -> &str {
        "pipeline"
    }

    fn title(&self, key: &DefinitionKey) -> String {
        format!("Pipeline of {}", key.target)
    }

    fn branch(&self, key: &DefinitionKey) -> String {
        pipeline_branch(&key.commit, key.base.as_ref().map(|(branch, _)| &**branch))
    }

    async fn generate(&self, build: &Build, key: &DefinitionKey) -> Result<Definition, String> {
        let holder = Holder::new(key.commit.repo.to_string(), key.target.to_string());
        let place = self.pool.acquire(&holder, build.progress()).await;
        let _place = place.map_err(|error| {
            build.set_temporary();
            error.to_string()
        })?;
        let request =
            CheckoutRequest { target: &key.target, commit: &key.commit, job: FILE, build };
        let read = self.read(&request, key).await;
        let definition = read.map_err(|error| {
            if error.is_temporary {
                build.set_temporary();
            }
            error.message
        })?;
        let plan = definition.plan(key).map_err(|errors| {
            build.log().write(&format!("{errors}\n"));
            summary(&errors)
        })?;
        match definition.text {
            Some(_) => build.log().write(&plan.to_string()),
            None => build.log().line(&format!("The commit has no file {FILE}, so no step runs")),
        }
        write(build, &definition).map_err(|error| error.to_string())?;
        Ok(definition)
    }

    async fn load<T: TreeOps>(&self, tree: &T, _: &DefinitionKey) -> db::Result<Definition> {
        let text = tree.read_file_if_present(&value("pipeline")?).await?;
        let mut lists = [None, None];
        for (list, name) in lists.iter_mut().zip(["changed", "images"]) {
            let json = tree.read_file_if_present(&value(name)?).await?;
            *list = json.and_then(|json| serde_json::from_slice(&json).ok());
        }
        let [changed, images] = lists;
        Ok(Definition {
            text: text.map(|text| String::from_utf8_lossy(&text).into()),
            changed,
            images: images.unwrap_or_default(),
        })
    }
}
