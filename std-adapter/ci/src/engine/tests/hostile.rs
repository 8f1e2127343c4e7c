//! Tests with inconsistent and hostile content in the branches.

use datakit_client::db::TransactionExt;

use super::*;

impl Fixture {
    /// Commits files to a branch without checking them.
    async fn write(&self, branch: &str, files: &[(&str, &[u8])]) {
        let branch = self.db.branch(branch).await.unwrap();
        let committed = branch.with_transaction(async |transaction| {
            for (path, content) in files {
                let names: Vec<&str> = path.split('/').collect();
                transaction.write_file(&Path::from_names(names)?, content).await?;
            }
            transaction.commit("hostile").await
        });
        committed.await.unwrap();
    }

    /// Waits until the index contains the last history commit of the branch `bNUMBER`.
    async fn wait_for_entry(&self, number: usize) {
        let history = history_branch(&target(&format!("b{number}")));
        let history = self.db.branch(history).await.unwrap();
        let head = history.head().await.unwrap().unwrap().id().to_string();
        self.wait_for(INDEX_BRANCH, &index_entry(number), &head).await;
    }
}

/// Returns the path of the index entry of the branch `bNUMBER`.
fn index_entry(number: usize) -> String {
    format!("me/app/commit/{}/ref-heads-b{number}", hash(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn inconsistent_metadata_is_skipped() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 4).await;
    let engine = fixture.start(vec![even_project()]);
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "success").await;
    let (huge, head) = (vec![b'7'; 2 << 20], format!("{}\n", hash(6)));
    let status = |head, file: &str| format!("me/app/commit/{}/status/{file}", hash(head));
    let statuses = [
        status(4, "ci/datakit/build/description"),
        status(4, "a\u{1b}[31m\n/state"),
        // The engine will write to these paths.
        status(6, "ci/datakit/build/target_url/dir"),
        status(8, "ci"),
    ];
    fixture
        .write(
            DEFAULT_BRANCH,
            &[
                // Commit hashes that are invalid.
                ("me/app/ref/heads/text/head", b"not a hash"),
                ("me/app/ref/heads/empty/head", b""),
                ("me/app/ref/heads/binary/head", b"\xff\0\n"),
                ("me/app/ref/heads/option/head", b"--upload-pack=touch /tmp/x"),
                ("me/app/ref/heads/huge/head", &huge),
                ("me/app/commit/not-a-hash/status/ci/state", b"success"),
                // Names that are not legal.
                ("me/app/ref/heads/new\nline/head", head.as_bytes()),
                ("me/app/ref/heads/\u{1b}[2J\u{7}/head", head.as_bytes()),
                ("me/app/ref/heads/.lock/head", head.as_bytes()),
                ("me/app/ref/wrong/kind/head", head.as_bytes()),
                ("me/app/pr/x/head", head.as_bytes()),
                ("me/app/pr/99999999999999999999999/head", head.as_bytes()),
                ("me\n/app/.monitor", b""),
                // Directories instead of files, and files instead of directories.
                ("me/app/ref/heads/dir/head/file", head.as_bytes()),
                ("me/app/pr/1/head/file", head.as_bytes()),
                ("me/app/pr/2", b"a file"),
                ("me/app/ref/tags", b"a file"),
                ("me/other", b"a file"),
                ("file", b"a file"),
                // A pull request with a strange owner.
                ("me/app/pr/3/head", head.as_bytes()),
                ("me/app/pr/3/state", b"open"),
                ("me/app/pr/3/owner", b"\xff\x1b[31m"),
                // Strange statuses of a commit under test.
                (&statuses[0], &huge),
                (&statuses[1], b"rubbish"),
                (&statuses[2], b"x"),
                (&statuses[3], b"a file"),
            ],
        )
        .await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(6, "build", "state"), "success").await;
    fixture.set_head("good", 8).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(8, "build", "state"), "success").await;
    engine.abort();
    // The engine does the same after a restart, when it reads everything at once.
    let _engine = fixture.start(vec![even_project()]);
    fixture.set_head("good", 10).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(10, "build", "state"), "success").await;
    assert!(!_engine.is_finished());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_metadata_is_the_failure_of_its_target() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    fixture.set_head("huge", 4).await;
    let huge = vec![b'7'; (1 << 20) + 1];
    let (head, other) =
        (format!("{}\n", hash(6)), format!("me/app/commit/{}/status/other", hash(2)));
    let pr = [("me/app/pr/3/head", head.as_bytes()), ("me/app/pr/3/state", b"open")];
    fixture.write(DEFAULT_BRANCH, &pr).await;
    let texts = [("me/app/pr/3/owner", &b"me"[..]), ("me/app/pr/3/title", &huge)];
    fixture.write(DEFAULT_BRANCH, &texts).await;
    let project = || {
        Project::new(repo(), |input| {
            let context = "other".parse().unwrap();
            let other = input.metadata.ci_success_target_url(&input.target, &context);
            vec![
                ("build".to_owned(), input.head().map(|_| "built".to_owned())),
                ("other".to_owned(), other),
            ]
        })
    };
    for restart in [false, true] {
        let mut engine = Engine::new(fixture.db.clone(), Options::default(), vec![project()]);
        let view = engine.view();
        let engine = tokio::spawn(async move { engine.run().await });
        // The title of a pull request.
        fixture.wait_for(DEFAULT_BRANCH, &status_path(6, "build", "state"), "failure").await;
        let text = "the metadata file me/app/pr/3/title has 1048577 bytes; the limit is 1048576";
        let description = status_path(6, "build", "description");
        fixture.wait_for(DEFAULT_BRANCH, &description, text).await;
        // The status of another CI.
        fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "build", "state"), "success").await;
        let statuses =
            [(format!("{other}/state"), &b"success"[..]), (format!("{other}/target_url"), &huge)];
        fixture
            .write(DEFAULT_BRANCH, &statuses.each_ref().map(|(path, text)| (&**path, *text)))
            .await;
        fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "other", "state"), "failure").await;
        // The head of a branch.
        fixture.write(DEFAULT_BRANCH, &[("me/app/ref/heads/huge/head", &huge)]).await;
        let expected = "the metadata file me/app/ref/heads/huge/head has 1048577 bytes; \
                        the limit is 1048576";
        let missing = async {
            while view.problem(&target("huge")).as_deref() != Some(expected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, missing).await.expect("the problem is shown");
        assert!(view.target(&target("huge")).is_none());
        if !restart {
            engine.abort();
            continue;
        }
        // The files are read again after they have become smaller.
        let small =
            [("me/app/pr/3/title", &b"small"[..]), ("me/app/ref/heads/huge/head", head.as_bytes())];
        fixture.write(DEFAULT_BRANCH, &small).await;
        fixture
            .write(DEFAULT_BRANCH, &[(&format!("{other}/target_url"), b"http://example.org/")])
            .await;
        fixture.wait_for(DEFAULT_BRANCH, &status_path(6, "build", "state"), "success").await;
        fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "other", "state"), "success").await;
        assert_eq!(view.problem(&target("huge")), None);
        assert!(!engine.is_finished());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn history_whose_files_are_directories_is_replaced() -> Done {
    let fixture = Fixture::new().await;
    for (number, files) in [
        (2, &["job"][..]),
        (4, &["job/build", "source-commit/x"]),
        (6, &["job/build/output/x", "metadata-commit/x/y"]),
        (8, &["job/%\n%2F\u{1b}/output", "rubbish"]),
    ] {
        let name = format!("b{number}");
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|path| (*path, &b"{\"rubbish\""[..])).collect();
        fixture.write(&history_branch(&target(&name)), &files).await;
        fixture.set_head(&name, number).await;
    }
    let engine = fixture.start(vec![even_project()]);
    for number in [2, 4, 6, 8] {
        let branch = history_branch(&target(&format!("b{number}")));
        fixture.wait_for(&branch, "source-commit", &hash(number).to_string()).await;
        let state = status_path(number, "build", "state");
        fixture.wait_for(DEFAULT_BRANCH, &state, "success").await;
    }
    assert!(!engine.is_finished());
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn index_whose_entries_are_of_the_wrong_kind_is_repaired() -> Done {
    let fixture = Fixture::new().await;
    for (number, obstacle) in [
        (2, "me".to_owned()),
        (4, "me/app/commit".to_owned()),
        (6, format!("me/app/commit/{}", hash(6))),
        (8, format!("{}/x/y", index_entry(8))),
    ] {
        let index = fixture.db.branch(INDEX_BRANCH).await?;
        let removed = index.with_transaction(async |transaction| {
            transaction.remove_if_present(&"me".parse()?).await?;
            transaction.write_file(&obstacle.parse()?, b"rubbish").await?;
            transaction.commit("hostile").await
        });
        removed.await?;
        fixture.set_head(&format!("b{number}"), number).await;
        let engine = fixture.start(vec![even_project()]);
        let status = status_path(number, "build", "state");
        fixture.wait_for(DEFAULT_BRANCH, &status, "success").await;
        fixture.wait_for_entry(number).await;
        engine.abort();
        let _ = engine.await;
    }
    Ok(())
}

