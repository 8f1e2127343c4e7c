//! Runs the commands of the quick start in the README. Also tests the errors that new users are
//! likely to encounter.

// The Clippy configuration allows panics in tests, but not in other functions.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};

use common::{CI, METADATA, Process, REPO, get, program, status, wait_for};
use datakit_client::db::Db;
use tempfile::TempDir;

/// Returns the commands in the quick start, one string for each block of the README.
fn quick_start() -> Vec<&'static str> {
    let section = include_str!("../README.md").split_once("\n## Quick start\n").unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let blocks = section.split("```text\n").skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// Replaces text that the README must contain exactly once.
fn replace_once(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "`{old}` in `{text}`");
    text.replace(old, new)
}

/// A directory in which commands run with their own home directory.
struct Shell {
    dir: TempDir,
    /// Commands that run before each script.
    setup: String,
}

impl Shell {
    fn new() -> Shell {
        let path = program("datakit").parent().unwrap().to_owned();
        let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
        Shell { dir: TempDir::new().unwrap(), setup: format!("set -e; export PATH='{path}'\n") }
    }

    /// Returns the command that runs a script.
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{}{script}", self.setup)]).stdin(Stdio::null());
        for name in ["XDG_STATE_HOME", "STATE_DIRECTORY", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"] {
            command.env_remove(name);
        }
        for name in ["DATAKIT_CI_WORK_DIR", "DATAKIT_CI_SECRETS_DIR", "DATAKIT_CI_CONFIG"] {
            command.env_remove(name);
        }
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "me");
            command.env(format!("GIT_{name}_EMAIL"), "me@example.org");
        }
        // The README assumes that the initial branch is named `master`.
        command.envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "init.defaultBranch")]);
        command.envs([("GIT_CONFIG_VALUE_0", "master"), ("GIT_CONFIG_NOSYSTEM", "1")]);
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        command
    }

    /// Runs a script to completion and returns its output.
    fn run(&self, script: &str) -> String {
        let output = self.command(script).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{printed}\n{error}");
        printed
    }

    fn start(&self, line: &str) -> Process {
        Process::start(&mut self.command(&format!("exec {line}")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_start_of_the_readme_works() {
    let blocks = quick_start();
    let [create, servers, fix, git, cat, local] = blocks[..] else { panic!("{blocks:#?}") };
    let [database, bridge, ci] = servers.lines().collect::<Vec<_>>()[..] else {
        panic!("{servers}")
    };
    let mut shell = Shell::new();
    shell.run(create);
    // The system chooses the ports.
    let database = shell.start(&format!("{database} --listen-9p tcp://127.0.0.1:0"));
    let address = database.line_after("listening on ");
    shell.setup.push_str(&format!("export DATAKIT_ADDRESS='{address}'\n"));
    let _bridge = shell.start(bridge);
    let mut ci = shell.start(&replace_once(ci, "127.0.0.1:8080", "127.0.0.1:0"));
    let web = ci.line_after("listening on ");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();

    let head = || shell.run("git -C app rev-parse HEAD").trim().to_owned();
    let overall = |commit: &str| format!("{REPO}/commit/{commit}/status/ci/datakit/state");
    let red = head();
    wait_for(&db, METADATA, &overall(&red), "failure").await;
    wait_for(&db, METADATA, &status(&red, "build", "state"), "failure").await;
    wait_for(&db, METADATA, &status(&red, "report", "description"), "build failed").await;
    let (code, page) = get(&format!("{web}{REPO}/ref/heads/master"));
    assert_eq!(code, 200);
    // The page contains the command of `build` and its output, both of which contain this word.
    assert!(page.matches("Building").count() > 1, "{page}");

    shell.run(fix);
    let green = head();
    wait_for(&db, METADATA, &overall(&green), "success").await;
    wait_for(&db, METADATA, &status(&green, "report", "state"), "success").await;
    let (code, page) = get(&format!("{web}{REPO}/ref/heads/master?test=report"));
    assert_eq!(code, 200);
    assert!(page.contains("The answer is 42"), "{page}");

    let history = shell.run(git);
    for text in ["status-me-app-ref-heads-master\n", "diff --git", "Building"] {
        assert!(history.contains(text), "{text}: {history}");
    }
    let results = shell.run(cat);
    assert!(results.trim_end().ends_with("success"), "{results}");
    let output = shell.run(local);
    for text in ["The answer is 42", "build: success", "report: success"] {
        assert!(output.contains(text), "{text}: {output}");
    }

    assert_eq!(ci.terminate(), Some(0));
    let work_dir = shell.dir.path().join(".local/state/datakit-ci");
    assert!(work_dir.exists() && !work_dir.join("control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_on_the_same_database_is_refused() {
    let (state, work, other) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let mut first = Process::start(&mut common::ci(&address, work.path()));
    first.line_after("listening on ");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    // The first server holds the lease by the time its projects are monitored.
    wait_for(&db, METADATA, &format!("{REPO}/.monitor"), "").await;
    let second = common::ci(&address, other.path()).output().unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("another CI server uses the database"), "{error}");
    assert_eq!(first.terminate(), Some(0));
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    let work = TempDir::new().unwrap();
    for (args, expected) in [
        (&["serve"][..], "no repository to test"),
        (&["serve", "app"], "user/project"),
        (&["serve", "me/app:"], "a path or URL must follow the colon"),
        (&["explain", "me/app/heads/master"], "no CI server uses"),
        (&["explain", "master"], "expected USER/REPO/prs/N"),
    ] {
        let output =
            Command::new(CI).args(args).env("DATAKIT_CI_WORK_DIR", work.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(expected), "{args:?}: {error}");
    }
}
