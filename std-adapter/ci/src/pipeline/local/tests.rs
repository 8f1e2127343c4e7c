//! Tests for local runs. The sandbox tests require bubblewrap.

use std::fs;
use std::process::Command;

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

/// Runs the pipeline and returns its status and its output with times removed.
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
run = ['cat tracked new', 'test ! -e ignored && test ! -e .git']
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
    assert!(has("test | changed") && has("test | 2"), "{lines:#?}");
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
