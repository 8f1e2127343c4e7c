//! Tests for repositories with missing or damaged objects. Every command reports the missing or
//! damaged objects, and still shows or copies the intact ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Client, Scratch, Server};

fn git(dir: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"];
    let output = Command::new("git").arg("-C").arg(dir).args(who).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The kind of damage to an object's file.
enum Damage {
    Removed,
    Emptied,
    Scrambled,
    CutOff,
}

impl Damage {
    fn apply(&self, path: &PathBuf) {
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        match self {
            Damage::Removed => return,
            Damage::Emptied => std::fs::write(path, ""),
            Damage::Scrambled => std::fs::write(path, "this is no object"),
            Damage::CutOff => std::fs::write(path, &bytes[..bytes.len() / 2]),
        }
        .unwrap();
    }
}

const WHOLE: [&str; 3] = ["a", "d/whole", "z"];

/// Creates a bare repository whose `master` branch contains `a`, `b`, `d/whole`, `e/f`, `link` and
/// `z`. Damages the objects of `b`, `e` and `link`.
fn damaged(scratch: &Scratch, damage: &Damage) -> (PathBuf, [String; 3]) {
    let (bare, work) = (scratch.0.join("bare"), scratch.0.join("work"));
    for dir in [&bare, &work] {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).unwrap();
    }
    git(&bare, &["init", "-q", "--bare", "-b", "master", "."]);
    git(&work, &["init", "-q", "-b", "master", "."]);
    for dir in ["d", "e"] {
        std::fs::create_dir(work.join(dir)).unwrap();
    }
    for file in ["a", "b", "d/whole", "e/f", "z"] {
        // Make the content long enough that truncating the object to half its length loses part of
        // it.
        std::fs::write(work.join(file), format!("content of {file}, ").repeat(2000)).unwrap();
    }
    std::os::unix::fs::symlink("target", work.join("link")).unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "all"]);
    git(&work, &["push", "-q", bare.to_str().unwrap(), "master"]);
    let ids = ["b", "e", "link"].map(|path| git(&bare, &["rev-parse", &format!("master:{path}")]));
    // Check that the objects are loose, because the test damages their files.
    assert!(
        git(&bare, &["count-objects"]).starts_with("10 "),
        "{}",
        git(&bare, &["count-objects"])
    );
    for id in &ids {
        damage.apply(&bare.join("objects").join(&id[..2]).join(&id[2..]));
    }
    (bare, ids)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(client: &Client<'_>, arguments: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } = client.command(arguments).output().unwrap();
    (status.success(), text(&stdout), text(&stderr))
}

#[test]
fn missing_objects_are_reported_and_hide_nothing_else() {
    let scratch = Scratch::new("missing");
    for damage in [Damage::Removed, Damage::Emptied, Damage::Scrambled, Damage::CutOff] {
        let (bare, [b, e, _]) = damaged(&scratch, &damage);
        let commit = git(&bare, &["rev-parse", "master"]);
        let server = Server::start("tcp://127.0.0.1:0", &["--git", bare.to_str().unwrap()]);
        for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
            let client = Client { address: server.address(), dialect };
            for top in ["branch/master/ro".to_owned(), format!("snapshots/{commit}/ro")] {
                let (_, names, error) = run(&client, &["ls", &top]);
                assert_eq!(names, "a\nb\nd\ne\nlink\nz\n", "{dialect} {error}");
                // A truncated object still contains its length, which is stored at the start.
                if !matches!(damage, Damage::CutOff) {
                    let (ok, lines, errors) = run(&client, &["ls", "-l", &top]);
                    assert!(
                        !ok && lines.lines().count() == 6 && errors.contains(&format!("{top}/b: ")),
                        "{errors}"
                    );
                }
                for file in WHOLE {
                    let content = format!("content of {file}, ").repeat(2000);
                    assert_eq!(client.run(&["cat", &format!("{top}/{file}")]), content);
                }
                for path in ["b", "link", "e/f"] {
                    let (ok, _, error) = run(&client, &["cat", &format!("{top}/{path}")]);
                    assert!(!ok && !error.contains("No such file"), "{dialect} {path}: {error}");
                }
                if dialect != "9P2000.L" {
                    let (_, _, error) = run(&client, &["cat", &format!("{top}/b")]);
                    assert!(
                        error.contains(&format!("object {b}")) && error.contains(": b"),
                        "{error}"
                    );
                    let (_, _, error) = run(&client, &["cat", &format!("{top}/e/f")]);
                    assert!(
                        error.contains(&format!("object {e}")) && error.contains(": e"),
                        "{error}"
                    );
                }
                let (ok, tree, error) = run(&client, &["tree", &top]);
                assert!(
                    !ok && tree.contains("whole") && error.contains(&format!("{top}/e: ")),
                    "{error}"
                );
                let copy = scratch.0.join("copy");
                let _ = std::fs::remove_dir_all(&copy);
                let (ok, _, error) =
                    run(&client, &["cp", "-r", &format!(":{top}"), copy.to_str().unwrap()]);
                assert!(
                    !ok && error.contains(&format!("{top}/b: "))
                        && error.contains(&format!("{top}/e: ")),
                    "{error}"
                );
                for file in WHOLE {
                    assert!(copy.join(file).exists(), "{dialect} {file}");
                }
            }
        }
    }
}

#[test]
fn a_partial_clone_is_reported_at_the_start() {
    let scratch = Scratch::new("partial");
    let (bare, _) = damaged(&scratch, &Damage::Removed);
    let work = scratch.0.join("work");
    git(&bare, &["config", "uploadpack.allowFilter", "true"]);
    git(&work, &["config", "uploadpack.allowFilter", "true"]);
    let partial = scratch.path("partial");
    let from = format!("file://{}", work.display());
    git(&work, &["clone", "-q", "--bare", "--filter=blob:none", &from, &partial]);
    let (server, log) = Server::logging(&["--git", &partial], &[]);
    let line = log.recv_timeout(common::TIMEOUT).unwrap();
    assert!(line.contains("partial clone"), "{line}");
    let client = Client { address: server.address(), dialect: "9P2000.u" };
    let (ok, _, error) = run(&client, &["cat", "branch/master/ro/a"]);
    assert!(!ok && error.contains("is missing: a"), "{error}");
}
