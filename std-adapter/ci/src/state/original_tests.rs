//! Tests with database contents written by the original CI, which was implemented in OCaml.
//!
//! The branches and files have the same format as those of the original: hashes and failures do not
//! end with a newline, a build without a value has no `value` file, and the logs of a result are
//! `null`, an object, or a list of two logs.

use std::process::Command;
use std::time::Duration;

use datakit_client::db::{
    BranchOps, CommitOps, Database as _, Path, TransactionExt, TransactionOps, TreeOps,
};
use datakit_db::DirectDb;
use datakit_github::{Commit, Diff, Element, Hash, Pr, PrId, PrState, Ref, RefId, Repo, write};
use tempfile::TempDir;

use super::*;
use crate::build::{Cache, LiveLogs};
use crate::git::{FetchHead, FetchKey, Repository, Shell, ShellKey, ShellOptions};
use crate::term::{Logs, Outcome, SavedLog, Term, Watcher};
use crate::{Engine, Options, Project, Target};

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

const PR_HISTORY: &str = "status-me-my_2dapp-pr-7";
const REF_HISTORY: &str = "status-me-my_2dapp-ref-heads-fix_2fc_2b_2b";

fn repo() -> Repo {
    "me/my-app".parse().unwrap()
}

fn pr() -> Target {
    "me/my-app/prs/7".parse().unwrap()
}

fn branch() -> Target {
    "me/my-app/heads/fix/c++".parse().unwrap()
}

