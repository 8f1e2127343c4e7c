//! Tests for the restrictions on the steps of untrusted commits.

use super::*;

/// A pipeline that a stranger has changed so that it prints the secrets and writes to the caches.
const STRANGER: &str = "
[step.steal]
run = 'echo \"token=<$TOKEN> trusted=$DATAKIT_CI_TRUSTED\"; cat cached/file || true; mkdir -p cached; echo evil >cached/file'
secrets = 'TOKEN'
[step.poison]
run = 'cat cached/file || true; mkdir -p cached; echo evil >cached/file'
cache.c = { paths = 'cached', key = 'k' }
[step.read-private]
run = 'cat private/file || true'
cache.p = { paths = 'private', key = 'k' }
[step.online]
run = 'true'
network = true
";

const OWNER: &str = "
[step.steal]
run = 'echo \"token=<$TOKEN> trusted=$DATAKIT_CI_TRUSTED\"'
secrets = 'TOKEN'
[step.poison]
run = 'cat cached/file || { mkdir -p cached; echo good >cached/file; }'
cache.c = { paths = 'cached', key = 'k' }
[step.with-secret]
run = 'mkdir -p private; echo \"$TOKEN\" >private/file'
secrets = 'TOKEN'
cache.p = { paths = 'private', key = 'k' }
";

fn settings(dir: &std::path::Path) -> Settings {
    let mut settings = unsandboxed();
    settings.secrets.insert("TOKEN".to_owned(), "hunter2".to_owned());
    settings.caches = Some(Caches::open(dir).unwrap());
    settings
}

