//! Tests for commands that are implemented by separate programs.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{PROGRAM, Scratch, end, lines};

/// Writes a shell script.
fn script(path: &Path, text: &str) {
    // Let another process write the script. If this process wrote the script, a child forked by
    // another test could inherit the open file, and executing the script would fail.
    let written = Command::new("sh")
        .args(["-c", "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(format!("#!/bin/sh\n{text}\n"))
        .status()
        .unwrap();
    assert!(written.success());
    assert!(std::fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0);
}

/// Runs the program with `dir` at the start of `PATH`.
fn datakit(program: &Path, dir: &Path, arguments: &[&str]) -> Output {
    command(program, dir).args(arguments).output().unwrap()
}

fn command(program: &Path, dir: &Path) -> Command {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:{path}", dir.display()));
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Copies the program to a directory that contains no other programs and returns the path of the
/// copy.
fn copied(dir: &Scratch) -> std::path::PathBuf {
    let copy = dir.0.join("datakit");
    // A hard link is faster than a copy but does not work across file systems.
    if std::fs::hard_link(PROGRAM, &copy).is_err() {
        std::fs::copy(PROGRAM, &copy).unwrap();
    }
    copy
}

#[test]
fn arguments_and_exit_status_pass_through() {
    let (dir, own) = (Scratch::new("external-path"), Scratch::new("external-own"));
    let program = copied(&own);
    for (words, name) in [
        (&["bridge", "local"][..], "datakit-bridge-local-git"),
        (&["bridge", "github"], "datakit-bridge-github"),
        (&["ci"], "datakit-ci"),
    ] {
        script(&dir.0.join(name), &format!("printf '<%s>' {name} \"$@\"; exit 7"));
        for arguments in [&[][..], &["--help"], &["-h", "a b", "--", "-x"], &["--", "-a", "x"]] {
            let output = datakit(&program, &dir.0, &[words, arguments].concat());
            let expected: String = arguments.iter().map(|word| format!("<{word}>")).collect();
            assert_eq!(text(&output.stdout), format!("<{name}>{expected}"));
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(7), ""));
        }
    }
    let output = datakit(&program, &dir.0, &["help", "bridge", "local"]);
    assert_eq!(text(&output.stdout), "<datakit-bridge-local-git><--help>");
}

#[test]
fn program_beside_this_one_is_preferred() {
    let (dir, own) = (Scratch::new("external-other"), Scratch::new("external-beside"));
    let program = copied(&own);
    script(&dir.0.join("datakit-bridge-github"), "echo from the PATH");
    assert_eq!(text(&datakit(&program, &dir.0, &["bridge", "github"]).stdout), "from the PATH\n");
    script(&own.0.join("datakit-bridge-github"), "echo beside");
    assert_eq!(text(&datakit(&program, &dir.0, &["bridge", "github"]).stdout), "beside\n");
}

#[test]
fn signals_reach_the_program() {
    let (dir, own) = (Scratch::new("external-signal"), Scratch::new("external-process"));
    script(
        &dir.0.join("datakit-bridge-github"),
        "trap 'exit 9' TERM; echo $$; while :; do sleep 0.05; done",
    );
    let mut child = command(&copied(&own), &dir.0)
        .args(["bridge", "github"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = lines(child.stdout.take().unwrap());
    assert_eq!(output.recv_timeout(common::TIMEOUT).unwrap(), child.id().to_string());
    assert_eq!(end(&mut child, "TERM").code(), Some(9));
}

#[test]
fn missing_program_is_named_with_how_to_get_it() {
    let own = Scratch::new("external-missing");
    let output = datakit(&copied(&own), &own.0, &["bridge", "local", "-x"]);
    let directory = own.0.display();
    let expected = format!(
        "datakit: datakit-bridge-local-git: not found, neither in {directory} nor on the PATH: \
         build it with `cargo build --release --workspace`, or install the package that contains it\n"
    );
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), &*expected));
}

#[test]
fn bridge_lists_the_bridges() {
    for arguments in [&["bridge"][..], &["bridge", "--help"], &["bridge", "other"]] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let shown = [text(&output.stdout), text(&output.stderr)].concat();
        assert_eq!(output.status.success(), arguments.contains(&"--help"), "{shown}");
        if arguments.contains(&"other") {
            assert!(shown.contains("unrecognized subcommand 'other'"), "{shown}");
        } else {
            assert!(shown.contains("local ") && shown.contains("github "), "{shown}");
        }
    }
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    for line in ["datakit bridge local", "datakit bridge github", "datakit ci"] {
        assert!(text(&output.stdout).contains(line), "{line}");
    }
}

#[test]
fn options_of_the_program_follow_its_name() {
    let output =
        Command::new(PROGRAM).args(["-a", "localhost", "bridge", "github"]).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("`bridge` is another program: its options follow its name"), "{error}");
}
