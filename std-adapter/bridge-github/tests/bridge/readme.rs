//! Replays the transcript in the bridge's README.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::setup::{Setup, until};

/// Returns the commands in the transcript below `heading`, along with their output.
fn transcript(readme: &str, heading: &str) -> Vec<(String, String)> {
    let section = readme.split_once(heading).expect("the heading").1;
    let block = section.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    let commands = block.split("$ ").skip(1);
    commands
        .map(|command| {
            let (line, output) = command.split_once('\n').unwrap();
            (line.to_owned(), output.to_owned())
        })
        .collect()
}

/// Returns the directory that contains the `datakit` program. Builds the program if it is missing.
fn programs() -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_datakit-bridge-github")).parent().unwrap();
    if !dir.join("datakit").exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-p", "datakit"]).status().unwrap();
        assert!(built.success());
    }
    dir.to_owned()
}

/// Replaces hashes, which differ between runs.
fn without_hashes(text: &str) -> String {
    let is_hash =
        |word: &str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.lines().map(|line| if is_hash(line) { "HASH\n" } else { line }).collect()
}

#[tokio::test]
async fn the_transcript_of_the_readme_is_true() {
    let readme = include_str!("../../README.md");
    let commands = transcript(readme, "**Add a status to a pull request**");
    assert!(commands.len() >= 3);
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let _bridge = setup.bridge(&["-r", "alice/hello", "--resync-interval", "1"]);
    let head = repo.push("topic", "Add a greeting");
    repo.open_pull("bob", "Say hello", "topic", "master");
    let title = "alice/hello/pr/1/title";
    until(&setup.branch().await, "the pull request arrives", |files| files.contains_key(title))
        .await;

    let mut script = "set -e\n".to_owned();
    let mut expected = String::new();
    for (command, output) in &commands {
        script.push_str(&format!("{command}\n"));
        expected.push_str(output);
    }
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).env("PATH", path).env("DATAKIT_ADDRESS", setup.database.url());
    let output = tokio::task::spawn_blocking(move || bash.output().unwrap()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(without_hashes(&printed), without_hashes(&expected));
    setup.until("the status arrives", |_| repo.statuses(&head).len() == 1).await;
    assert_eq!(repo.statuses(&head)[0].state, "success");
}
