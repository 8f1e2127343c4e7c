//! Tests for repositories that have a work tree in which `git` is also used.

use datakit_tests::db::{Repository, TestDb, refused};

/// Serves a repository with a work tree. The `master` branch has no commits yet.
fn with_work_tree() -> TestDb {
    let repository = Repository::none();
    repository.git(&["init", "-q", "-b", "master", "."]);
    TestDb::on(repository)
}

#[test]
fn commits_of_clients_and_of_the_work_tree_follow_each_other() {
    let db = with_work_tree();
    let connection = db.connect();
    let master = connection.master();
    let ours = master.commit(&[("ours", "1")]);
    let repository = db.repository();
    std::fs::write(repository.path().join("theirs"), "2").unwrap();
    repository.git(&["add", "theirs"]);
    repository.git(&["commit", "-q", "-m", "theirs"]);
    assert_eq!(repository.git(&["ls-tree", "--name-only", "master"]), "ours\ntheirs");
    assert_eq!(repository.git(&["rev-parse", "master~1"]), ours);
    let both = master.commit(&[("third", "3")]);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.git(&["ls-tree", "--name-only", &both]), "ours\ntheirs\nthird");
}

#[test]
fn a_commit_onto_uncommitted_changes_is_refused_with_the_reason() {
    let db = with_work_tree();
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let file = db.repository().path().join("f");
    std::fs::write(&file, "mine").unwrap();
    let transaction = master.transaction();
    transaction.write("f", "2");
    let text = refused(transaction.commit("theirs"));
    assert!(
        text.starts_with("work tree of \"master\": changes that are not committed (/"),
        "{text}"
    );
    assert_eq!(
        (master.head(), std::fs::read_to_string(&file).unwrap()),
        (first.clone(), "mine".to_owned())
    );
    // Clients can still commit to other branches, and the transaction remains usable.
    let second = connection.branch("other").commit(&[("f", "3")]);
    assert!(refused(master.fast_forward(&second)).starts_with("not-fast-forward"));
    db.repository().git(&["checkout", "-q", "f"]);
    transaction.commit("theirs").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "2");
}

#[test]
fn a_checked_out_branch_can_be_renamed_but_not_removed() {
    let db = with_work_tree();
    let connection = db.connect();
    connection.master().commit(&[("f", "1")]);
    connection.rename("branch/master", "master%2Fmain").unwrap();
    let repository = db.repository();
    assert_eq!(repository.git(&["symbolic-ref", "HEAD"]), "refs/heads/master/main");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    let text = refused(db.connect().remove("branch/master%2Fmain"));
    assert!(text.starts_with("branch \"master/main\" is checked out in /"), "{text}");
    assert_eq!(db.connect().names("branch"), "master%2Fmain");
    repository.git(&["checkout", "-q", "--detach"]);
    db.connect().remove("branch/master%2Fmain").unwrap();
}

#[test]
fn new_repositories_are_bare() {
    let db = TestDb::git();
    db.connect().master().commit(&[("f", "1")]);
    let repository = db.repository();
    assert_eq!(repository.git(&["rev-parse", "--is-bare-repository"]), "true");
    assert_eq!(repository.git(&["log", "--format=%s", "--name-only"]).lines().last(), Some("f"));
    assert!(!repository.try_git(&["add", "f"]).0);
}
