//! Tests with real repositories.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command as StdCommand;
use std::sync::Arc;

use datakit_github::{Hash, Repo};
use tempfile::TempDir;

use super::*;
use crate::Target;
use crate::build::{BuildLog, LogLimits};
use crate::pool::Holder;
use crate::term::{External, Outcome, Progress, Term, Watcher};
use datakit_github::Commit;

pub(super) type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A remote repository and the directory of its clone.
pub(super) struct Fixture {
    pub(super) dir: TempDir,
    repo: Repo,
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let fixture =
            Fixture { dir: tempfile::tempdir().unwrap(), repo: Repo::new("me", "app").unwrap() };
        std::fs::create_dir(fixture.source()).unwrap();
        fixture.git(&["init", "-q", "-b", "main"]);
        fixture
    }

    pub(super) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(super) fn clone_dir(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    fn git(&self, args: &[&str]) -> String {
        let output = StdCommand::new("git")
            .arg("-C")
            .arg(self.source())
            .args(["-c", "user.name=Me", "-c", "user.email=me@example.org"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes files, commits them and returns the commit.
    pub(super) fn commit(&self, files: &[(&str, &str)]) -> Commit {
        for (name, content) in files {
            let path = self.source().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
        self.at("HEAD")
    }

    fn at(&self, revision: &str) -> Commit {
        let hash = Hash::parse(self.git(&["rev-parse", revision])).unwrap();
        Commit { repo: self.repo.clone(), hash }
    }

    pub(super) async fn open(&self) -> Result<Repository, RepositoryError> {
        Repository::open_or_clone(self.source().to_str().unwrap(), self.clone_dir()).await
    }
}

pub(super) fn new_log() -> BuildLog {
    BuildLog::new("Test", Vec::new(), LogLimits { bytes: 100_000 })
}

pub(super) fn main_branch() -> Target {
    "me/app/heads/main".parse().unwrap()
}

/// Runs `job` with a handle that reports progress.
pub(super) fn with_progress<F>(job: impl Fn(Progress) -> F + Send + Sync + 'static) -> Term<()>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    External::new("test", job).term()
}

async fn settle<T: Clone + Send + Sync + 'static>(
    term: &Term<T>,
    until: impl Fn(&Outcome<T>) -> bool,
) -> Outcome<T> {
    let watcher = Watcher::new(term);
    let settled = async {
        loop {
            let outcome = term.evaluate().outcome;
            if until(&outcome) {
                return outcome;
            }
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap()
}

pub(super) async fn result<T: Clone + Send + Sync + 'static>(term: &Term<T>) -> Outcome<T> {
    settle(term, |outcome| !matches!(outcome, Outcome::Pending(_))).await
}

/// Creates a worktree and passes it to `job`.
pub(super) async fn in_worktree(
    repository: &Repository,
    commit: &Commit,
    job: impl Fn(&Path) + Send + Sync + Clone + 'static,
) {
    let (repository, commit) = (repository.clone(), commit.clone());
    let term = with_progress(move |progress| {
        let (repository, commit, job) = (repository.clone(), commit.clone(), job.clone());
        async move {
            let holder = Holder::new("me/app", "test");
            let worktree = repository.worktree(&commit, &holder, &progress).await;
            job(worktree.map_err(|error| error.to_string())?.path());
            Ok(())
        }
    });
    assert_eq!(result(&term).await, Outcome::Success(()));
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| entries.count())
}

/// Waits until all worktrees have been removed.
pub(super) async fn removed(repository: &Repository) {
    let dirs = [
        repository.dir().join("worktrees"),
        repository.dir().join("trash"),
        repository.git_dir().join("worktrees"),
    ];
    let empty = async {
        while dirs.iter().any(|dir| entries(dir) > 0)
            || !repository.worktrees().status().holders.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, empty).await.unwrap();
}

#[tokio::test]
async fn heads_and_pull_requests_are_fetched_once() -> Done {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    fixture.git(&["checkout", "-q", "-b", "side"]);
    let pull = fixture.commit(&[("b", "2")]);
    fixture.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    fixture.git(&["checkout", "-q", "main"]);
    fixture.git(&["branch", "-q", "-D", "side"]);
    let (repository, log) = (fixture.open().await?, new_log());
    assert!(!repository.contains(&first).await?);
    repository.fetch_quietly(&main_branch(), &first, &log).await?;
    assert!(repository.contains(&first).await? && !repository.contains(&pull).await?);
    let target = "me/app/prs/7".parse()?;
    repository.fetch_quietly(&target, &pull, &log).await?;
    let text = log.finish();
    assert_eq!(text.matches("$ git fetch").count(), 2, "{text}");
    assert!(text.contains("refs/pull/7/head"), "{text}");
    // The second fetch does not need the remote repository.
    std::fs::remove_dir_all(fixture.source())?;
    repository.fetch_quietly(&target, &pull, &log).await?;
    Ok(())
}

#[tokio::test]
async fn commit_of_a_reset_branch_is_fetched_by_its_hash() -> Done {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let lost = fixture.commit(&[("a", "2")]);
    fixture.git(&["reset", "-q", "--hard", "HEAD~"]);
    let (repository, log) = (fixture.open().await?, new_log());
    repository.fetch_quietly(&main_branch(), &lost, &log).await?;
    assert!(repository.contains(&lost).await?);
    let hash = Hash::parse("00112233445566778899aabbccddeeff00112233")?;
    let absent = Commit { repo: fixture.repo.clone(), hash };
    let error = repository.fetch_quietly(&main_branch(), &absent, &log).await.unwrap_err();
    let source = fixture.source();
    assert_eq!(
        error.to_string(),
        format!("{} does not have {hash}", source.display(), hash = absent.hash)
    );
    Ok(())
}

#[tokio::test]
async fn branches_may_have_any_legal_name() -> Done {
    let fixture = Fixture::new();
    let (repository, log) = (fixture.open().await?, new_log());
    let names: [&[u8]; 8] = [
        b"-u",
        b"--upload-pack=touch",
        b"$(touch${IFS}x)",
        b"a;b|c&d",
        b"<script>alert(1)",
        "\u{fc}\u{202e}".as_bytes(),
        b"latin-\xfc",
        b"@",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let commit = fixture.commit(&[("file", &number.to_string())]);
        let reference = [b"refs/heads/x/", name].concat();
        let head = fixture.source().join(".git").join(OsString::from_vec(reference.clone()));
        std::fs::create_dir_all(head.parent().unwrap())?;
        std::fs::write(head, format!("{}\n", commit.hash))?;
        let id = datakit_github::RefId {
            repo: fixture.repo.clone(),
            name: datakit_github::RefName::parse(&reference[5..])?,
        };
        // The `main` branch is not fetched.
        repository.fetch_quietly(&Target::Ref(id), &commit, &log).await?;
        assert!(repository.contains(&commit).await?);
    }
    let text = log.finish();
    assert_eq!(text.matches("$ git fetch").count(), 8, "{text}");
    assert!(!fixture.clone_dir().join("repository.git/x").exists());
    Ok(())
}

#[tokio::test]
async fn files_and_changes_are_read() -> Done {
    let fixture = Fixture::new();
    let base = fixture.commit(&[(".datakit-ci.toml", "x = 1\n"), ("dir/ä b", "")]);
    std::os::unix::fs::symlink("/etc/passwd", fixture.source().join("link"))?;
    let head = fixture.commit(&[("dir/c", "3"), ("d", "4")]);
    fixture.git(&["checkout", "-q", "-b", "other", "HEAD~"]);
    let other = fixture.commit(&[("e", "5")]);
    let (repository, log) = (fixture.open().await?, new_log());
    repository.fetch_quietly(&main_branch(), &head, &log).await?;
    repository.fetch_quietly(&"me/app/heads/other".parse()?, &other, &log).await?;
    let read = |path: &'static str, max| repository.read_file(&head, path, max);
    assert_eq!(read(".datakit-ci.toml", 6).await?, Some(b"x = 1\n".to_vec()));
    assert_eq!(read("dir/ä b", 6).await?, Some(Vec::new()));
    for absent in ["no", "*", ":/", "dir/no", ".datakit-ci.toml/x"] {
        assert_eq!(read(absent, 6).await?, None, "{absent}");
    }
    for (path, max, reason) in [
        (".datakit-ci.toml", 5, ".datakit-ci.toml has 6 bytes; the limit is 5"),
        ("link", 100, "link is not a file (mode 120000)"),
        ("dir/", 100, "dir is not a file (mode 040000)"),
    ] {
        assert_eq!(read(path, max).await.unwrap_err().to_string(), reason);
    }
    let changed = repository.changed_paths(&base, &head, 10).await?;
    assert_eq!(
        (changed.paths, changed.truncated),
        (vec!["d".into(), "dir/c".into(), "link".into()], false)
    );
    let changed = repository.changed_paths(&base, &head, 2).await?;
    assert_eq!((changed.paths.len(), changed.truncated), (2, true));
    assert!(repository.is_after(&base, &head).await?);
    assert!(!repository.is_after(&head, &base).await?);
    assert_eq!(repository.merge_base(&other, &head).await?, Some(base));
    Ok(())
}

#[tokio::test]
async fn worktree_is_removed_when_it_is_dropped() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("dir/file", "content")]);
    let repository = fixture.open().await?;
    repository.fetch_quietly(&main_branch(), &commit, &new_log()).await?;
    let hash = commit.hash.to_string();
    let job = move |dir: &Path| {
        assert_eq!(std::fs::read_to_string(dir.join("dir/file")).unwrap(), "content");
        let head = StdCommand::new("git").arg("-C").arg(dir).args(["rev-parse", "HEAD"]).output();
        assert_eq!(String::from_utf8_lossy(&head.unwrap().stdout).trim(), hash);
        // A build can leave behind directories that cannot be removed without changing their
        // permissions, and files that make `git` run other programs.
        std::fs::remove_file(dir.join(".git")).unwrap();
        std::fs::create_dir(dir.join(".git")).unwrap();
        let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o500);
        std::fs::set_permissions(dir.join("dir"), read_only).unwrap();
    };
    in_worktree(&repository, &commit, job).await;
    removed(&repository).await;
    Ok(())
}

