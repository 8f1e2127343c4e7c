//! A test that uses a real clone and the engine.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::git::Repository;

fn git(dir: &Path, args: &[&str]) -> String {
    let user = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").args(user).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(dir: &Path, file: &str, text: &str) -> Hash {
    let path = dir.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", file]);
    Hash::parse(git(dir, &["rev-parse", "HEAD"])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_of_a_clone_runs_in_its_worktree() -> Done {
    let (origin, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let dir = origin.path();
    git(dir, &["init", "-q", "-b", "master"]);
    let file = "[step.docs]\nrun='cat docs/a'\nwhen={paths='docs/**'}\n\
                [step.src]\nrun='cat src/a'\nwhen={paths='src/**'}\n";
    commit(dir, FILE, file);
    let base = commit(dir, "docs/a", "on master");
    git(dir, &["checkout", "-q", "-b", "topic", "HEAD~1"]);
    let head = commit(dir, "src/a", "in a pull request");
    git(dir, &["update-ref", "refs/pull/7/head", "HEAD"]);

    let url = dir.display().to_string();
    let repository = Repository::open_or_clone(&url, clone.path()).await?;
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let pipelines = Pipelines::new(db, repository, unsandboxed(), LiveLogs::new());
    let metadata = Arc::new(Metadata::new());
    let mut snapshot = Snapshot::new();
    let Element::Pr(request) = pr(7, 0) else { unreachable!() };
    snapshot.insert(Pr { head, ..request });
    let Element::Ref(master) = branch("master", 0) else { unreachable!() };
    snapshot.insert(Ref { head: base, ..master });
    metadata.update(snapshot);

    for (target, expected) in
        [("me/app/prs/7", &["src"][..]), ("me/app/heads/master", &["docs", "src"])]
    {
        let input = TestInput { target: target.parse()?, metadata: metadata.clone() };
        let Outcome::Success(tests) = settle(&pipelines.tests(&input)).await else {
            panic!("{target}: the pipeline cannot be read")
        };
        let names: Vec<&String> = tests.iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected);
        let outcome = settle(&tests[0].1).await;
        assert!(matches!(outcome, Outcome::Success(_)), "{target}: {outcome:?}");
    }
    Ok(())
}

/// In the sandbox, a step sees its worktree and the history, but not the worktrees of other steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_the_sandbox_sees_only_its_own_worktree() -> Done {
    if crate::command::find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    // `/tmp` is private in the sandbox, so the clone is in another directory.
    let clone = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let origin = tempfile::tempdir()?;
    let dir = origin.path();
    git(dir, &["init", "-q", "-b", "master"]);
    let worktrees = clone.path().join("worktrees");
    let file = format!(
        "[step.a]\nrun='git log --oneline; ls {0}; test \"$(ls {0})\" = \"${{PWD##*/}}\"'\n",
        worktrees.display()
    );
    let head = commit(dir, FILE, &file);
    let repository = Repository::open_or_clone(&dir.display().to_string(), clone.path()).await?;
    fs::create_dir(worktrees.join("other"))?;
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let pipelines = Pipelines::new(db.clone(), repository, Settings::default(), LiveLogs::new());
    let metadata = Arc::new(Metadata::new());
    let mut snapshot = Snapshot::new();
    let Element::Ref(master) = branch("master", 0) else { unreachable!() };
    snapshot.insert(Ref { head, ..master });
    metadata.update(snapshot);
    let input = TestInput { target: "me/app/heads/master".parse()?, metadata };
    let Outcome::Success(tests) = settle(&pipelines.tests(&input)).await else {
        panic!("the pipeline cannot be read")
    };
    let evaluated = settle(&tests[0].1).await;
    let branch = db.branch(format!("step-me-app-a-of-{head}")).await?.head().await?.unwrap();
    let log = branch.tree().read_file_if_present(&"log".parse()?).await?.unwrap();
    let log = String::from_utf8(log)?;
    assert!(matches!(evaluated, Outcome::Success(_)), "{evaluated:?}: {log}");
    assert!(log.contains(" .datakit-ci.toml"), "{log}");
    Ok(())
}
