//! Tests for repositories that outlive the server and are used by other programs.

use std::time::Instant;

use datakit_tests::TIMEOUT;
use datakit_tests::db::{Repository, TestDb};

#[test]
fn d53_a_repository_outlives_the_server() {
    let db = TestDb::git();
    let connection = db.connect();
    let head = connection.master().commit(&[("a/b", "1"), ("c", "2")]);
    drop(connection);
    let repository = db.stop();
    repository.git(&["fsck", "--strict"]);
    assert_eq!(
        repository.git(&["log", "--format=%H %an <%ae> %s", "master"]),
        format!("{head} datakit <datakit@mobyproject.org> a change")
    );
    let db = TestDb::on(repository);
    let connection = db.connect();
    let master = connection.master();
    assert_eq!((master.head(), master.read("ro/a/b")), (head, "1".to_owned()));
}

#[test]
fn d54_a_bare_repository_is_served_as_it_is() {
    let db = TestDb::on(Repository::bare());
    let head = db.connect().master().commit(&[("a", "1")]);
    assert_eq!(db.repository().git(&["rev-parse", "master"]), head);
    db.repository().git(&["fsck", "--strict"]);
}

#[test]
fn d55_commits_of_git_are_seen() {
    let db = TestDb::git();
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("a", "1")]);
    let (mut heads, mut file, mut log) =
        (master.follow("head.live"), master.watch("theirs"), master.follow("reflog"));
    assert_eq!((heads.line(), file.line()), (first.clone(), String::new()));
    log.quiet();
    let open = master.transaction();
    open.write("mine", "1");
    let repository = db.repository();
    let second = repository.commit(Some(&first), "theirs", "2");
    repository.git(&["update-ref", "refs/heads/master", &second, &first]);
    assert_eq!((master.head(), master.read("ro/theirs")), (second.clone(), "2".to_owned()));
    assert_eq!((heads.line(), log.line()), (second.clone(), second.clone()));
    assert!(file.line().starts_with("F-"));
    open.commit("mine").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "a mine theirs");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn d56_branches_that_git_creates_and_removes_are_seen() {
    let db = TestDb::git();
    let connection = db.connect();
    let master = connection.master();
    let head = master.commit(&[("a", "1")]);
    let mut heads = master.follow("head.live");
    assert_eq!(heads.line(), head);
    let repository = db.repository();
    repository.git(&["update-ref", "refs/heads/new", &head]);
    assert_eq!(connection.names("branch"), "master new");
    repository.git(&["update-ref", "-d", "refs/heads/master"]);
    assert_eq!(heads.line(), "");
}

#[test]
fn d58_two_connections_commit_to_one_branch_without_losing_an_update() {
    const EACH: usize = 25;
    let db = TestDb::git();
    std::thread::scope(|scope| {
        for client in ["a", "b"] {
            let db = &db;
            scope.spawn(move || {
                let connection = db.connect();
                let master = connection.master();
                for number in 0..EACH {
                    master.commit(&[(&format!("{client}/{number}"), "x")]);
                }
            });
        }
    });
    let connection = db.connect();
    for client in ["a", "b"] {
        assert_eq!(
            connection.names(&format!("branch/master/ro/{client}")).split(' ').count(),
            EACH
        );
    }
    db.repository().git(&["fsck", "--strict"]);
}

#[test]
fn d59_a_large_file_is_written_in_linear_time() {
    let db = TestDb::memory();
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    let piece = "x".repeat(8192);
    let halves = || {
        transaction.write("large", "");
        let open = connection.open(&transaction.rw("large"));
        let half = |from: u64| {
            let begun = Instant::now();
            (from..from + 640).for_each(|number| open.write(number * 8192, &piece));
            begun.elapsed()
        };
        (half(0), half(640))
    };
    // If appending became slower as the file grew, the second half of the appends would always take
    // about three times as long as the first.
    assert!((0..5).any(|_| matches!(halves(), (first, second) if second < first * 2)));
    transaction.commit("large").unwrap();
    assert_eq!(connection.stat("branch/master/ro/large").unwrap().len, 10 << 20);
}

#[test]
fn packed_branches_and_packed_objects_are_read() {
    let db = TestDb::git();
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("a", "1")]);
    let repository = db.repository();
    for command in [&["pack-refs", "--all"][..], &["gc", "-q", "--prune=now"]] {
        repository.git(command);
        assert_eq!(master.read("ro/a"), "1");
        master.commit(&[("a", "2")]);
        assert_eq!(connection.read(&format!("snapshots/{first}/ro/a")), "1");
        master.commit(&[("a", "1")]);
    }
    repository.git(&["pack-refs", "--all"]);
    connection.remove("branch/master").unwrap();
    assert_eq!(repository.git(&["for-each-ref"]), "");
    let begun = Instant::now();
    while db.database.counters().transactions.value() != 0 {
        assert!(begun.elapsed() < TIMEOUT);
    }
}