#[tokio::test]
async fn jobs_wait_for_a_worktree() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")]);
    let options = RepositoryOptions { worktrees: 1, ..RepositoryOptions::default() };
    let source = fixture.source();
    let repository =
        Repository::open_with(source.to_str().unwrap(), fixture.clone_dir(), options).await?;
    repository.fetch_quietly(&main_branch(), &commit, &new_log()).await?;
    let (opened, shared) = (Arc::new(parking_lot::Mutex::new(Vec::new())), repository.clone());
    let kept = opened.clone();
    let term = || {
        let (kept, repository, commit) = (kept.clone(), shared.clone(), commit.clone());
        with_progress(move |progress| {
            let (kept, repository, commit) = (kept.clone(), repository.clone(), commit.clone());
            async move {
                let holder = Holder::new("me/app", "job");
                let worktree = repository.worktree(&commit, &holder, &progress).await;
                kept.lock().push(worktree.map_err(|error| error.to_string())?);
                Ok(())
            }
        })
    };
    let (first, second) = (term(), term());
    result(&first).await;
    let waits = |outcome: &Outcome<()>| outcome.state().to_string().contains("held by job");
    settle(&second, waits).await;
    opened.lock().clear();
    assert_eq!(result(&second).await, Outcome::Success(()));
    opened.lock().clear();
    removed(&repository).await;
    Ok(())
}

