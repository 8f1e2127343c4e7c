//! Tests for local runs. The sandbox tests require bubblewrap.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::command::{Sandbox, find_program};

type Done = Result<(), Box<dyn std::error::Error>>;

/// Creates a work tree with a pipeline and a commit.
fn work_tree(pipeline: &str) -> io::Result<tempfile::TempDir> {
    let parent = tempfile::tempdir()?;
    let dir = parent.path();
    fs::write(dir.join(FILE), pipeline)?;
    fs::write(dir.join(".gitignore"), "ignored\n")?;
    fs::write(dir.join("tracked"), "1\n")?;
    for args in [
        &["init", "-q", "-b", "main"][..],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"],
    ] {
        let status = Command::new("git").args(args).current_dir(dir).status()?;
        assert!(status.success(), "{args:?}");
    }
    Ok(parent)
}

fn options(steps: &[&str], sandbox: bool) -> LocalOptions {
    let steps = steps.iter().map(|step| (*step).to_owned()).collect();
    let sandbox = if sandbox { Sandbox::default() } else { Sandbox::Unsandboxed };
    let settings = Settings { sandbox, ..Settings::default() };
    LocalOptions { steps, settings, ..LocalOptions::default() }
}

/// Runs the pipeline, and returns its exit status and its output without the times.
async fn run_in(dir: &Path, options: &LocalOptions) -> (ExitStatus, Vec<String>) {
    let mut output = Vec::new();
    let status = run(dir, options, &mut output).await;
    let text = String::from_utf8(output).unwrap();
    let lines = text.lines().map(|line| match line.split_once("passed in ") {
        Some((start, _)) => format!("{start}passed"),
        None => line.to_owned(),
    });
    (status, lines.collect())
}

const FILE_TEXT: &str = "
[step.test]
run = ['cat tracked new', 'test ! -e ignored && git log -1 --format=%s']
needs = 'prepare'
[step.prepare]
run = 'echo $DATAKIT_CI_STEP ${#DATAKIT_CI_COMMIT} $DATAKIT_CI_REPO; touch left'
[step.tag]
run = 'true'
when = { tags = true }
";

#[tokio::test]
async fn steps_run_in_a_copy_of_the_work_tree() -> Done {
    let dir = work_tree(FILE_TEXT)?;
    fs::write(dir.path().join("new"), "2\n")?;
    fs::write(dir.path().join("tracked"), "changed\n")?;
    fs::write(dir.path().join("ignored"), "x")?;
    let options =
        LocalOptions { target: Some("me/app/heads/main".parse()?), ..options(&[], false) };
    let (status, lines) = run_in(dir.path(), &options).await;
    let has = |line: &str| lines.iter().any(|found| found == line);
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    assert!(has("prepare | prepare 40 me/app"), "{lines:#?}");
    assert!(has("test | changed") && has("test | 2") && has("test | x"), "{lines:#?}");
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "prepare: passed",
            "test: passed",
            "tag: not run: `when` does not select the branch `main`"
        ]
    );
    assert!(!dir.path().join("left").exists());
    Ok(())
}

