//! Tests for `tests/run` on a machine without the required programs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Runs `tests/run fmt clippy` with only the given programs installed. Returns the exit status and
/// the output.
fn run_with(test: &str, programs: &[(&str, &str)]) -> (Option<i32>, String) {
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&bin);
    std::fs::create_dir(&bin).unwrap();
    for system in ["bash", "dirname"] {
        symlink(Path::new("/bin").join(system), bin.join(system)).unwrap();
    }
    for (name, script) in programs {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // The script also searches /usr/sbin, but no program in that directory affects the test.
    let run = Command::new("/bin/bash")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/run"), "fmt", "clippy"])
        .env_clear()
        .env("PATH", &bin)
        .env("HOME", &bin)
        .output()
        .unwrap();
    let text = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_failed_setup_stops_the_run_with_its_reason() {
    let (status, text) = run_with("setup-fails", &[]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("this step needs rustup"), "{text}");
    assert!(text.contains("\n0 passed, 1 failed\n"), "{text}");
    assert!(!text.contains("== fmt"), "{text}");
}

#[test]
fn setup_waits_for_the_lock_of_dpkg() {
    let apt_get = "echo apt-get \"$@\"; [ \"$1\" = update ]";
    let (status, text) = run_with(
        "dpkg-lock",
        &[("rustup", ""), ("cargo", ""), ("id", "echo 0"), ("apt-cache", ""), ("apt-get", apt_get)],
    );
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("apt-get -o DPkg::Lock::Timeout=600 install"), "{text}");
    assert!(text.contains("tests/run: apt-get cannot install gcc"), "{text}");
    assert!(text.contains("\n0 passed, 1 failed\n"), "{text}");
}

#[test]
fn setup_waits_for_the_lock_of_the_package_lists() {
    // The lock makes the first `apt-get` call fail. Later calls succeed.
    let apt_get = "[ ! -e $HOME/tried ] || exit 0\n>$HOME/tried\n\
        echo 'E: Could not get lock /var/lib/apt/lists/lock'; exit 100";
    let apt_cache = "[ $2 != linux-image-amd64 ]";
    let (status, text) = run_with(
        "lists-lock",
        &[
            ("rustup", "[ $1 != component ]"),
            ("cargo", ""),
            ("id", "echo 0"),
            ("apt-cache", apt_cache),
            ("apt-get", apt_get),
            ("sleep", ""),
        ],
    );
    assert_eq!(status, Some(1), "{text}");
    assert!(!text.contains("Could not get lock"), "{text}");
    assert!(text.contains("\n0 passed, 1 failed\n"), "{text}");
}