#[tokio::test]
async fn remains_of_a_crash_are_removed() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")]);
    let repository = fixture.open().await?;
    repository.fetch_quietly(&main_branch(), &commit, &new_log()).await?;
    let (git, dir) = (repository.git_dir(), fixture.clone_dir());
    let error = fixture.open().await.unwrap_err().to_string();
    assert_eq!(error, format!("{} is in use by another process", dir.display()));
    drop(repository);
    let add = ["worktree", "add", "-q", "--detach", "../worktrees/left", "HEAD"].as_slice();
    let hash = commit.hash.to_string();
    let add = add.iter().map(|arg| if *arg == "HEAD" { hash.as_str() } else { arg });
    assert!(StdCommand::new("git").arg("-C").arg(&git).args(add).status()?.success());
    std::fs::write(git.join("packed-refs.lock"), "")?;
    std::fs::write(git.join("refs/ci/x.lock"), "")?;
    std::fs::create_dir_all(git.join("objects/pack"))?;
    std::fs::write(git.join("objects/pack/tmp_pack_x"), "")?;
    let repository = fixture.open().await?;
    assert!(repository.contains(&commit).await?);
    removed(&repository).await;
    for name in ["packed-refs.lock", "refs/ci/x.lock", "objects/pack/tmp_pack_x"] {
        assert!(!git.join(name).exists(), "{name}");
    }
    in_worktree(&repository, &commit, |dir| assert!(dir.join("a").exists())).await;
    Ok(())
}

