//! Tests that run real commands. The sandbox tests require bubblewrap.

use std::time::Instant;

use super::*;
use crate::build::LogLimits;

type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every command in these tests.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn new_log() -> BuildLog {
    BuildLog::new("Test", vec!["hunter2".to_owned()], LogLimits { bytes: 100_000 })
}

/// Returns the log lines that follow the title and the command.
fn output(log: &BuildLog) -> String {
    log.finish().lines().skip(2).map(|line| format!("{line}\n")).collect()
}

fn unsandboxed(script: &str, dir: &Path) -> Command {
    Command::shell(script, dir).sandbox(Sandbox::Unsandboxed).timeout(LIMIT)
}

#[tokio::test]
async fn output_and_exit_status_are_reported() -> Done {
    let (dir, log) = (tempfile::tempdir()?, new_log());
    unsandboxed("echo one; echo two >&2; echo \"$GREETING\"; pwd", dir.path())
        .env("GREETING", "hello hunter2")
        .run(&log)
        .await?;
    let text = output(&log);
    for line in ["one", "two", "hello ********"] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    let failed = unsandboxed("exit 3", dir.path()).run(&new_log()).await;
    assert_eq!(failed.unwrap_err().to_string(), "exit status: 3");
    let missing = Command::new(["/no/such/program"], dir.path()).sandbox(Sandbox::Unsandboxed);
    let (error, log) = (missing.run(&log).await.unwrap_err(), new_log());
    assert_eq!(error.to_string(), "exit status: 127");
    let missing = Command::new(["true"], dir.path().join("no"));
    let error = missing.run(&log).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the directory ") && error.ends_with("/no cannot be used"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn command_with_a_secret_is_not_logged() -> Done {
    let (dir, log) = (tempfile::tempdir()?, new_log());
    unsandboxed("test -n 'the password'", dir.path()).shown_as("log in").run(&log).await?;
    let text = log.finish();
    assert!(text.contains("$ log in") && !text.contains("password"), "{text}");
    Ok(())
}

#[tokio::test]
async fn command_that_ignores_sigterm_is_killed_at_its_time_limit() -> Done {
    let dir = tempfile::tempdir()?;
    let log = new_log();
    let command =
        unsandboxed("trap '' TERM; echo started; while :; do sleep 0.1; done", dir.path());
    let began = Instant::now();
    let ended = command.timeout(Duration::from_secs(2)).run(&log).await;
    assert_eq!(ended.unwrap_err().to_string(), "timed out after 2s");
    assert!(began.elapsed() < LIMIT / 2);
    assert_eq!(output(&log), "started\n");
    Ok(())
}

#[tokio::test]
async fn command_can_clean_up_after_sigterm() -> Done {
    let script = "trap 'echo cleaned; exit 1' TERM; echo started; while :; do sleep 0.1; done";
    let sandboxes = [Sandbox::Unsandboxed, Sandbox::default()];
    for sandbox in sandboxes.into_iter().take(if sandbox_is_installed() { 2 } else { 1 }) {
        let (dir, log) = (tempfile::tempdir()?, new_log());
        let command = Command::shell(script, dir.path()).sandbox(sandbox);
        // The time limit includes the start of the sandbox, which can be slow on a busy machine.
        let ended = command.timeout(Duration::from_secs(4)).run(&log).await;
        assert_eq!(ended.unwrap_err().to_string(), "timed out after 4s");
        let text = log.finish();
        assert!(text.contains("\nstarted\n") && text.ends_with("\ncleaned\n"), "{text}");
    }
    Ok(())
}

/// Waits until a file exists.
async fn appears(file: &Path) {
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn dropping_the_future_kills_all_processes() -> Done {
    let dir = tempfile::tempdir()?;
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )?;
    let log = new_log();
    // The background process holds the write end of the pipe until it is killed.
    let command = unsandboxed("(sleep 1000 >pipe & touch started; wait)", dir.path());
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let started = dir.path().join("started");
    tokio::select! {
        ended = command.run(&log) => panic!("{ended:?}"),
        () = appears(&started) => {}
    }
    assert_eq!(tokio::time::timeout(LIMIT, reader).await???, b"");
    Ok(())
}

/// Returns `true` if bubblewrap is installed. `tests/run` installs it.
pub(super) fn sandbox_is_installed() -> bool {
    let installed = find_program("bwrap").is_some();
    if !installed {
        println!("skipped: bubblewrap is not installed");
    }
    installed
}

#[tokio::test]
async fn sandbox_hides_the_network_and_protects_the_host() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, log) = (tempfile::tempdir()?, new_log());
    let outside = tempfile::tempdir()?;
    let probe = outside.path().join("probe");
    let script = format!(
        "echo inside >file
         ! touch /usr/probe 2>/dev/null
         ! touch '{}' 2>/dev/null
         touch /tmp/mine
         grep -c : /proc/net/dev
         ls /proc | grep -c '^[0-9]'",
        probe.display()
    );
    Command::shell(&script, dir.path()).timeout(LIMIT).run(&log).await?;
    assert_eq!(std::fs::read_to_string(dir.path().join("file"))?, "inside\n");
    assert!(
        !probe.exists() && !Path::new("/usr/probe").exists() && !Path::new("/tmp/mine").exists()
    );
    let text = output(&log);
    let [interfaces, processes] = *text.lines().rev().take(2).collect::<Vec<_>>() else {
        panic!("{text}")
    };
    // The last line is the number of processes. The only network interface is `lo`.
    assert_eq!(processes, "1", "{text}");
    assert!(interfaces.parse::<usize>()? < 8, "{text}");
    Ok(())
}

#[tokio::test]
async fn nothing_of_a_sandbox_outlives_its_command() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, log) = (tempfile::tempdir()?, new_log());
    let began = Instant::now();
    // The process leaves the command's process group and ignores signals.
    let script = "setsid sh -c 'trap \"\" TERM HUP; touch started; sleep 1000; touch late' & \
                  while ! test -e started; do sleep 0.01; done; echo done";
    Command::shell(script, dir.path()).timeout(LIMIT).run(&log).await?;
    assert!(began.elapsed() < LIMIT / 2);
    assert_eq!(output(&log), "done\n");
    assert!(!dir.path().join("late").exists());
    Ok(())
}

#[tokio::test]
async fn limits_end_a_command_that_fills_the_disk_or_the_log() -> Done {
    let (dir, log) = (tempfile::tempdir()?, new_log());
    let limits = Limits { file_size: Some(1 << 20), ..Limits::default() };
    let fill =
        unsandboxed("exec dd if=/dev/zero of=big bs=65536 count=1000 2>/dev/null", dir.path());
    assert!(fill.limits(limits).run(&log).await.is_err());
    assert!(dir.path().join("big").metadata()?.len() <= 1 << 20);
    // A log of 10 MB is truncated, and the command still finishes.
    unsandboxed("head -c 10000000 /dev/zero | tr '\\0' x", dir.path()).run(&log).await?;
    assert!(log.finish().len() < 101_000);
    let spin = Limits { cpu_seconds: Some(1), ..Limits::default() };
    let mine = unsandboxed("while :; do :; done", dir.path()).limits(spin).run(&log).await;
    assert!(mine.unwrap_err().to_string().starts_with("signal: "));
    Ok(())
}
