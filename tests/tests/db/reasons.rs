//! Tests for command files. After a command fails, the command file contains the reason.

use datakit_core::wire::Dialect;
use datakit_tests::db::{TestDb, UNKNOWN, refused};
use datakit_tests::on_both;

on_both! {
    a_refused_commit_gives_its_reason_in_every_dialect,
    every_conflicting_path_is_listed,
    every_command_file_gives_the_reason_of_a_failure,
}

const DIALECTS: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];

fn a_refused_commit_gives_its_reason_in_every_dialect(db: &TestDb) {
    for (number, dialect) in DIALECTS.into_iter().enumerate() {
        let connection = db.connect_in(dialect);
        let branch = connection.branch(&format!("b{number}"));
        let first = branch.commit(&[("a", "0"), ("d/b", "0")]);
        let (one, other) = (branch.transaction(), branch.transaction());
        for (transaction, text) in [(&one, "1"), (&other, "2")] {
            transaction.write("a", text);
            transaction.write("d/b", text);
        }
        one.commit("one").unwrap();
        let head = branch.head();
        assert!(connection.try_read(&other.path("conflicts")).is_err());
        assert!(other.commit("other").is_err());
        let reason = format!(
            "branch b{number} moved from {first} to {head}\nMerge conflict: Changed on both branches: a\n\
             Merge conflict: Changed on both branches: d/b\n"
        );
        // Clients can read the reason more than once.
        for _ in 0..2 {
            assert_eq!(connection.read(&other.path("ctl")), reason);
        }
        assert_eq!(connection.stat(&other.path("ctl")).unwrap().len, reason.len() as u64);
        assert_eq!(connection.read(&other.path("conflicts")), "a\nd/b\n");
        other.write("a", "1");
        assert_eq!(other.conflicts(), "d/b");
        assert!(other.ctl("nonsense").is_err());
        assert_eq!(connection.read(&other.path("ctl")), "Unknown command \"nonsense\"\n");
        other.write("d/b", "1");
        assert_eq!(other.conflicts(), "");
        other.ctl("commit").unwrap();
    }
}

fn every_conflicting_path_is_listed(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let paths: Vec<_> = (0..100).map(|n| format!("{}{n:03}", "long".repeat(20))).collect();
    let files = |text| paths.iter().map(|path| (path.as_str(), text)).collect::<Vec<_>>();
    master.commit(&files("0"));
    let transaction = master.transaction();
    files("2").iter().for_each(|(path, text)| transaction.write(path, text));
    master.commit(&files("1"));
    assert!(refused(transaction.ctl("commit")).starts_with("Merge conflict: "));
    assert_eq!(transaction.conflicts(), paths.join(" "));
    let reason = connection.read(&transaction.path("ctl"));
    assert_eq!(
        reason.lines().filter(|line| line.starts_with("Merge conflict: ")).count(),
        paths.len()
    );
}

fn every_command_file_gives_the_reason_of_a_failure(db: &TestDb) {
    for dialect in DIALECTS {
        let connection = db.connect_in(dialect);
        let master = connection.master();
        let transaction = master.transaction();
        let says = |path: &str, word: &str, reason: &str| {
            assert!(connection.put(path, word).is_err(), "{path} {word}");
            assert_eq!(connection.read(path), reason, "{path} {word}");
        };
        let unknown = "No such file or directory\n";
        says(&transaction.path("merge"), UNKNOWN, unknown);
        says(&master.path("fast-forward"), UNKNOWN, unknown);
        connection.mkdir("remotes/r").unwrap();
        says("remotes/r/fetch", "master", "error: remote url is not defined\n");
        connection.put("remotes/r/url", "/nowhere/at/all").unwrap();
        assert!(connection.put("remotes/r/fetch", "master").is_err());
        let reason = connection.read("remotes/r/fetch");
        assert!(reason.starts_with("error: cannot fetch /nowhere/at/all: "), "{reason}");
        transaction.set_parents(&["x"]);
        assert!(transaction.ctl("commit").is_err());
        assert!(connection.read(&transaction.path("ctl")).starts_with("invalid-hash \"x\""));
        transaction.ctl("close").unwrap();
        connection.remove("remotes/r").unwrap();
    }
}
