//! Tests with commands that try to exhaust the host's resources. Each test also checks that the
//! command leaves nothing behind. The tests need bubblewrap.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::tests::{LIMIT, new_log, sandbox_is_installed};
use super::*;

type Done = Result<(), Box<dyn std::error::Error>>;

/// Small limits.
fn limits() -> Limits {
    Limits { processes: Some(40), memory: Some(1 << 30), ..Limits::default() }
}

/// A command that runs in its own directory and whose processes can be identified.
struct Abuse {
    dir: tempfile::TempDir,
    marker: String,
}

impl Abuse {
    fn new() -> Abuse {
        let dir = tempfile::tempdir().unwrap();
        let marker = format!("abuse-{}", dir.path().file_name().unwrap().to_str().unwrap());
        Abuse { dir, marker }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns a command that starts each process with the marker in its arguments or environment.
    fn command(&self, script: &str) -> Command {
        let script = format!("# {}\n{script}", self.marker);
        Command::shell(&script, self.path())
            .env("MARKER", &self.marker)
            .limits(limits())
            .timeout(LIMIT)
    }

    /// Returns the `/proc` directories of the command's processes.
    fn processes(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let has_marker = |dir: &PathBuf| {
            ["cmdline", "environ"].iter().any(|file| {
                let content = std::fs::read(dir.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(&self.marker)
            })
        };
        entries.filter(|dir| dir.join("status").exists()).filter(has_marker).collect()
    }

    /// Checks that the command leaves no process, mount or control group behind.
    async fn nothing_is_left(&self) {
        let gone = async {
            while !self.processes().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(waited.is_ok(), "{:?}", self.processes());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path().to_str().unwrap()), "{mounts}");
    }
}

#[tokio::test]
async fn fork_bomb_is_ended() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let bomb = abuse.command("f() { f | f & }; f 2>/dev/null; while :; do sleep 1; done");
    let run = bomb.timeout(Duration::from_secs(1));
    let (mut most, count) = (0, || abuse.processes().len());
    let mut ended = std::pin::pin!(run.run(&log));
    let error = loop {
        tokio::select! {
            ended = &mut ended => break ended.unwrap_err(),
            () = tokio::time::sleep(Duration::from_millis(50)) => most = most.max(count()),
        }
    };
    assert!(matches!(error, CommandError::Timeout { .. } | CommandError::Failed { .. }), "{error}");
    abuse.nothing_is_left().await;
    let text = log.finish();
    let enforced = !text.contains("Not limited here");
    // The two bubblewrap processes do not count towards the sandbox's limit.
    assert!(!enforced || most <= 43, "{most} processes: {text}");
    Ok(())
}

