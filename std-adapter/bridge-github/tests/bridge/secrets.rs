//! Tests that tokens, keys and secrets are never revealed.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::expected;
use crate::setup::{Setup, until};

#[tokio::test]
async fn the_log_does_not_contain_secrets() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let secret = setup.secret("webhook", "secret-of-the-webhook");
    let bridge = setup.bridge(&[
        "-vv",
        "-r",
        "alice/hello",
        "--resync-interval",
        "1",
        "--webhook",
        "http://127.0.0.1:0/",
        "--webhook-secret-file",
        &secret,
    ]);
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the repository is read", |files| *files == expected).await;
    setup.fake.revoke(&setup.token);
    setup.fake.forget_calls();
    setup
        .until("calls are refused", |fake| {
            fake.calls().iter().filter(|call| call.status == Some(401)).count() > 3
        })
        .await;
    let log = bridge.log();
    assert!(log.contains("/repos/alice/hello/pulls"), "the log shows calls: {log}");
    for text in [&*setup.token, "secret-of-the-webhook", "Bearer", "authorization"] {
        assert!(!log.contains(text), "{text} in {log}");
    }
}

#[test]
fn unusable_files_are_refused_without_being_shown() {
    let setup = Setup::new();
    let file = setup.secret("token", "ghp_secret");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_datakit-bridge-github"));
        command.args(arguments).env_remove("GITHUB_TOKEN").env("HOME", "/nonexistent");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run(&["--token-file", &file]);
    assert!(error.contains("chmod 600") && !error.contains("ghp_"), "{error}");
    let error = run(&["--app-id", "1", "--app-key-file", &file]);
    assert!(error.contains("chmod 600") && !error.contains("ghp_"), "{error}");
    let error = run(&[]);
    assert!(error.contains("/nonexistent/.github/jar/datakit-github-cookie"), "{error}");
}
