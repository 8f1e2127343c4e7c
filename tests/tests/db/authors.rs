//! Tests for commit authors and branch reflogs.

use datakit_core::wire::Dialect;
use datakit_tests::db::{Connection, Repository, TestDb, refused};
use datakit_tests::on_both;

on_both! {
    the_author_of_a_commit_is_the_attached_user,
    the_author_file_sets_the_author,
    an_invalid_author_is_refused,
}

/// Writes `author`, if given, to a transaction's `author` file, commits the transaction, and
/// returns the commit's author.
fn committed(connection: &Connection, author: Option<&str>) -> String {
    let branch = connection.master();
    let transaction = branch.transaction();
    if let Some(author) = author {
        connection.put(&transaction.path("author"), author).unwrap();
    }
    transaction.commit("x").unwrap();
    let json = connection.read(&format!("commits/{}", branch.head()));
    json.lines()
        .find_map(|line| line.trim().strip_prefix("\"author\": "))
        .unwrap_or(&json)
        .to_owned()
}

fn the_author_of_a_commit_is_the_attached_user(db: &TestDb) {
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let alice = db.connect_as(dialect, "alice", 7);
        assert!(committed(&alice, None).contains("\"alice <alice@localhost>\""));
        let nobody = db.connect_as(dialect, "nobody", u32::MAX);
        assert!(committed(&nobody, None).contains("\"datakit <datakit@mobyproject.org>\""));
    }
    // When the Linux kernel attaches, it sends a user number but no user name.
    let root = db.connect_as(Dialect::Linux, "", 0);
    assert!(committed(&root, None).contains("\"root <root@localhost>\""));
}

fn the_author_file_sets_the_author(db: &TestDb) {
    let alice = db.connect_as(Dialect::Unix, "alice", u32::MAX);
    let transaction = alice.master().transaction();
    assert_eq!(alice.read(&transaction.path("author")), "alice <alice@localhost>\n");
    assert!(
        committed(&alice, Some("Bob B <bob@example.com>\n"))
            .contains("\"Bob B <bob@example.com>\"")
    );
    assert!(
        committed(&alice, Some("Bob B <bob@example.com> 1700000000 +0530"))
            .contains("\"Bob B <bob@example.com>\"")
    );
    let json = alice.read(&format!("commits/{}", alice.master().head()));
    assert!(json.contains("2023-11-15T03:43:20+05:30"), "{json}");
    // Write the author in multiple pieces, and then truncate the file.
    let author = alice.open(&transaction.path("author"));
    author.write(0, "Car");
    author.write(3, "ol <c@d>");
    assert_eq!(alice.read(&transaction.path("author")), "Carol <c@d>");
    alice.truncate(&transaction.path("author"), 0).unwrap();
    assert_eq!(alice.read(&transaction.path("author")), "alice <alice@localhost>\n");
}

fn an_invalid_author_is_refused(db: &TestDb) {
    let connection = db.connect();
    let transaction = connection.master().transaction();
    let author = transaction.path("author");
    connection.put(&author, "Bob <b@c>").unwrap();
    for text in
        ["nonsense\n", "nonsense", "<a@b>\n", "A\nauthor B <a@b>\n", "A <a b>\n", "A <a@b> soon\n"]
    {
        assert!(refused(connection.put(&author, text)).starts_with("invalid author "), "{text:?}");
        assert_eq!(connection.read(&author), "Bob <b@c>");
    }
    assert!(connection.put(&author, &"x".repeat(2000)).is_err());
    assert_eq!(connection.read(&author), "Bob <b@c>");
}

/// Serves a repository whose `core.logAllRefUpdates` setting is `all`.
fn logged(all: &str) -> TestDb {
    let repository = Repository::bare();
    repository.git(&["config", "core.logAllRefUpdates", all]);
    TestDb::on(repository)
}

#[test]
fn reflogs_are_written_as_git_is_configured() {
    for all in ["true", "always"] {
        let db = logged(all);
        let connection = db.connect_as(Dialect::Unix, "alice", u32::MAX);
        let (master, dev) = (connection.master(), connection.branch("dev"));
        let first = master.commit(&[("f", "1")]);
        dev.fast_forward(&first).unwrap();
        let (one, other) = (master.transaction(), master.transaction());
        one.write("a", "1");
        other.write("b", "1");
        one.commit("A subject\n\nand a body").unwrap();
        other.commit("b").unwrap();
        let git = |branch: &str| db.repository().git(&["log", "-g", "--format=%gn %gs", branch]);
        let lines = [
            "alice commit (merge): Merge",
            "alice commit: A subject",
            "alice commit (initial): a change",
        ];
        assert_eq!(git("master"), lines.join("\n"));
        assert_eq!(git("HEAD"), lines.join("\n"));
        assert_eq!(git("dev"), "datakit fast-forward");
        connection.rename("branch/dev", "new").unwrap();
        assert_eq!(
            git("new"),
            "datakit Branch: renamed refs/heads/dev to refs/heads/new\ndatakit fast-forward"
        );
        assert_eq!(db.repository().git(&["rev-parse", "new@{1}"]), first);
        connection.remove("branch/new").unwrap();
        assert!(!db.repository().git_dir().join("logs/refs/heads/new").exists());
        db.repository().git(&["fsck", "--strict"]);
    }
}

#[test]
fn a_repository_without_reflogs_gets_none() {
    for db in [logged("false"), TestDb::on(Repository::bare())] {
        let connection = db.connect();
        connection.master().commit(&[("f", "1")]);
        assert!(!db.repository().git_dir().join("logs/refs").exists());
        assert!(!db.repository().git_dir().join("logs/HEAD").exists());
    }
}