#[tokio::test]
async fn disk_filler_is_ended() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let limits = Limits { disk: Some(20 << 20), file_size: Some(8 << 20), ..limits() };
    let fill = abuse
        .command("n=0; while :; do n=$((n+1)); head -c 1000000 /dev/zero >$n; sleep 0.02; done");
    let error = fill.limits(limits).run(&log).await.unwrap_err();
    assert!(matches!(error, CommandError::Disk { size, .. } if size < 1 << 30), "{error}");
    abuse.nothing_is_left().await;
    // Writing a file that is too large also makes the program fail.
    let abuse = Abuse::new();
    let large = abuse.command("exec head -c 10000000 /dev/zero >large");
    let error = large.limits(limits).run(&log).await.unwrap_err();
    assert!(error.to_string().contains("SIGXFSZ") || error.to_string().contains("exit"), "{error}");
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn private_directories_have_a_limit() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let sandbox = Isolation::default().tmp_size(1 << 20);
    let script = "for dir in /tmp /var/tmp /dev/shm; do
                      head -c 500000 /dev/zero >$dir/small
                      ! head -c 5000000 /dev/zero >$dir/large 2>/dev/null
                      echo full $dir
                  done
                  ! touch /dev/file 2>/dev/null; ! touch /run/file 2>/dev/null; echo done";
    abuse.command(script).sandbox(sandbox.into()).run(&log).await?;
    let text = log.finish();
    assert!(text.ends_with("full /tmp\nfull /var/tmp\nfull /dev/shm\ndone\n"), "{text}");
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn command_that_ignores_signals_and_leaves_its_group_is_killed() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let script = "trap '' TERM HUP INT
                  setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 0.1; done' &
                  while :; do sleep 0.1; done";
    let began = Instant::now();
    let ended = abuse.command(script).timeout(Duration::from_millis(500)).run(&log).await;
    assert_eq!(ended.unwrap_err().to_string(), "timed out after 500ms");
    assert!(began.elapsed() < LIMIT / 2);
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn endless_log_is_ended() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let limits = Limits { output: Some(20_000_000), ..limits() };
    let error = abuse.command("yes & yes >&2").limits(limits).run(&log).await.unwrap_err();
    assert_eq!(error.to_string(), "the output exceeds 20000000 bytes");
    let text = log.finish();
    assert!(text.len() < 101_000 && text.contains("=== The log is truncated"), "{}", text.len());
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn miner_is_ended() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let limits = Limits { cpu_seconds: Some(1), ..limits() };
    let error = abuse.command("while :; do :; done").limits(limits).run(&log).await.unwrap_err();
    assert!(error.to_string().contains("SIGXCPU") || error.to_string().contains("exit"), "{error}");
    abuse.nothing_is_left().await;
    // Each process uses little processor time, so this miner is ended by the command's time limit.
    let forks = abuse.command("while :; do (for i in 1 2 3 4 5 6 7 8; do :; done); done");
    let ended = forks.limits(limits).timeout(Duration::from_millis(500)).run(&log).await;
    assert_eq!(ended.unwrap_err().to_string(), "timed out after 500ms");
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn memory_hog_is_ended() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let limits = Limits { memory: Some(64 << 20), ..limits() };
    let hog = abuse.command("x=$(head -c 500000000 /dev/zero | tr '\\0' x); echo survived");
    let error = hog.limits(limits).run(&log).await.unwrap_err();
    assert!(matches!(error, CommandError::Failed { .. }), "{error}");
    assert!(!log.finish().contains("\nsurvived"));
    abuse.nothing_is_left().await;
    // Address space that is only reserved does not count towards the limit.
    #[cfg(target_os = "linux")]
    if find_program("perl").is_some() {
        // The arguments are the size, `PROT_NONE`, and `MAP_PRIVATE | MAP_ANONYMOUS`.
        let call = format!("syscall({}, 0, 1 << 34, 0, 0x22, -1, 0)", libc::SYS_mmap);
        let reserve = abuse.command(&format!("perl -e 'exit({call} == -1)'"));
        reserve.limits(limits).run(&new_log()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn dropped_command_leaves_nothing() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let command = abuse.command("setsid sleep 1000 & touch started; sleep 1000");
    let started = abuse.path().join("started");
    let appears = async {
        while !started.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = command.run(&log) => panic!("{ended:?}"),
        () = appears => {}
    }
    abuse.nothing_is_left().await;
    Ok(())
}

#[tokio::test]
async fn secrets_are_not_among_the_arguments() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (abuse, log) = (Abuse::new(), new_log());
    let command = abuse
        .command("test ${#TOKEN} = 7; touch started; while :; do sleep 0.1; done")
        .env("TOKEN", "hunter3");
    let arguments = async {
        while !abuse.path().join("started").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let processes = abuse.processes();
        assert!(!processes.is_empty());
        let read = |dir: &PathBuf| std::fs::read(dir.join("cmdline")).unwrap_or_default();
        String::from_utf8(processes.iter().flat_map(read).collect()).unwrap()
    };
    let arguments = tokio::select! {
        ended = command.run(&log) => panic!("{ended:?}: {}", log.finish()),
        arguments = arguments => arguments,
    };
    assert!(arguments.contains(&abuse.marker) && !arguments.contains("hunter3"), "{arguments}");
    abuse.nothing_is_left().await;
    Ok(())
}
