//! Tests for merges within a transaction.

use datakit_tests::db::{Branch, Connection, TestDb, UNKNOWN, refused};
use datakit_tests::on_both;

on_both! {
    d30_merges_a_branch_into_a_transaction,
    d31_an_unknown_commit_cannot_be_merged,
    d32_a_merge_adds_ours_theirs_base_and_conflicts,
    d33_unrelated_histories_merge_with_an_empty_base,
    d34_a_removal_conflicts_with_a_change,
    d35_a_conflict_is_resolved_by_writing_or_removing_its_file,
    d36_several_merges_go_into_one_commit,
    d37_a_conflict_follows_its_renamed_file,
    d38_criss_cross_histories_merge,
}

/// Creates the `master` branch with `files`, and the `pr` branch with the same head.
fn forked<'c>(connection: &'c Connection, files: &[(&str, &str)]) -> (Branch<'c>, Branch<'c>) {
    let master = connection.master();
    let head = master.commit(files);
    let pr = connection.branch("pr");
    pr.fast_forward(&head).unwrap();
    (master, pr)
}

fn d30_merges_a_branch_into_a_transaction(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("file", "0")]);
    let (old, theirs) = (master.head(), pr.commit(&[("file", "1")]));
    let transaction = master.transaction();
    transaction.write("mine", "m");
    assert_eq!(transaction.merge(&theirs).unwrap(), "");
    let read = |path: &str| connection.read(&transaction.path(path));
    assert_eq!(
        (read("ours/mine"), read("theirs/file"), read("base/file")),
        ("m".into(), "1".into(), "0".into())
    );
    transaction.commit("merged").unwrap();
    let parents = connection.read(&format!("snapshots/{}/parents", master.head()));
    assert_eq!(parents, format!("{old}\n{theirs}\n"));
    assert_eq!(master.read("ro/file"), "1");
}

fn d31_an_unknown_commit_cannot_be_merged(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "1");
    assert_eq!(refused(transaction.merge(UNKNOWN)), "No such file or directory");
    assert_eq!(
        (transaction.read("f"), connection.read(&transaction.path("parents"))),
        ("1".into(), String::new())
    );
    assert!(connection.stat(&transaction.path("conflicts")).is_err());
}

fn d32_a_merge_adds_ours_theirs_base_and_conflicts(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("file", "0")]);
    let theirs = pr.commit(&[("file", "1")]);
    let transaction = master.transaction();
    let names = || connection.names(transaction.path("").trim_end_matches('/'));
    assert_eq!(names(), "author ctl diff merge msg origin parents rw");
    transaction.merge(&theirs).unwrap();
    assert_eq!(names(), "author base conflicts ctl diff merge msg origin ours parents rw theirs");
}

fn d33_unrelated_histories_merge_with_an_empty_base(db: &TestDb) {
    let connection = db.connect();
    let (master, other) = (connection.master(), connection.branch("other"));
    master.commit(&[("same", "1"), ("differs", "1")]);
    let theirs = other.commit(&[("same", "1"), ("differs", "2")]);
    let transaction = master.transaction();
    assert_eq!(transaction.merge(&theirs).unwrap(), "differs");
    assert_eq!(
        transaction.read("differs"),
        "** Conflict **\ndefault: add/add and no common ancestor\n"
    );
    assert_eq!(connection.names(&transaction.path("base")), "");
}

fn d34_a_removal_conflicts_with_a_change(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("gone", "0"), ("edited", "0"), ("keep", "0")]);
    let theirs = pr.change(|transaction| {
        transaction.remove("gone");
        transaction.remove("edited");
    });
    let transaction = master.transaction();
    transaction.write("edited", "1");
    assert_eq!(transaction.merge(&theirs).unwrap(), "edited");
    assert_eq!(transaction.names(""), "edited keep");
    assert_eq!(transaction.read("edited"), "** Conflict **\noption: add/del\n");
}

fn d35_a_conflict_is_resolved_by_writing_or_removing_its_file(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("a", "0"), ("b", "0"), ("c", "0")]);
    let theirs = pr.commit(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let transaction = master.transaction();
    for file in ["a", "b", "c"] {
        transaction.write(file, "2");
    }
    assert_eq!(transaction.merge(&theirs).unwrap(), "a b c");
    connection.put(&transaction.rw("a"), "3").unwrap();
    transaction.remove("b");
    connection.chmod(&transaction.rw("c"), 0o755).unwrap();
    assert_eq!(transaction.conflicts(), "c");
    assert_eq!(refused(transaction.ctl("commit")), "conflicts file is not empty");
    transaction.write("c", "3");
    transaction.commit("resolved").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "a c");
}

fn d36_several_merges_go_into_one_commit(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("f", "0")]);
    let third = connection.branch("third");
    third.fast_forward(&master.head()).unwrap();
    let (theirs, more) = (pr.commit(&[("f", "1")]), third.commit(&[("g", "1")]));
    let transaction = master.transaction();
    transaction.write("f", "2");
    assert_eq!(transaction.merge(&theirs).unwrap(), "f");
    assert_eq!(refused(transaction.merge(&more)), "conflicts file is not empty");
    transaction.write("f", "3");
    assert_eq!(transaction.merge(&more).unwrap(), "");
    transaction.commit("both").unwrap();
    assert_eq!(connection.read(&format!("snapshots/{}/parents", master.head())).lines().count(), 3);
}

fn d37_a_conflict_follows_its_renamed_file(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("f", "0")]);
    let theirs = pr.commit(&[("f", "1")]);
    let transaction = master.transaction();
    transaction.write("f", "2");
    assert_eq!(transaction.merge(&theirs).unwrap(), "f");
    connection.rename(&transaction.rw("f"), "moved").unwrap();
    assert_eq!(transaction.conflicts(), "moved");
}

fn d38_criss_cross_histories_merge(db: &TestDb) {
    let connection = db.connect();
    let (master, pr) = forked(&connection, &[("f", "0")]);
    let (ours, theirs) = (master.commit(&[("a", "1")]), pr.commit(&[("b", "1")]));
    let merge = |branch: &Branch<'_>, other: &str| {
        branch.change(|transaction| assert_eq!(transaction.merge(other).unwrap(), ""))
    };
    merge(&master, &theirs);
    merge(&pr, &ours);
    master.commit(&[("f", "1")]);
    let theirs = pr.commit(&[("c", "1")]);
    merge(&master, &theirs);
    assert_eq!(connection.names("branch/master/ro"), "a b c f");
    assert_eq!(master.read("ro/f"), "1");
}