#[tokio::test]
async fn unacceptable_urls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["ext::sh -c true", "--upload-pack=true", "ssh://-oProxyCommand=true/x"] {
        let error = Repository::open_or_clone(url, dir.path()).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Url(_)), "{error}");
    }
    assert_eq!(entries(dir.path()), 0);
}

#[tokio::test]
async fn pack_that_is_too_large_is_refused_and_removed() -> Done {
    if crate::command::find_program("prlimit").is_none() {
        return Ok(());
    }
    let fixture = Fixture::new();
    // This text does not compress well.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + ((state >> 33) % 90) as u8)
    };
    let text: String = (0..1_000_000).map(|_| next()).collect();
    let commit = fixture.commit(&[("large", &text)]);
    let options = RepositoryOptions {
        pack_max: 100_000,
        retry: Retry::NEVER,
        ..RepositoryOptions::default()
    };
    let source = fixture.source();
    let repository =
        Repository::open_with(source.to_str().unwrap(), fixture.clone_dir(), options).await?;
    let error = repository.fetch_quietly(&main_branch(), &commit, &new_log()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Failed { .. }), "{error}");
    assert_eq!(entries(&repository.git_dir().join("objects/pack")), 0);
    Ok(())
}

#[tokio::test]
async fn one_fetch_runs_at_a_time() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/app", listener.local_addr()?);
    let repository = Repository::open_or_clone(&url, fixture.clone_dir()).await?;
    let fetch = || {
        let (repository, commit) = (repository.clone(), commit.clone());
        with_progress(move |progress| {
            let (repository, commit) = (repository.clone(), commit.clone());
            async move {
                let log = new_log();
                let fetched = repository.fetch(&main_branch(), &commit, &progress, &log).await;
                fetched.map_err(|error| error.to_string())
            }
        })
    };
    let (first, second) = (fetch(), fetch());
    let shows =
        |text: String| move |outcome: &Outcome<()>| outcome.state().to_string().starts_with(&text);
    settle(&first, shows("pending: Fetching me/app/heads/main".to_owned())).await;
    let dir = fixture.clone_dir();
    let waiting = format!("pending: Waiting for lock on {} (since ", dir.display());
    settle(&second, shows(waiting)).await;
    let pending = second.evaluate().outcome.state().to_string();
    let end = ", position 1 in the queue, held by me/app/heads/main)";
    assert!(pending.ends_with(end), "{pending}");
    // The first fetch is cancelled.
    drop(first);
    settle(&second, shows("pending: Fetching me/app/heads/main".to_owned())).await;
    Ok(())
}

#[tokio::test]
async fn fetch_that_receives_nothing_is_ended() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")]);
    // The listener accepts connections but never responds.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://me:hunter2@{}/app", listener.local_addr()?);
    let options = RepositoryOptions {
        idle_timeout: Duration::from_millis(300),
        retry: Retry { attempts: 3, pause: Duration::from_millis(10), pause_max: LIMIT },
        ..RepositoryOptions::default()
    };
    let repository = Repository::open_with(&url, fixture.clone_dir(), options).await?;
    let log = new_log();
    let error = repository.fetch_quietly(&main_branch(), &commit, &log).await.unwrap_err();
    assert_eq!(error.to_string(), "git fetch: no output for 300ms");
    let text = log.finish();
    assert!(text.contains("next attempt in 20ms"), "{text}");
    assert_eq!(text.matches("next attempt in").count(), 2, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}