async fn log(ci: &Ci, step: &str, commit: usize, suffix: &str) -> String {
    let branch = format!("step-me-app-{step}-of-{}{suffix}", hash(commit));
    ci.read(&branch, "log").await.unwrap_or_else(|| panic!("{branch} has no log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_secrets_and_writes_no_trusted_cache() -> Done {
    let dir = tempfile::tempdir()?;
    // Commit 4 is the owner's next commit. The first commit writes the cache.
    let source =
        Commits::default().with(2, STRANGER).with(1, OWNER).with(4, OWNER).with(3, STRANGER);
    let ci = Ci::new(source, settings(dir.path()));
    ci.set([branch("master", 1), pr(7, 2)]);

    // The stranger's steps run first, while there is no cache.
    let results = ci.results("me/app/prs/7").await?;
    assert_eq!(results["steal"], passed());
    assert_eq!(
        results["online"],
        Outcome::failure("the step uses the network, which is not allowed for untrusted commits")
    );
    let text = log(&ci, "steal", 2, "-untrusted").await;
    assert!(text.contains("\ntoken=<> trusted=false\n"), "{text}");
    assert!(text.contains("The secrets are not set, because the commit is not trusted"), "{text}");
    let text = log(&ci, "poison", 2, "-untrusted").await;
    assert!(!text.contains("Stored the cache"), "{text}");

    // The owner's steps do not find a cache, so they write one.
    ci.results("me/app/heads/master").await?;
    let text = log(&ci, "poison", 1, "").await;
    assert!(text.contains("Stored the cache c") && !text.contains("evil"), "{text}");
    let text = log(&ci, "steal", 1, "").await;
    assert!(text.contains("\ntoken=<********> trusted=true\n") && !text.contains("hunter2"));
    assert!(log(&ci, "with_2dsecret", 1, "").await.contains("Stored the cache p"));

    // The stranger can read the public cache but not change it, and cannot see the private one.
    ci.set([branch("master", 4), pr(7, 3)]);
    ci.results("me/app/prs/7").await?;
    let text = log(&ci, "poison", 3, "-untrusted").await;
    assert!(text.contains("Restoring the cache c\n") && text.contains("\ngood\n"), "{text}");
    let text = log(&ci, "read_2dprivate", 3, "-untrusted").await;
    assert!(!text.contains("Restoring") && !text.contains("********"), "{text}");
    ci.results("me/app/heads/master").await?;
    let text = log(&ci, "poison", 4, "").await;
    assert!(text.contains("\ngood\n") && !text.contains("evil"), "{text}");
    for branch in ci.branches().await {
        for file in ["log", "failure", "value/pipeline", "value/result"] {
            let text = ci.read(&branch, file).await.unwrap_or_default();
            assert!(!text.contains("hunter2"), "{branch} {file}: {text}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_from_the_same_repository_is_trusted() -> Done {
    let dir = tempfile::tempdir()?;
    let ci = Ci::new(Commits::default().with(1, OWNER).with(2, OWNER), settings(dir.path()));
    ci.set([branch("master", 1), branch("fix", 2), pr(7, 2)]);
    ci.results("me/app/prs/7").await?;
    assert!(log(&ci, "steal", 2, "").await.contains("trusted=true"));
    Ok(())
}

#[test]
fn only_heads_of_the_same_repository_make_a_pull_request_trusted() {
    let commit = Commit { repo: repo(), hash: hash(2) };
    let trust = |elements: Vec<Element>| {
        let metadata = Metadata::new();
        let is_head = metadata.is_head(&commit);
        let mut snapshot = Snapshot::new();
        elements.into_iter().for_each(|element| snapshot.insert(element));
        metadata.update(snapshot);
        let Outcome::Success(is_head) = is_head.evaluate().outcome else { panic!("no value") };
        Trust::of(&"me/app/prs/7".parse().unwrap(), is_head)
    };
    let name = RefName::parse("heads/fix").unwrap();
    let fork = RefId { repo: "stranger/app".parse().unwrap(), name };
    assert_eq!(trust(vec![branch("fix", 2)]), Trust::Trusted);
    assert_eq!(trust(vec![branch("fix", 1)]), Trust::Untrusted);
    assert_eq!(trust(vec![Ref { id: fork, head: hash(2) }.into()]), Trust::Untrusted);
    let master = "me/app/heads/master".parse().unwrap();
    assert_eq!(Trust::of(&master, false), Trust::Trusted);
}

/// The bridge can write the pull request before the branch.
#[tokio::test(flavor = "multi_thread")]
async fn trust_follows_the_metadata() -> Done {
    let dir = tempfile::tempdir()?;
    let ci = Ci::new(Commits::default().with(1, OWNER).with(2, OWNER), settings(dir.path()));
    ci.set([branch("master", 1), pr(7, 2)]);
    let tests = ci.term("me/app/prs/7");
    let watcher = Watcher::new(&tests);
    let Outcome::Success(first) = settle(&tests).await else { panic!("no tests") };
    // A change to another branch does not change the tests.
    ci.set([branch("master", 1), branch("other", 1), pr(7, 2)]);
    let Outcome::Success(same) = settle(&tests).await else { panic!("no tests") };
    assert!(Arc::ptr_eq(&first, &same));
    ci.set([branch("master", 1), branch("fix", 2), pr(7, 2)]);
    tokio::time::timeout(LIMIT, watcher.changed()).await?;
    let Outcome::Success(trusted) = settle(&tests).await else { panic!("no tests") };
    assert!(!Arc::ptr_eq(&first, &trusted));
    for (_, term) in trusted.iter() {
        settle(term).await;
    }
    assert!(log(&ci, "steal", 2, "").await.contains("trusted=true"));
    // The branch moves on, but the commit was pushed by somebody with write access to the
    // repository.
    ci.set([branch("master", 1), branch("fix", 1), pr(7, 2)]);
    let Outcome::Success(still) = settle(&tests).await else { panic!("no tests") };
    assert!(Arc::ptr_eq(&trusted, &still));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_repository_does_not_lead_the_cache_out_of_the_work_tree() -> Done {
    let (dir, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let file = format!(
        "[step.a]\nrun='ln -s {0} link; echo x >{0}/file'\ncache.c={{paths='link/file'}}\n",
        outside.path().display()
    );
    let ci = Ci::new(Commits::default().with(1, &file), settings(dir.path()));
    ci.set([branch("master", 1)]);
    assert_eq!(ci.results("me/app/heads/master").await?["a"], passed());
    let text = log(&ci, "a", 1, "").await;
    assert!(text.contains("The cache c is not stored: `link` is not a directory"), "{text}");
    Ok(())
}

/// The host's files are visible in the sandbox, but the caches are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_the_sandbox_cannot_read_the_caches_directly() -> Done {
    if crate::command::find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    // `/tmp` is private in the sandbox, so the caches are in another directory.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    fs::create_dir_all(dir.path().join("private/me-app/p"))?;
    fs::write(dir.path().join("private/me-app/p/key"), "hunter2")?;
    let file = format!(
        "[step.a]\nrun='test -d {0}; ! cat {0}/private/me-app/p/key; ! touch {0}/x; ls {1}'\n",
        dir.path().display(),
        env!("CARGO_MANIFEST_DIR")
    );
    // The repository can be in the home directory or in `/tmp`, which are hidden by default.
    let mut isolation = crate::command::Isolation::default()
        .read_only(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    isolation.hidden.clear();
    let settings = Settings { sandbox: isolation.into(), ..settings(dir.path()) };
    let ci = Ci::new(Commits::default().with(1, &file), settings);
    ci.set([branch("master", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    let text = log(&ci, "a", 1, "").await;
    assert_eq!(results["a"], passed(), "{text}");
    assert!(text.contains("No such file") && text.contains("Cargo.toml"), "{text}");
    Ok(())
}

#[test]
fn caches_are_pruned_from_the_oldest_and_leftovers_are_removed() -> Done {
    let dir = tempfile::tempdir()?;
    let caches = Caches::open(dir.path())?;
    let entry = |name: &str| dir.path().join("public/me-app").join(name);
    for (index, name) in ["old", "middle", "new", ".tmp-crashed"].into_iter().enumerate() {
        fs::create_dir_all(entry(name))?;
        fs::write(entry(name).join("size"), "100000")?;
        let used = std::time::UNIX_EPOCH + Duration::from_secs(1000 + index as u64);
        fs::File::open(entry(name))?.set_modified(used)?;
    }
    let reopened = Caches::open(dir.path())?;
    assert!(!entry(".tmp-crashed").exists());
    assert_eq!(reopened.prune(1_000_000)?, 0);
    assert_eq!(caches.prune(250_000)?, 1);
    assert!(!entry("old").exists() && entry("middle").exists() && entry("new").exists());
    assert_eq!(caches.prune(0)?, 2);
    Ok(())
}

/// A new cache replaces the oldest one if the two caches together are too large.
#[tokio::test(flavor = "multi_thread")]
async fn caches_have_a_total_size() -> Done {
    let dir = tempfile::tempdir()?;
    let file = "[step.a]\nrun='head -c 600 /dev/zero >file'\ncache.c={paths='file',files='key'}\n";
    let mut source = Commits::default().with(1, file).with(2, file);
    for commit in [1, 2] {
        source.files.get_mut(&commit).unwrap().insert("key", commit.to_string());
    }
    let caches = Caches::open(dir.path())?.with_total(1000);
    let ci = Ci::new(source, Settings { caches: Some(caches), ..unsandboxed() });
    for commit in [1, 2] {
        ci.set([branch("master", commit)]);
        assert_eq!(ci.results("me/app/heads/master").await?["a"], passed());
        let text = log(&ci, "a", commit, "").await;
        assert!(text.contains("Stored the cache c"), "{text}");
        assert_eq!(fs::read_dir(dir.path().join("public/me-app"))?.count(), 1);
    }
    Ok(())
}