/// Two steps that wait for each other pass only if they run at the same time.
#[tokio::test]
async fn independent_steps_run_at_the_same_time() -> Done {
    let shared = tempfile::tempdir()?;
    let at = shared.path().display();
    let meet = |own: &str, other: &str| {
        format!("run='touch {at}/{own}; while ! test -e {at}/{other}; do sleep 0.05; done'\n")
    };
    let file = format!(
        "timeout='60s'\n[step.a]\n{}[step.b]\n{}[step.c]\nrun='true'\nneeds=['a','b']\n",
        meet("a", "b"),
        meet("b", "a")
    );
    let dir = work_tree(&file)?;
    let jobs = |count| LocalOptions { jobs: NonZeroUsize::new(count), ..options(&[], false) };
    let (status, lines) = run_in(dir.path(), &jobs(2)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    assert_eq!(lines[lines.len() - 3..], ["a: passed", "b: passed", "c: passed"]);
    // With one job, or if both steps name the same pool, one step starts only after the other has
    // ended.
    let step =
        |name: &str| format!("[step.{name}]\nrun='mkdir {at}/busy; sleep 0.2; rmdir {at}/busy'\n");
    let alone = step("a") + &step("b");
    fs::write(dir.path().join(FILE), &alone)?;
    let (status, lines) = run_in(dir.path(), &jobs(1)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    fs::write(dir.path().join(FILE), alone.replace("run=", "pool='gpu'\nrun="))?;
    let (status, lines) = run_in(dir.path(), &jobs(2)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn a_dropped_run_ends_all_steps() -> Done {
    let shared = tempfile::tempdir()?;
    let at = shared.path().display();
    let step = |name: &str| {
        let file = format!("{at}/{name}");
        format!("[step.{name}]\nrun='echo $$ >{file}.new; mv {file}.new {file}; sleep 1000'\n")
    };
    let dir = work_tree(&(step("a") + &step("b")))?;
    let jobs = NonZeroUsize::new(2);
    let (options, mut output) = (LocalOptions { jobs, ..options(&[], false) }, Vec::new());
    let started = async {
        while !["a", "b"].iter().all(|name| shared.path().join(name).exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        status = run(dir.path(), &options, &mut output) => panic!("{status:?}"),
        () = started => {}
    }
    for name in ["a", "b"] {
        let pid = fs::read_to_string(shared.path().join(name))?;
        let link = Path::new("/proc").join(pid.trim()).join("cwd");
        for _ in 0..2000 {
            if link.read_link().is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(link.read_link().is_err(), "{name} is still running");
    }
    Ok(())
}

const HISTORY: &str = r#"
[step.a]
run = """
test "$(git log --format=%s)" = x
test "$(git rev-parse HEAD)" = "$DATAKIT_CI_COMMIT"
test -z "$(git for-each-ref)"
git status --porcelain
git cat-file -e HEAD:tracked
! git tag new
! git commit -q --allow-empty -m y
"""
"#;

/// The copy has the same history as a checkout on the server: one commit, no branches or tags.
#[tokio::test]
async fn steps_can_read_the_history_but_not_change_it() -> Done {
    if find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    let parent = work_tree(HISTORY)?;
    fs::write(parent.path().join("tracked"), "2\n")?;
    fs::write(parent.path().join("new"), "2\n")?;
    let (status, lines) = run_in(parent.path(), &options(&[], true)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    for line in ["a |  M tracked", "a | ?? new"] {
        assert!(lines.iter().any(|found| found == line), "{lines:#?}");
    }
    // A clone that shares objects with its source, a worktree of that clone, and a shallow clone.
    let clone = tempfile::tempdir()?;
    let at = |name: &str| clone.path().join(name).display().to_string();
    let source = parent.path().display().to_string();
    for args in [
        &["clone", "-q", "--shared", &source, &at("clone")][..],
        &["-C", &at("clone"), "worktree", "add", "-q", "--detach", &at("worktree")],
        &["clone", "-q", "--depth", "1", &format!("file://{source}"), &at("shallow")],
    ] {
        assert!(Command::new("git").args(args).status()?.success(), "{args:?}");
    }
    for name in ["clone", "worktree", "shallow"] {
        let (status, lines) = run_in(&clone.path().join(name), &options(&[], true)).await;
        assert_eq!(status, ExitStatus::Passed, "{name}: {lines:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn artifacts_are_visible_to_the_steps_that_need_them() -> Done {
    let file = r#"
[step.build]
run = 'mkdir out; echo "echo $MATRIX_V" >out/tool; chmod +x out/tool'
artifacts = 'out'
matrix.v = [1, 2]
[step.test]
run = 'cd "$DATAKIT_CI_ARTIFACTS"; ls; build:v=2/out/tool; ! touch x'
needs = 'build'
[step.other]
run = 'test -z "$DATAKIT_CI_ARTIFACTS"'
needs = 'test'
"#;
    let sandbox = find_program("bwrap").is_some();
    let file = if sandbox { file.to_owned() } else { file.replace("; ! touch x", "") };
    let dir = work_tree(&file)?;
    let (status, lines) = run_in(dir.path(), &options(&[], sandbox)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    for line in ["test | build:v=1", "test | build:v=2", "test | 2"] {
        assert!(lines.iter().any(|found| found == line), "{lines:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_named_step_runs_with_its_needs() -> Done {
    let dir = work_tree(FILE_TEXT)?;
    let (status, lines) = run_in(dir.path(), &options(&["tag"], false)).await;
    assert_eq!(
        (status, lines.last().map(String::as_str)),
        (ExitStatus::Passed, Some("tag: passed"))
    );
    let (status, lines) = run_in(dir.path(), &options(&["test"], false)).await;
    assert_eq!(status, ExitStatus::Failed);
    assert_eq!(
        lines[lines.len() - 2..],
        ["prepare: passed", "test: failed: command 1 of 2: exit status: 1"]
    );
    let (status, lines) = run_in(dir.path(), &options(&["tset"], false)).await;
    assert_eq!(status, ExitStatus::Error);
    assert_eq!(lines, ["there is no step `tset`; the steps are prepare, test, tag"]);
    Ok(())
}

#[tokio::test]
async fn a_failure_stops_the_steps_that_need_it() -> Done {
    let file = "[step.a]\nrun='exit 3'\n[step.b]\nrun='true'\nneeds='a'\n[step.c]\nrun='true'\n";
    let dir = work_tree(file)?;
    let (status, lines) = run_in(dir.path(), &options(&[], false)).await;
    assert_eq!(status, ExitStatus::Failed);
    assert_eq!(
        lines[lines.len() - 3..],
        ["a: failed: exit status: 3", "b: not run, because a did not pass", "c: passed"]
    );
    Ok(())
}

#[tokio::test]
async fn errors_of_the_file_are_all_printed() -> Done {
    let dir = work_tree("[step.a]\nrn='x'\n[step.b]\nrun='x'\nneeds='c'\n")?;
    let (status, lines) = run_in(dir.path(), &options(&[], false)).await;
    assert_eq!((status, status.code(), lines.len()), (ExitStatus::Error, 2, 3), "{lines:?}");
    assert!(lines[2].ends_with(":5:7: there is no step `c`; the steps are `a`, `b`"), "{lines:?}");
    fs::remove_file(dir.path().join(FILE))?;
    let (status, lines) = run_in(dir.path(), &options(&[], false)).await;
    assert_eq!(status, ExitStatus::Error);
    assert!(lines[0].contains("cannot be read: No such file"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn secrets_are_masked_and_retries_are_counted() -> Done {
    let file = "[step.a]\nrun='echo \"got $TOKEN\"; exit 1'\nsecrets='TOKEN'\n\
                retry = { times = 1, pause = '1s' }\n";
    let dir = work_tree(file)?;
    let mut options = options(&[], false);
    let (status, lines) = run_in(dir.path(), &options).await;
    assert_eq!(status, ExitStatus::Error);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("a: failed: the secret `TOKEN` is not defined on this server")
    );
    options.settings.secrets.insert("TOKEN".to_owned(), "hunter2\nsecond".to_owned());
    let (status, lines) = run_in(dir.path(), &options).await;
    assert_eq!(status, ExitStatus::Failed);
    let got = lines.iter().filter(|line| line.starts_with("a | got")).collect::<Vec<_>>();
    assert_eq!(got, ["a | got ********", "a | got ********"], "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("second")));
    Ok(())
}

#[tokio::test]
async fn an_endless_step_ends_at_its_time_limit() -> Done {
    let dir = work_tree("[step.a]\nrun='while :; do sleep 0.1; done'\ntimeout='1s'\n")?;
    let began = Instant::now();
    let (status, lines) = run_in(dir.path(), &options(&[], false)).await;
    assert_eq!(status, ExitStatus::Failed);
    assert_eq!(lines.last().map(String::as_str), Some("a: failed: timed out after 1s"));
    assert!(began.elapsed().as_secs() < 20);
    Ok(())
}

#[tokio::test]
async fn caches_are_kept_for_the_next_run() -> Done {
    let file = "[step.a]\nrun='cat kept/file || mkdir kept; echo again >kept/file'\n\
                cache.c={paths='kept',files='tracked'}\n";
    let (dir, caches) = (work_tree(file)?, tempfile::tempdir()?);
    let options = LocalOptions { cache_dir: Some(caches.path().to_owned()), ..options(&[], false) };
    let (_, lines) = run_in(dir.path(), &options).await;
    assert!(lines.iter().any(|line| line.ends_with("Stored the cache c")), "{lines:#?}");
    let (_, lines) = run_in(dir.path(), &options).await;
    assert!(lines.iter().any(|line| line == "a | again"), "{lines:#?}");
    // The key depends on the contents of the file.
    fs::write(dir.path().join("tracked"), "2")?;
    let (_, lines) = run_in(dir.path(), &options).await;
    assert!(lines.iter().any(|line| line.ends_with("Stored the cache c")), "{lines:#?}");
    let file = caches.path().join("file");
    fs::write(&file, "x")?;
    let options = LocalOptions { cache_dir: Some(file.clone()), ..options };
    let (status, lines) = run_in(dir.path(), &options).await;
    assert_eq!(status, ExitStatus::Error);
    assert_eq!(
        lines,
        [format!("{} cannot be used: Not a directory (os error 20)", file.display())]
    );
    Ok(())
}

/// A writer that fails on every write after the first.
struct Closed(bool);

impl Write for Closed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.0, true) {
            false => Ok(bytes.len()),
            true => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_output_stops_the_run() -> Done {
    let dir = work_tree("[step.a]\nrun='sleep 100'\n")?;
    let began = Instant::now();
    let status = run(dir.path(), &options(&[], false), &mut Closed(false)).await;
    assert_eq!(status, ExitStatus::Error);
    assert!(began.elapsed().as_secs() < 50);
    Ok(())
}

#[tokio::test]
async fn read_only_directories_are_copied_and_removed() -> Done {
    let file = "[step.a]\nrun='mkdir -p kept/dir; touch kept/dir/x; chmod -R a-w kept'\n\
                cache.c={paths='kept'}\n[step.b]\nrun='pwd; cat kept/dir/x; ! test -w kept || \
                test \"$(id -u)\" = 0'\nneeds='a'\ncache.c={paths='kept'}\n";
    let (dir, caches) = (work_tree(file)?, tempfile::tempdir()?);
    let mut options = options(&[], false);
    options.settings.caches = Some(Caches::open(caches.path())?);
    let (status, lines) = run_in(dir.path(), &options).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    let copy = lines.iter().find_map(|line| line.strip_prefix("b | /")).unwrap();
    assert!(!Path::new("/").join(copy).exists(), "{lines:#?}");
    assert_eq!(Caches::open(caches.path())?.prune(0)?, 0, "an empty cache has the size 0");
    Ok(())
}

#[tokio::test]
async fn a_directory_outside_git_is_copied_whole() -> Done {
    let dir = tempfile::Builder::new().prefix("plain").tempdir()?;
    fs::write(dir.path().join(FILE), "[step.a]\nrun='cat sub/file'\nartifacts='sub'\n")?;
    fs::create_dir(dir.path().join("sub"))?;
    fs::write(dir.path().join("sub/file"), "content\n")?;
    let (status, lines) = run_in(dir.path(), &options(&[], false)).await;
    assert_eq!(status, ExitStatus::Passed, "{lines:#?}");
    assert!(lines.iter().any(|line| line == "a | content"));
    assert!(lines.iter().any(|line| line.ends_with("Artifact sub/file: 8 bytes")), "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn the_sandbox_is_the_default() -> Done {
    if find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    // A variable set by the pipeline file must not affect which program creates the sandbox.
    let file = "[step.a]\nrun=['touch /usr/probe', 'true']\n\
                [step.b]\nrun='test \"$LD_PRELOAD\" = ./none.so; touch here; test -w /tmp'\n\
                env={LD_PRELOAD='./none.so'}\n";
    let dir = work_tree(file)?;
    let (status, lines) = run_in(dir.path(), &options(&[], true)).await;
    assert_eq!(status, ExitStatus::Failed, "{lines:#?}");
    assert!(!Path::new("/usr/probe").exists());
    assert_eq!(
        lines[lines.len() - 2..],
        ["a: failed: command 1 of 2: exit status: 1", "b: passed"]
    );
    Ok(())
}

#[test]
fn explain_says_why_a_step_does_not_run() -> Done {
    let dir = work_tree(FILE_TEXT)?;
    assert_eq!(
        explain(dir.path(), &"me/app/prs/1".parse()?, Some("main"))?,
        "prepare\ntest, after prepare\n(tag does not run: `when` does not select pull requests into `main`)\n"
    );
    Ok(())
}