fn hash(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn commit(digit: char) -> Commit {
    Commit { repo: repo(), hash: Hash::parse(hash(digit)).unwrap() }
}

/// Commits files to a branch. Returns the hash of the commit.
async fn add(db: &DirectDb, branch: &str, message: &str, files: &[(&str, &[u8])]) -> String {
    let transaction = db.branch(branch).await.unwrap().transaction().await.unwrap();
    for (path, content) in files {
        transaction.write_file(&path.parse().unwrap(), content).await.unwrap();
    }
    transaction.commit(message).await.unwrap().id().to_string()
}

/// The original's state: two targets, their histories, the index, and build results.
struct Original {
    db: DirectDb,
    /// The commits in the pull request's history, oldest first.
    pr_history: [String; 2],
    /// The commit in the branch's history.
    ref_history: String,
    /// The commit with the log of the successful build.
    tests: String,
}

impl Original {
    async fn new() -> Original {
        let db = DirectDb::in_memory().unwrap();
        write_metadata(&db).await;
        let log = "=== Run unit_tests on commit 1\n[2017-03-01 09:30.05] Starting...\n\
                   all good\n[2017-03-01 09:30.06] Success\n";
        let name = format!("shell-of-unit_tests-on-{}", hash('1'));
        let files: &[(&str, &[u8])] = &[("log", log.as_bytes())];
        let tests = add(&db, &name, "Cached successful result", files).await;
        add(&db, &format!("git-pull-of-{}", hash('1')), "Cached successful result", files).await;
        let name = format!("shell-of-lint-on-{}", hash('1'));
        let files: &[(&str, &[u8])] = &[("log", b"=== Run lint\n"), ("failure", b"Exited with 2")];
        add(&db, &name, "Cached failure: Exited with 2", files).await;
        let name = format!("shell-of-docs-on-{}", hash('1'));
        let files: &[(&str, &[u8])] = &[("log", b"=== Run docs\n"), ("failure", b"No space left")];
        add(&db, &name, "Cached failure: No space left", files).await;
        add(&db, &name, "Marked for rebuild", &[("rebuild-requested", b"")]).await;
        let image = format!("docker-build-base-of-{}-from-debian-8", hash('1'));
        let files: &[(&str, &[u8])] = &[("log", b"=== Build\n"), ("value/image-id", b"sha256-2")];
        add(&db, &image, "Cached successful result", files).await;
        let (pr_history, ref_history) = write_histories(&db, &tests).await;
        Original { db, pr_history, ref_history, tests }
    }

    async fn head(&self, branch: &str) -> <DirectDb as datakit_client::db::Database>::Commit {
        self.db.branch(branch).await.unwrap().head().await.unwrap().expect("the branch exists")
    }

    async fn read(&self, branch: &str, path: &str) -> String {
        let content = self.head(branch).await.tree().read_file(&path.parse().unwrap()).await;
        String::from_utf8(content.unwrap()).unwrap()
    }
}

/// Writes the metadata: the pull request, the branch and a status.
async fn write_metadata(db: &DirectDb) {
    let transaction = db.branch("github-metadata").await.unwrap().transaction().await.unwrap();
    let Target::Ref(RefId { repo, name }) = branch() else { panic!("a branch is a ref") };
    let reference = Ref { id: RefId { repo, name }, head: commit('3').hash };
    let pr = Pr {
        id: PrId { repo: self::repo(), number: 7 },
        head: commit('1').hash,
        state: PrState::Open,
        title: "Add a test".into(),
        owner: "you".into(),
        base: "master".into(),
        comments: Vec::new(),
    };
    let diff = Diff::new([Element::from(pr), Element::from(reference)], []);
    write(&transaction, &diff).await.unwrap();
    let status = format!("me/my-app/commit/{}/status/ci/datakit/tests", hash('1'));
    for (file, content) in [
        ("state", "success\n"),
        ("description", "all good\n"),
        ("target_url", "https://ci.example.org/me/my-app/commit/1?test=tests\n"),
    ] {
        let path = format!("{status}/{file}").parse().unwrap();
        transaction.write_file(&path, content.as_bytes()).await.unwrap();
    }
    transaction.write_file(&"me/my-app/.monitor".parse().unwrap(), b"").await.unwrap();
    transaction.commit("Set me/my-app/pr/7:tests to all good").await.unwrap();
}

/// Writes the histories and the index. Returns the history commits.
async fn write_histories(db: &DirectDb, tests: &str) -> ([String; 2], String) {
    let (source, metadata) = (hash('1'), hash('9'));
    let common = [("source-commit", source.as_bytes()), ("metadata-commit", metadata.as_bytes())];
    let pending = br#"{"result":{"status":"pending","descr":"(new)"},"logs":null}"#;
    let mut files = common.to_vec();
    files.extend([("job/lint/output", &pending[..]), ("job/tests/output", pending)]);
    let message = "2 updates (tests -> (new), ...)\n\ntests -> (new)\nlint -> (new)";
    let first = add(db, PR_HISTORY, message, &files).await;

    let live = r#"{"branch":"git-pull-of-1"}"#;
    let saved = format!(
        r#"{{"title":"Run unit_tests","branch":"shell-of-unit_tests-on-{source}","commit":"{tests}","failed":false}}"#
    );
    let success = format!(
        r#"{{"result":{{"status":"success","descr":"all good"}},"logs":[{live},[{live},{saved}]]}}"#
    );
    // The original copies invalid UTF-8 unchanged.
    let failure =
        b"{\"result\":{\"status\":\"failure\",\"descr\":\"caf\xe9\\u0007\"},\"logs\":null}";
    let mut files = common.to_vec();
    files.extend([("job/lint/output", &failure[..]), ("job/tests/output", success.as_bytes())]);
    let second = add(db, PR_HISTORY, "tests -> all good", &files).await;

    let source = hash('3');
    let files: &[(&str, &[u8])] =
        &[("source-commit", source.as_bytes()), ("job/tests/output", pending)];
    let on_branch = add(db, REF_HISTORY, "tests -> (new)", files).await;
    for (digit, file, history) in
        [('1', "pr-7", &second), ('3', "ref-heads-fix_2fc_2b_2b", &on_branch)]
    {
        let path = format!("me/my-app/commit/{}/{file}", hash(digit));
        let message = format!("Update {file}:{} -> {history}", hash(digit));
        add(db, INDEX_BRANCH, &message, &[(&path, history.as_bytes())]).await;
    }
    ([first, second], on_branch)
}

/// A clone of a repository that does not contain any of the commits.
async fn clone() -> (TempDir, Repository) {
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("source");
    let status = Command::new("git").args(["init", "-q", "--bare"]).arg(&source).status();
    assert!(status.unwrap().success());
    let clone = dir.path().join("clone");
    let repository = Repository::open_or_clone(source.to_str().unwrap(), clone).await.unwrap();
    (dir, repository)
}

async fn result<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> crate::term::Evaluation<T> {
    let watcher = Watcher::new(term);
    let settled = async {
        loop {
            let evaluation = term.evaluate();
            if !matches!(evaluation.outcome, Outcome::Pending(_)) {
                return evaluation;
            }
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap()
}

/// Returns a builder whose command fails, so any results must come from the database.
fn shell(repository: &Repository, label: &str) -> Shell {
    Shell::new(repository.clone(), label, ["exit 9"], ShellOptions::default())
}

#[tokio::test]
async fn histories_are_opened_and_results_are_parsed() {
    let original = Original::new().await;
    let history = History::open(&original.db, &pr()).await.unwrap();
    let record = history.last();
    assert_eq!(record.source, Some(commit('1').hash));
    let [lint, tests] = [&record.jobs["lint"], &record.jobs["tests"]];
    assert_eq!((lint.status, &*lint.text), (JobStatus::Failure, "caf\u{fffd}\u{7}"));
    assert_eq!((tests.status, &*tests.text), (JobStatus::Success, "all good"));
    // The original does not store the time at which a job reached its status.
    let changed = history.opened().unwrap().details().await.unwrap().date;
    let changed: std::time::SystemTime = changed.parse::<jiff::Timestamp>().unwrap().into();
    assert_eq!((history.since()["lint"], history.since()["tests"]), (changed, changed));
    let Logs::Pair(pair) = &tests.logs else { panic!("{:?}", tests.logs) };
    let (Logs::Live { branch: live }, Logs::Pair(rest)) = &**pair else { panic!("{pair:?}") };
    let Logs::Saved(saved) = &rest.1 else { panic!("{rest:?}") };
    let SavedLog { branch, commit, failed, .. } = &**saved;
    assert_eq!((&**live, commit, *failed), ("git-pull-of-1", &original.tests, false));
    assert!(original.read(branch, "log").await.contains("\nall good\n"));

    let history = History::open(&original.db, &self::branch()).await.unwrap();
    assert_eq!(history.last().source, Some(self::commit('3').hash));
    assert_eq!(history.last().jobs["tests"].text, "(new)");
    let first = original.db.commit(&original.pr_history[0]).await.unwrap();
    assert_eq!(Record::read(&first.tree()).await.unwrap().jobs.len(), 2);
}

#[tokio::test]
async fn index_leads_to_the_histories() {
    let original = Original::new().await;
    for (digit, target, history) in
        [('1', pr(), &original.pr_history[1]), ('3', branch(), &original.ref_history)]
    {
        let path = index_path(&commit(digit), &target).unwrap();
        assert_eq!(original.read(INDEX_BRANCH, &path.to_string()).await, **history);
        assert_eq!(original.head(&history_branch(&target)).await.id().to_string(), **history);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_builds_are_not_built_again() {
    let original = Original::new().await;
    let (_dir, repository) = clone().await;
    let find = async |label: &str| {
        let cache = Cache::new(original.db.clone(), shell(&repository, label), LiveLogs::new());
        result(&cache.find(&ShellKey { commit: commit('1'), target: pr() })).await
    };
    let tests = find("unit_tests").await;
    assert_eq!(tests.outcome, Outcome::Success(()));
    let Logs::Saved(log) = tests.logs else { panic!("{:?}", tests.logs) };
    assert_eq!(log.commit, original.tests);
    assert_eq!(find("lint").await.outcome, Outcome::failure("Exited with 2"));

    // The result that the original marked for rebuild is not used. The clone does not have the
    // commit.
    let Outcome::Failure(text) = find("docs").await.outcome else {
        panic!("the build cannot succeed")
    };
    assert_ne!(&*text, "No space left");
    let docs = format!("shell-of-docs-on-{}", hash('1'));
    let message = original.head(&docs).await.message().await.unwrap();
    assert!(message.starts_with("Cached failure: "), "{message}");
    let rebuild: Path = "rebuild-requested".parse().unwrap();
    assert!(!original.head(&docs).await.tree().exists(&rebuild).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_fetch_does_not_hide_that_the_clone_lacks_the_commit() {
    let original = Original::new().await;
    let (_dir, repository) = clone().await;
    let cache = Cache::new(original.db.clone(), FetchHead::new(repository), LiveLogs::new());
    let term = cache.find(&FetchKey { target: pr(), commit: commit('1') });
    let outcome = result(&term).await.outcome;
    assert!(matches!(outcome, Outcome::Failure(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_continues_the_history() {
    let original = Original::new().await;
    let (_dir, repository) = clone().await;
    let builder = shell(&repository, "unit_tests");
    let cache = Cache::new(original.db.clone(), builder, LiveLogs::new());
    let project = Project::new(repo(), move |input| {
        let (cache, target) = (cache.clone(), input.target.clone());
        let tests = input.head().bind(move |commit| {
            let key = ShellKey { commit: commit.clone(), target: target.clone() };
            cache.find(&key).map(|()| "all good".to_owned())
        });
        vec![("tests".to_owned(), tests)]
    });
    let mut options = Options::default();
    options.canaries.insert(pr());
    let mut engine = Engine::new(original.db.clone(), options, vec![project]);
    let engine = tokio::spawn(async move { engine.run().await });

    // The `lint` test no longer exists, so a commit is added to the history.
    let branch = original.db.branch(PR_HISTORY).await.unwrap();
    let mut heads = branch.watch_head().await.unwrap();
    let continued = async {
        loop {
            let head = heads.next().await.expect("the watch goes on").unwrap().expect("a head");
            let record = Record::read(&head.tree()).await.unwrap();
            if record.jobs.len() == 1 {
                return (head, record);
            }
        }
    };
    let (head, record) = tokio::time::timeout(LIMIT, continued).await.unwrap();
    engine.abort();
    let tests = &record.jobs["tests"];
    assert_eq!((tests.status, &*tests.text), (JobStatus::Success, "all good"));
    let mut parents = head.parents().await.unwrap();
    while let Some(parent) = parents.pop() {
        if parent.id().to_string() == original.pr_history[1] {
            return;
        }
        parents = parent.parents().await.unwrap();
    }
    panic!("the new history does not contain that of the original");
}

/// Returns the body of a page. The engine is not running, so the pages show only what is in the
/// database.
#[cfg(feature = "program")]
async fn page(router: &axum::Router, path: &str) -> String {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), axum::http::StatusCode::OK, "{path}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[cfg(feature = "program")]
#[tokio::test(flavor = "multi_thread")]
async fn pages_show_histories_and_logs() {
    use crate::build::Builds;
    use crate::pool::Pools;
    use crate::web::{WebState, auth, router};

    let original = Original::new().await;
    let dir = TempDir::new().unwrap();
    let mut options = auth::Options::new(dir.path(), "http://ci.example.org/");
    options.can_read = "everyone".parse().unwrap();
    let auth = auth::Auth::open(options).unwrap();
    let (live, builds, pools) = (LiveLogs::new(), Builds::new(), Pools::new());
    let view = crate::View::new();
    let router = router(WebState::new(original.db.clone(), view, live, builds, pools, auth));

    let commit = page(&router, &format!("/me/my-app/commit/{}", hash('3'))).await;
    let link = format!("/me/my-app/ref/heads/fix/c++?history={}", original.ref_history);
    assert!(commit.replace("%2B", "+").contains(&link), "{commit}");
    let list = page(&router, "/me/my-app/pr/7?history").await;
    let [first, second] = &original.pr_history;
    assert!(list.contains(first) && list.contains(second), "{list}");
    assert!(list.contains("2 updates (tests -&#62; (new), ...)"), "{list}");
    let state = page(&router, "/me/my-app/pr/7?test=tests").await;
    assert!(state.contains("all good"), "{state}");
    let log = format!("/log/saved/shell-of-unit_tests-on-{}/{}", hash('1'), original.tests);
    assert!(page(&router, &log).await.contains("2017-03-01 09:30.05"));
}
