//! Tests for the pipelines of targets, with an in-memory database and without a sandbox.

mod hostile;
mod repository;
mod scale;
mod trust;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datakit_client::db::{BranchOps, CommitOps, Database as _, TreeExt};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{
    Commit, Element, Hash, Pr, PrId, PrState, Ref, RefId, RefName, Repo, Snapshot, Text,
};

use super::*;
use crate::build::LiveLogs;
use crate::command::Sandbox;
use crate::term::{Outcome, Term, Watcher};
use crate::{Metadata, Target, TestInput, Tests};

type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// The files of a commit.
type Files = BTreeMap<&'static str, String>;

/// A source that keeps commits in memory.
#[derive(Default)]
struct Commits {
    files: BTreeMap<usize, Files>,
    changed: Option<Vec<String>>,
    checkouts: Arc<AtomicUsize>,
    /// How many of the next reads fail with a temporary error.
    failures: AtomicUsize,
}

impl Commits {
    /// Adds a commit that contains only a pipeline.
    fn with(mut self, number: usize, pipeline: &str) -> Commits {
        self.files.entry(number).or_default().insert(FILE, pipeline.to_owned());
        self
    }

    fn files(&self, commit: &Commit) -> Result<&Files, SourceError> {
        let number = usize::from_str_radix(&commit.hash.to_string(), 16).unwrap();
        let absent = || SourceError::permanent(format!("there is no commit {number}"));
        self.files.get(&number).ok_or_else(absent)
    }
}

struct Dir(tempfile::TempDir);

impl Checkout for Dir {
    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Source for Commits {
    type Checkout = Dir;

    async fn read_file(
        &self,
        request: &CheckoutRequest<'_>,
        path: &str,
        max: usize,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let left = |failures: usize| failures.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err(SourceError::temporary("the network is down"));
        }
        match self.files(request.commit)?.get(path) {
            Some(text) if text.len() > max => {
                Err(SourceError::permanent(format!("{path} has more than {max} bytes")))
            }
            text => Ok(text.map(|text| text.as_bytes().to_vec())),
        }
    }

    async fn changed_paths(
        &self,
        _: &CheckoutRequest<'_>,
        _: &str,
        _: &Commit,
        _: usize,
    ) -> Result<Option<Vec<String>>, SourceError> {
        Ok(self.changed.clone())
    }

    async fn checkout(&self, request: &CheckoutRequest<'_>) -> Result<Dir, SourceError> {
        self.checkouts.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in self.files(request.commit)? {
            fs::write(dir.path().join(path), text).unwrap();
        }
        Ok(Dir(dir))
    }
}

fn repo() -> Repo {
    "me/app".parse().unwrap()
}

fn hash(number: usize) -> Hash {
    Hash::parse(format!("{number:040x}")).unwrap()
}

fn branch(name: &str, head: usize) -> Element {
    let id = RefId { repo: repo(), name: RefName::parse(format!("heads/{name}")).unwrap() };
    Ref { id, head: hash(head) }.into()
}

fn pr(number: u64, head: usize) -> Element {
    let text = |text: &str| Text::from(text);
    Pr {
        id: PrId { repo: repo(), number },
        head: hash(head),
        state: PrState::Open,
        title: text("title"),
        owner: text("stranger"),
        base: text("master"),
        comments: Vec::new(),
    }
    .into()
}

fn unsandboxed() -> Settings {
    Settings { sandbox: Sandbox::Unsandboxed, ..Settings::default() }
}

/// The pipelines of a repository and everything they need.
struct Ci {
    db: DirectDb,
    metadata: Arc<Metadata>,
    pipelines: Pipelines<DirectDb, Commits>,
}

impl Ci {
    fn new(source: Commits, settings: Settings) -> Ci {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        Ci::with_db(db, source, settings)
    }

    fn with_db(db: DirectDb, source: Commits, settings: Settings) -> Ci {
        let pipelines = Pipelines::new(db.clone(), source, settings, LiveLogs::new());
        Ci { db, metadata: Arc::new(Metadata::new()), pipelines }
    }

    fn set(&self, elements: impl IntoIterator<Item = Element>) {
        let mut snapshot = Snapshot::new();
        elements.into_iter().for_each(|element| snapshot.insert(element));
        self.metadata.update(snapshot);
    }