/// If an entry has been replaced with a link, the link is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn link_in_the_index_is_replaced_after_a_restart() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("b2", 2).await;
    let engine = fixture.start(vec![even_project()]);
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "build", "state"), "success").await;
    let entry: Path = index_entry(2).parse()?;
    let index = fixture.db.branch(INDEX_BRANCH).await?;
    fixture.wait_for_entry(2).await;
    engine.abort();
    let _ = engine.await;
    let replaced = index.with_transaction(async |transaction| {
        transaction.create_symlink(&entry, "elsewhere").await?;
        transaction.commit("hostile").await
    });
    replaced.await?;
    let engine = fixture.start(vec![even_project()]);
    fixture.wait_for_entry(2).await;
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_refs_at_once_do_not_stop_the_engine() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    // Writing the histories of all targets would take minutes.
    let options = Options { canaries: [target("master")].into(), ..Options::default() };
    let mut engine = Engine::new(fixture.db.clone(), options, vec![even_project()]);
    let engine = tokio::spawn(async move { engine.run().await });
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "build", "state"), "success").await;
    let refs = (0..10_000).map(|number| {
        let Target::Ref(id) = target(&format!("topic-{number}")) else { panic!("a ref") };
        Element::from(Ref { id, head: hash(number) })
    });
    fixture.commit(&Diff::new(refs, [])).await;
    fixture.set_head("master", 4).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "success").await;
    assert!(!engine.is_finished());
    Ok(())
}
