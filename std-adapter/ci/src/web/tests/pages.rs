//! Tests for the pages that show targets, commits, histories and waiting jobs.

use datakit_client::db::TransactionExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_targets_and_their_tests() {
    let site = Site::new(vec![("unit", passing("fine\n")), ("lint", passing("clean\n"))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    site.set_head("fix/c++", 2, JobStatus::Success).await;
    site.open_pr(7, "A title", 3).await;
    let home = site.page("/").await;
    assert!(home.contains("<a href=\"/me/app/ref/heads/master\"><bdi>master</bdi></a>"), "{home}");
    assert!(home.contains("3 targets") && !home.contains("fix/c++"), "{home}");
    let branches = site.page("/branch").await;
    assert!(branches.contains("/me/app/ref/heads/fix/c%2B%2B"), "{branches}");
    assert!(branches.contains("/me/app/ref/heads/fix/c%2B%2B?test=unit"), "{branches}");
    assert!(site.page("/branch?q=MAST").await.contains("1 target "));
    assert!(site.page("/pr").await.contains("<bdi class=\"title\">A title</bdi>"));
    assert!(site.page("/tag").await.contains("0 targets"));
    assert!(site.page("/wall").await.contains("class=\"tile success\""));
    let target = site.page("/me/app/ref/heads/fix/c%2B%2B?test=lint").await;
    assert!(target.contains("<h2>Test <bdi>lint</bdi></h2>"), "{target}");
    assert!(
        target.contains("<svg class=\"pipeline\"") && target.contains(">build lint<"),
        "{target}"
    );
    assert!(target.contains("=== Run lint") && target.contains(">clean\n</span>"), "{target}");
    for path in ["/me/app/pr/8", "/me/app/ref/heads/none", "/me/other/pr/7", "/x", "/me/app/pr/x"] {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn default_log_is_the_first_that_failed() {
    let site = Site::new(vec![("a", passing("of a\n")), ("b", failing("of b\n"))]).await;
    let Target::Ref(id) = branch("master") else { panic!("a branch is a ref") };
    site.commit([Element::from(Ref { id, head: hash(1) })]).await;
    site.wait_for(&branch("master"), |view| {
        view.jobs.len() == 2 && view.jobs.iter().all(|job| job.result.status != JobStatus::Pending)
    })
    .await;
    let page = site.page("/me/app/ref/heads/master").await;
    assert!(page.contains("<h2>Test <bdi>b</bdi></h2>") && page.contains(">of b\n<"), "{page}");
    assert!(page.contains("exit status 1"), "{page}");
    assert!(site.page("/me/app/ref/heads/master?test=a").await.contains(">of a\n<"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_with_one_target_redirects() {
    let site = Site::new(vec![("unit", passing(""))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let answer = site.get(&format!("/me/app/commit/{}?test=unit", hash(1))).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), "/me/app/ref/heads/master?test=unit");
    site.set_head("topic", 1, JobStatus::Success).await;
    let page = site.page(&format!("/me/app/commit/{}", hash(1))).await;
    assert!(page.contains("heads/master") && page.contains("heads/topic"), "{page}");
    let unknown = site.get(&format!("/me/app/commit/{}", hash(9))).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_shows_older_states() {
    let site = Site::new(vec![("unit", passing("fine\n"))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    wait_for_history(&site, &branch("master"), "unit: success").await;
    site.set_head("master", 2, JobStatus::Success).await;
    wait_for_history(&site, &branch("master"), &format!("New head: {}", hash(2))).await;
    let list = site.page("/me/app/ref/heads/master?history").await;
    assert!(list.contains("unit: success done"), "{list}");
    assert!(list.contains("0 of 2</td>"), "two commits, none of them flaky: {list}");
    let first = attribute(&list, "href=\"", "/me/app/ref/heads/master?history=");
    let past = site.page(&first).await;
    assert!(past.contains("This is an older state") && past.contains(">fine\n<"), "{past}");
    // The index is used to find the results of a commit that is no longer tested.
    let commit = site.page(&format!("/me/app/commit/{}", hash(1))).await;
    assert!(commit.contains("branch master"), "{commit}");
    assert!(site.page(&attribute(&commit, "<li><a href=\"", "")).await.contains("older state"));
}

/// Another target's state must not be shown as the state of this target.
#[tokio::test(flavor = "multi_thread")]
async fn history_commits_of_other_branches_are_not_shown() {
    let site = Site::new(vec![("unit", passing("fine\n"))]).await;
    for (name, head) in [("master", 1), ("topic", 2)] {
        site.set_head(name, head, JobStatus::Success).await;
        wait_for_history(&site, &branch(name), "").await;
    }
    let head = async |branch: &str| {
        let branch = site.db.branch(branch).await.unwrap();
        branch.head().await.unwrap().unwrap().id().to_string()
    };
    let topic = head(&crate::state::history_branch(&branch("topic"))).await;
    let log = head("run-of-unit").await;
    site.page(&format!("/me/app/ref/heads/topic?history={topic}")).await;
    for commit in [topic.as_str(), &log, &"0".repeat(40), "x", "../x"] {
        for query in [format!("history={commit}"), format!("history=&from={commit}")] {
            let answer = site.get(&format!("/me/app/ref/heads/master?{query}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{query}");
        }
        let answer = site.get(&format!("/api/v1/history/me/app/heads/master?from={commit}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{commit}");
    }
}

/// The names of some repositories look like other routes.
#[tokio::test(flavor = "multi_thread")]
async fn every_repository_has_pages() {
    let names = ["log/live", "log/saved", "log/rebuild", "cancel/app", "api/v1", "auth/intro"];
    let repos: Vec<Repo> = names.iter().map(|name| name.parse().unwrap()).collect();
    let tests = vec![("unit", passing("fine\n"))];
    let site = Site::of(&repos, tests, "everyone", "everyone").await;
    for (number, repo) in repos.into_iter().enumerate() {
        let target: Target = format!("{repo}/tags/v1").parse().unwrap();
        let Target::Ref(id) = target.clone() else { panic!("a tag is a ref") };
        site.commit([Element::from(Ref { id, head: hash(number + 1) })]).await;
        site.wait_for(&target, |_| true).await;
        let page = site.page(&super::super::urls::target(&target)).await;
        assert!(page.contains("Test <bdi>unit"), "{repo}: {page}");
        let commit = site.get(&format!("/{repo}/commit/{}", hash(number + 1))).await;
        assert_eq!(commit.status, StatusCode::TEMPORARY_REDIRECT, "{repo}");
        let pr = site.get(&format!("/{repo}/pr/1")).await;
        // Below `/api/v1/`, errors are JSON.
        let text = if pr.body.starts_with('{') { "not found" } else { "There is no such target" };
        assert!(pr.body.contains(text), "{repo}: {}", pr.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_page_explains_pending_jobs() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let page = site.page("/waiting").await;
    assert!(page.contains("1 job is pending"), "{page}");
    assert!(
        page.contains("<bdi class=\"step-name\">Run unit</bdi>: <bdi>Building</bdi>"),
        "{page}"
    );
    site.scripts.permits.add_permits(1);
    site.wait_for(&branch("master"), |view| view.jobs[0].result.status == JobStatus::Success).await;
    assert!(site.page("/waiting").await.contains("No job is pending"));
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_are_cancelled_and_repeated() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let mut browser = site.browser();
    let page = "/me/app/ref/heads/master?test=unit";
    let answer = browser.submit(page, "/cancel/run-of-unit").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, page));
    // The page shows the log and the button for a rebuild.
    let shown = browser.get(page).await.body;
    assert!(shown.contains("action=\"/log/rebuild/run-of-unit?redirect="), "{shown}");
    assert!(shown.contains("Failed: Cancelled at user&#39;s request"), "{shown}");
    let log = browser.get("/log/live/run-of-unit").await;
    assert_eq!(log.status, StatusCode::TEMPORARY_REDIRECT);
    site.scripts.permits.add_permits(1);
    let csrf = attribute(&browser.get("/auth/login").await.body, "name=\"csrf\" value=\"", "");
    let rebuild = format!("/log/rebuild/run-of-unit?redirect={page}");
    let answer = browser.post(&rebuild, &format!("csrf={csrf}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    site.wait_for(&branch("master"), |view| view.jobs[0].result.status == JobStatus::Success).await;
    let answer = browser.post("/log/rebuild/none", &format!("csrf={csrf}")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.body.contains("No job depends on none"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_for_monitoring_and_files() {
    let site = Site::with(vec![], "user:admin", "user:admin").await;
    assert_eq!(site.page("/health").await, "ok\n");
    assert!(site.page("/static/style.css").await.contains(".fg-bright-red"));
    assert!(site.page("/static/script.js?v=1").await.contains("EventSource"));
    assert_eq!(site.get("/static/other").await.status, StatusCode::NOT_FOUND);
    for token in ["", "Bearer wrong", "Bearer ", "secret"] {
        let request = Request::get("/metrics").header("authorization", token);
        let answer = site.browser().send(request, String::new()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
    }
    let request = Request::get("/metrics").header("authorization", "Bearer secret");
    assert_eq!(site.browser().send(request, String::new()).await.body, "up 1\n");
    for (id, text) in [("permission-denied", "do not have permission"), ("logout-needed", "GitHub")]
    {
        let answer = site.get(&format!("/error/{id}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.body.contains(text), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_cannot_be_read_are_shown_with_the_reason() {
    let site = Site::new(vec![("unit", passing("ok\n"))]).await;
    site.set_head("huge", 1, JobStatus::Success).await;
    let metadata = site.db.branch(datakit_github::DEFAULT_BRANCH).await.unwrap();
    let path = "me/app/ref/heads/huge/head".parse().unwrap();
    let transaction = metadata.transaction().await.unwrap();
    transaction.create_or_replace_file(&path, &vec![b'a'; (1 << 20) + 1]).await.unwrap();
    transaction.commit("hostile").await.unwrap();
    let mut changes = site.view.changes();
    while site.view.target(&branch("huge")).is_some() {
        changes.recv().await.unwrap();
    }
    let reason = "the metadata file me/app/ref/heads/huge/head has 1048577 bytes";
    for path in ["/me/app/ref/heads/huge", "/api/v1/targets/me/app/heads/huge"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.body.contains(reason), "{}", answer.body);
    }
    let list = site.page("/branch").await;
    assert!(list.contains(reason) && list.contains("me/app/heads/huge"), "{list}");
    assert!(!site.page("/tag").await.contains(reason));
    assert!(!site.page("/branch?q=other").await.contains(reason));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_index_entries_are_not_listed() {
    let site = Site::new(vec![("unit", passing("ok\n"))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let page = format!("/me/app/commit/{}", hash(7));
    let dir = format!("me/app/commit/{}", hash(7));
    let index = site.db.branch(crate::state::INDEX_BRANCH).await.unwrap();
    let transaction = index.transaction().await.unwrap();
    let history = hash(8).to_string();
    let files = [
        ("ref-heads-old", &*history),
        ("ref-heads-a/x", "a directory"),
        ("ref-heads-b", "no hash&x=1"),
        ("rubbish", &*history),
    ];
    for (name, text) in files {
        let path = format!("{dir}/{name}").parse().unwrap();
        transaction.write_file(&path, text.as_bytes()).await.unwrap();
    }
    let link = format!("{dir}/ref-heads-c").parse().unwrap();
    transaction.create_symlink(&link, "ref-heads-old").await.unwrap();
    let file = format!("me/app/commit/{}", hash(9)).parse().unwrap();
    transaction.write_file(&file, b"a file").await.unwrap();
    transaction.commit("hostile").await.unwrap();
    let shown = site.page(&page).await;
    assert!(shown.contains(&format!("/me/app/ref/heads/old?history={history}")), "{shown}");
    for name in ["heads/a", "heads/b", "heads/c", "rubbish"] {
        assert!(!shown.contains(name), "{name}: {shown}");
    }
    let missing = site.get(&format!("/me/app/commit/{}", hash(9))).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.body);
}