    fn term(&self, target: &str) -> Term<Arc<Tests>> {
        let target: Target = target.parse().unwrap();
        self.pipelines.tests(&TestInput { target, metadata: self.metadata.clone() })
    }

    /// Returns the outcomes of all tests of a target, or the reason why the pipeline failed.
    async fn results(&self, target: &str) -> Result<BTreeMap<String, Outcome<String>>, String> {
        let tests = self.term(target);
        let tests = match settle(&tests).await {
            Outcome::Success(tests) => tests,
            Outcome::Failure(text) => return Err(text.to_string()),
            Outcome::Pending(pending) => panic!("{pending}"),
        };
        let mut results = BTreeMap::new();
        for (name, term) in tests.iter() {
            let outcome = settle(term).await.map(|text| text.split(' ').next().unwrap().to_owned());
            results.insert(name.clone(), outcome);
        }
        Ok(results)
    }

    /// Reads a file from the head of a database branch.
    async fn read(&self, branch: &str, path: &str) -> Option<String> {
        let head = self.db.branch(branch).await.unwrap().head().await.unwrap()?;
        let content = head.tree().read_file_if_present(&path.parse().unwrap()).await.unwrap();
        content.map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    async fn branches(&self) -> Vec<String> {
        self.db.branches().await.unwrap().iter().map(ToString::to_string).collect()
    }
}

/// Evaluates a term until it is no longer pending.
async fn settle<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> Outcome<T> {
    let watcher = Watcher::new(term);
    let settled = async {
        loop {
            let outcome = term.evaluate().outcome;
            if !matches!(outcome, Outcome::Pending(_)) {
                return outcome;
            }
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap()
}

fn passed() -> Outcome<String> {
    Outcome::Success("Passed".to_owned())
}

const STEPS: &str = "
[step.test]
run = 'cat out; mkdir -p report/sub; echo fine >report/sub/a; echo >b'
needs = 'build'
artifacts = ['report', 'b']
[step.build]
run = 'echo building >out; env'
[step.late]
run = 'true'
needs = 'bad'
[step.bad]
run = 'echo partly >b; exit 7'
artifacts = ['missing', 'b']
";

#[tokio::test(flavor = "multi_thread")]
async fn each_step_has_a_result_in_the_database() -> Done {
    let source = Commits::default().with(1, &STEPS.replace("cat out", "test ! -e out"));
    let checkouts = source.checkouts.clone();
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("master", 1), branch("other", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    let expected = [
        ("bad", Outcome::failure("exit status: 7")),
        ("build", passed()),
        ("late", Outcome::failure("bad failed")),
        ("test", passed()),
    ];
    assert_eq!(results, expected.map(|(name, outcome)| (name.to_owned(), outcome)).into());
    let name = |step: &str| format!("step-me-app-{step}-of-{}", hash(1));
    assert_eq!(ci.read(&name("test"), "value/artifacts/report/sub/a").await.unwrap(), "fine\n");
    let result = ci.read(&name("test"), "value/result").await.unwrap();
    assert!(result.ends_with(r#""artifacts":{"b":1,"report/sub/a":5}}"#), "{result}");
    // The artifacts of a failed step are kept.
    assert_eq!(ci.read(&name("bad"), "value/artifacts/b").await.unwrap(), "partly\n");
    assert_eq!(ci.read(&name("bad"), "failure").await.unwrap(), "exit status: 7\n");
    let log = ci.read(&name("build"), "log").await.unwrap();
    for line in ["CI=true", "DATAKIT_CI_STEP=build", "DATAKIT_CI_REPO=me/app"] {
        assert!(log.lines().any(|found| found == line), "{log}");
    }
    assert!(log.contains(&format!("DATAKIT_CI_COMMIT={}\n", hash(1))));
    // The result is not specific to a target, so the commands do not see the target.
    assert!(!log.contains("DATAKIT_CI_TARGET"));
    // The results are also used for another target with the same commit, and by another process.
    assert_eq!(ci.results("me/app/heads/other").await?.len(), 4);
    let again = Ci::with_db(ci.db.clone(), Commits::default(), unsandboxed());
    again.set([branch("master", 1)]);
    assert_eq!(again.results("me/app/heads/master").await?, results);
    assert_eq!(checkouts.load(Ordering::Relaxed), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_visible_to_the_steps_that_need_them() -> Done {
    let file = r#"
[step.build]
run = 'mkdir -p out/a; echo "echo tool $MATRIX_V" >out/tool; chmod +x out/tool; echo b >out/a/b'
artifacts = 'out'
matrix.v = [1, 2]
[step.test]
run = 'cd "$DATAKIT_CI_ARTIFACTS"; build:v=2/out/tool; cat build:v=1/out/a/b; ls; pwd'
needs = 'build'
[step.other]
run = 'test -z "$DATAKIT_CI_ARTIFACTS"'
needs = 'test'
"#;
    let ci = Ci::new(Commits::default().with(1, file).with(2, file), unsandboxed());
    ci.set([branch("master", 1), pr(7, 2)]);
    for (target, number, suffix) in
        [("me/app/heads/master", 1, ""), ("me/app/prs/7", 2, "-untrusted")]
    {
        let results = ci.results(target).await?;
        assert!(results.values().all(|outcome| *outcome == passed()), "{results:?}");
        let name = format!("step-me-app-test-of-{}{suffix}", hash(number));
        let log = ci.read(&name, "log").await.unwrap();
        assert!(log.contains("\ntool 2\nb\nbuild:v=1\nbuild:v=2\n/"), "{log}");
        let dir = log.lines().find(|line| line.starts_with('/')).unwrap();
        assert!(!std::path::Path::new(dir).exists(), "{dir} was not removed");
    }
    Ok(())
}

/// An artifact of a step with secrets can contain a secret, so steps that read the artifact have
/// private caches.
#[tokio::test(flavor = "multi_thread")]
async fn caches_made_from_artifacts_with_secrets_are_private() -> Done {
    let dir = tempfile::tempdir()?;
    let file = "
[step.a]
run = 'echo $TOKEN >file'
secrets = 'TOKEN'
artifacts = 'file'
[step.b]
run = 'mkdir kept; cp $DATAKIT_CI_ARTIFACTS/a/file kept'
needs = 'a'
artifacts = 'kept'
cache.c = { paths = 'kept', key = 'k' }
[step.c]
run = 'mkdir kept; cp $DATAKIT_CI_ARTIFACTS/b/kept/file kept'
needs = 'b'
cache.d = { paths = 'kept', key = 'k' }
";
    let stranger = "[step.x]\nrun='cat kept/file'\ncache.c={paths='kept',key='k'}\n\
                    [step.y]\nrun='cat kept/file'\ncache.d={paths='kept',key='k'}\n";
    let mut settings = unsandboxed();
    settings.secrets.insert("TOKEN".to_owned(), "hunter2".to_owned());
    settings.caches = Some(Caches::open(dir.path())?);
    let ci = Ci::new(Commits::default().with(1, file).with(2, stranger), settings);
    ci.set([branch("master", 1), pr(7, 2)]);
    let results = ci.results("me/app/heads/master").await?;
    assert!(results.values().all(|outcome| *outcome == passed()), "{results:?}");
    let results = ci.results("me/app/prs/7").await?;
    assert!(results.values().all(|outcome| *outcome != passed()), "{results:?}");
    Ok(())
}

/// A lost connection is not the commit's fault, so the pipeline is read again.
#[tokio::test(start_paused = true)]
async fn reading_a_pipeline_is_repeated_after_a_temporary_failure() -> Done {
    let source = Commits { failures: AtomicUsize::new(2), ..Commits::default() };
    let file = "[step.a]\nrun='true'\n";
    let ci = Ci::new(source.with(1, file).with(2, "\u{0}"), unsandboxed());
    ci.set([branch("master", 1), branch("bad", 2)]);
    let Outcome::Success(tests) = settle(&ci.term("me/app/heads/master")).await else {
        panic!("the pipeline was not read")
    };
    assert_eq!(tests.len(), 1);
    // If a commit has no valid file, the failure is stored.
    assert!(matches!(settle(&ci.term("me/app/heads/bad")).await, Outcome::Failure(_)));
    let name = format!("pipeline-me-app-of-{}", hash(2));
    assert!(ci.read(&name, "failure").await.is_some());
    assert_eq!(ci.read(&name, "rebuild-requested").await, None);
    Ok(())
}

/// The log names the files that are missing from a checkout.
#[tokio::test(flavor = "multi_thread")]
async fn submodules_and_lfs_files_are_mentioned_in_the_log() -> Done {
    let mut source = Commits::default().with(1, "[step.a]\nrun='true'\n");
    let files = source.files.get_mut(&1).unwrap();
    files.insert(".gitmodules", "[submodule \"x\"]\n".to_owned());
    files.insert(".gitattributes", "*.bin filter=lfs diff=lfs\n".to_owned());
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("master", 1)]);
    ci.results("me/app/heads/master").await?;
    let log = ci.read(&format!("step-me-app-a-of-{}", hash(1)), "log").await.unwrap();
    assert!(log.contains("] Submodules are not checked out"), "{log}");
    assert!(log.contains("] Files in Git LFS are not downloaded"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_per_target_sees_the_target() -> Done {
    let file = "[step.a]\nrun='echo \"for $DATAKIT_CI_TARGET\"'\nper-target=true\n";
    let ci = Ci::new(Commits::default().with(1, file), unsandboxed());
    ci.set([branch("fix/it", 1)]);
    ci.results("me/app/heads/fix/it").await?;
    let name = format!("step-me-app-a-of-{}-for-ref-heads-fix_2fit", hash(1));
    assert!(ci.read(&name, "log").await.unwrap().contains("\nfor me/app/heads/fix/it\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_file_are_in_the_log() -> Done {
    let source = Commits::default().with(1, "[step.a]\nrn='x'\n").with(2, STEPS);
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("master", 1)]);
    let error = ci.results("me/app/heads/master").await.unwrap_err();
    assert_eq!(
        error,
        "2 errors; the first: .datakit-ci.toml:1:7: the step `a` has no commands; add `run = \"...\"`"
    );
    let log = ci.read(&format!("pipeline-me-app-of-{}", hash(1)), "log").await.unwrap();
    assert!(log.contains("\n.datakit-ci.toml:2:1: unknown key `rn` in the step `a`"), "{log}");
    // The next commit fixes the file.
    ci.set([branch("master", 2)]);
    assert_eq!(ci.results("me/app/heads/master").await?.len(), 4);
    let log = ci.read(&format!("pipeline-me-app-of-{}", hash(2)), "log").await.unwrap();
    assert!(log.contains("\ntest, after build\n"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_runs_the_steps_for_its_changes() -> Done {
    let file = "[step.docs]\nrun='true'\nwhen={paths='docs/**'}\n\
                [step.src]\nrun='true'\nwhen={paths='src/**'}\n";
    let base = format!("{file}image='debian:${{matrix.v}}'\nmatrix.v=[11,12]\n");
    let mut source = Commits::default().with(1, &base).with(2, file);
    source.changed = Some(vec!["src/main.rs".to_owned()]);
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("master", 1), pr(7, 2)]);
    let names: Vec<String> = ci.results("me/app/prs/7").await?.into_keys().collect();
    assert_eq!(names, ["src"]);
    assert_eq!(ci.results("me/app/heads/master").await?.len(), 3);
    let stored = format!("pipeline-me-app-into-master-of-{}", hash(2));
    let images = ci.read(&stored, "value/images").await.unwrap();
    assert_eq!(images, r#"["debian:11","debian:12"]"#);
    assert_eq!(ci.read(&stored, "value/changed").await.unwrap(), r#"["src/main.rs"]"#);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_repeated_in_a_new_work_tree() -> Done {
    let dir = tempfile::tempdir()?;
    let marker = dir.path().join("marker");
    let file = format!(
        "[step.a]\nrun='test ! -e here; touch here; test -e {0} || {{ touch {0}; exit 1; }}'\n\
         retry={{times=2,pause='1s'}}\n",
        marker.display()
    );
    let ci = Ci::new(Commits::default().with(1, &file), unsandboxed());
    ci.set([branch("master", 1)]);
    assert_eq!(ci.results("me/app/heads/master").await?["a"], passed());
    let result = ci.read(&format!("step-me-app-a-of-{}", hash(1)), "value/result").await.unwrap();
    assert!(result.contains(r#""attempts":2"#), "{result}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_or_image_that_does_not_exist_is_named() -> Done {
    let file = "[step.a]\nrun='true'\npool='big'\n[step.b]\nrun='true'\nimage='none:1'\n";
    // The sandbox is never started.
    let ci = Ci::new(Commits::default().with(1, file), Settings::default());
    ci.set([branch("master", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    assert_eq!(
        results["a"],
        Outcome::failure("there is no pool `big`; the pools: pipelines, steps")
    );
    assert_eq!(
        results["b"],
        Outcome::failure("this machine does not provide the image `none:1`; its images: none")
    );
    Ok(())
}
