//! Tests for `commit ff-only` (a compare-and-swap of the head) and for plain `commit` (which
//! merges).

use datakit_tests::db::{Repository, TestDb, refused};
use datakit_tests::on_both;

on_both! {
    ff_only_succeeds_once_for_equal_commits,
    ff_only_succeeds_once_for_a_new_branch,
    ff_only_counts_every_success,
    ff_only_fails_after_the_branch_was_removed,
    ff_only_fails_after_the_branch_was_recreated,
    ff_only_after_a_reset_starts_from_the_parent,
    ff_only_with_a_merge_starts_from_the_start_of_the_transaction,
    ff_only_never_drops_the_head,
    ff_only_of_an_unchanged_tree_fails_after_the_branch_moved,
    fast_forward_fails_after_the_branch_moved,
    a_plain_commit_does_not_restore_a_removed_branch,
    a_plain_commit_creates_a_missing_branch,
}

/// Returns how many results are `Ok`. All other results must be `not-fast-forward` errors.
fn successes<X>(results: impl IntoIterator<Item = datakit_client::Result<X>>) -> usize {
    let refusals = results.into_iter().map(|result| result.map_err(|error| error.to_string()));
    refusals
        .filter(|result| {
            result.as_ref().map_err(|text| assert_eq!(text, "not-fast-forward")).is_ok()
        })
        .count()
}

fn ff_only_succeeds_once_for_equal_commits(db: &TestDb) {
    let connections: Vec<_> = (0..8).map(|_| db.connect()).collect();
    connections[0].master().commit(&[("n", "0")]);
    // Commit times have a resolution of one second, so commits from multiple rounds have the same
    // time.
    for round in 0..4 {
        let branches: Vec<_> = connections.iter().map(|connection| connection.master()).collect();
        let transactions: Vec<_> = branches.iter().map(|branch| branch.transaction()).collect();
        transactions
            .iter()
            .for_each(|transaction| transaction.write("n", &format!("{round} more")));
        assert_eq!(
            successes(transactions.iter().map(|transaction| transaction.ctl("commit ff-only"))),
            1
        );
    }
}

fn ff_only_succeeds_once_for_a_new_branch(db: &TestDb) {
    let connection = db.connect();
    let branch = connection.branch("new");
    let transactions: Vec<_> = (0..4).map(|_| branch.transaction()).collect();
    transactions.iter().for_each(|transaction| transaction.write("f", "1"));
    assert_eq!(
        successes(transactions.iter().map(|transaction| transaction.ctl("commit ff-only"))),
        1
    );
}

fn ff_only_counts_every_success(db: &TestDb) {
    const CLIENTS: u32 = 4;
    const TO: u32 = 200;
    db.connect().master().commit(&[("n", "0")]);
    let count = || {
        let connection = db.connect();
        let master = connection.master();
        let mut successes = 0;
        loop {
            let transaction = master.transaction();
            let n: u32 = transaction.read("n").parse().unwrap();
            if n >= TO {
                return successes;
            }
            transaction.write("n", &(n + 1).to_string());
            match transaction.ctl("commit ff-only") {
                Ok(()) => successes += 1,
                Err(error) => {
                    assert_eq!(error.to_string(), "not-fast-forward");
                    transaction.ctl("close").unwrap();
                }
            }
        }
    };
    let successes: u32 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(count)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(db.connect().master().read("ro/n"), successes.to_string());
    assert_eq!(successes, TO);
}

fn ff_only_fails_after_the_branch_was_removed(db: &TestDb) {
    let connection = db.connect();
    let head = connection.master().commit(&[("f", "1")]);
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "2");
    db.connect().remove("branch/master").unwrap();
    assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    let reason = connection.read(&transaction.path("ctl"));
    assert_eq!(reason, format!("not-fast-forward: branch master moved from {head} to no commit\n"));
    assert_eq!(connection.master().head(), "");
}

fn ff_only_fails_after_the_branch_was_recreated(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let absent = master.transaction();
    absent.write("f", "0");
    let head = master.commit(&[("f", "1")]);
    let before = master.transaction();
    before.write("f", "2");
    db.connect().remove("branch/master").unwrap();
    let again = connection.master().commit(&[("f", "other")]);
    assert_ne!(again, head);
    for transaction in [absent, before] {
        assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    }
    assert_eq!(connection.master().head(), again);
}

fn ff_only_after_a_reset_starts_from_the_parent(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("f", "1")]);
    let transaction = master.transaction();
    let head = master.commit(&[("g", "1")]);
    transaction.write("f", "2");
    assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    // Setting the parents does not change the commit from which the transaction started.
    transaction.set_parents(&[&head]);
    assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    transaction.ctl("reset").unwrap();
    assert_eq!(transaction.names(""), "f g");
    transaction.write("f", "2");
    transaction.ctl("commit ff-only").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "f g");
}

fn ff_only_with_a_merge_starts_from_the_start_of_the_transaction(db: &TestDb) {
    let connection = db.connect();
    let (master, dev) = (connection.master(), connection.branch("dev"));
    let head = master.commit(&[("f", "1")]);
    dev.fast_forward(&head).unwrap();
    let theirs = dev.commit(&[("theirs", "1")]);
    let (one, other) = (master.transaction(), master.transaction());
    for transaction in [&one, &other] {
        assert_eq!(transaction.merge(&theirs).unwrap(), "");
    }
    one.ctl("commit ff-only").unwrap();
    assert_eq!(refused(other.ctl("commit ff-only")), "not-fast-forward");
    let moved = master.transaction();
    let late = master.commit(&[("late", "1")]);
    moved.merge(&late).unwrap();
    assert_eq!(refused(moved.ctl("commit ff-only")), "not-fast-forward");
    moved.ctl("commit").unwrap();
}

fn ff_only_never_drops_the_head(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let head = master.commit(&[("f", "2")]);
    for parents in [&[][..], &[&*first]] {
        let transaction = master.transaction();
        transaction.set_parents(parents);
        transaction.write("f", "3");
        assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
        let reason = connection.read(&transaction.path("ctl"));
        assert!(reason.contains(&format!("no parent descends from {head}")), "{reason}");
    }
    assert_eq!(master.head(), head);
}

fn ff_only_of_an_unchanged_tree_fails_after_the_branch_moved(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let head = master.commit(&[("f", "1")]);
    let (one, other) = (master.transaction(), master.transaction());
    one.ctl("commit ff-only if-changed").unwrap();
    assert_eq!(master.head(), head);
    master.commit(&[("f", "2")]);
    assert_eq!(refused(other.ctl("commit if-changed ff-only")), "not-fast-forward");
}

fn fast_forward_fails_after_the_branch_moved(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let head = master.commit(&[("f", "2")]);
    assert_eq!(refused(master.fast_forward(&first)), "not-fast-forward");
    let reason = connection.read(&master.path("fast-forward"));
    assert_eq!(
        reason,
        format!(
            "not-fast-forward: branch master is at {head}, which is not an ancestor of {first}\n"
        )
    );
    master.fast_forward(&head).unwrap();
    assert_eq!(connection.read(&master.path("fast-forward")), "");
}

fn a_plain_commit_does_not_restore_a_removed_branch(db: &TestDb) {
    let connection = db.connect();
    let head = connection.master().commit(&[("f", "1")]);
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("g", "1");
    db.connect().remove("branch/master").unwrap();
    let master = connection.master();
    assert_eq!(
        refused(transaction.ctl("commit")),
        format!("branch was removed while the transaction was open; its head was {head}")
    );
    assert_eq!((master.head(), transaction.read("g")), (String::new(), "1".to_owned()));
    // A transaction without parents can recreate the removed branch.
    transaction.set_parents(&[]);
    transaction.ctl("commit").unwrap();
    assert_eq!(connection.read(&format!("snapshots/{}/parents", master.head())), "");
}

fn a_plain_commit_creates_a_missing_branch(db: &TestDb) {
    let connection = db.connect();
    let head = connection.master().commit(&[("f", "1")]);
    let dev = connection.branch("dev");
    for word in ["commit", "commit ff-only"] {
        let transaction = dev.transaction();
        let at = dev.head();
        transaction.set_parents(&[if at.is_empty() { &head } else { &at }]);
        transaction.ctl(word).unwrap();
    }
}

#[test]
fn ff_only_fails_after_git_rewound_the_branch() {
    let db = TestDb::on(Repository::bare());
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let removed = master.commit(&[("f", "2")]);
    let transaction = master.transaction();
    transaction.write("g", "1");
    db.repository().git(&["update-ref", "refs/heads/master", &first]);
    assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    let reason = connection.read(&transaction.path("ctl"));
    assert_eq!(
        reason,
        format!("not-fast-forward: branch master moved from {removed} to {first}\n")
    );
    db.repository().git(&["update-ref", "-d", "refs/heads/master"]);
    assert_eq!(refused(transaction.ctl("commit ff-only")), "not-fast-forward");
    assert!(refused(transaction.ctl("commit")).starts_with("branch was removed"));
    assert_eq!(db.repository().git(&["for-each-ref"]), "");
    // Once the branch has been restored to its old head, the commit succeeds, even if the branch is
    // stored in `packed-refs`.
    db.repository().git(&["update-ref", "refs/heads/master", &removed]);
    db.repository().git(&["pack-refs", "--all"]);
    transaction.ctl("commit ff-only").unwrap();
}

#[test]
fn ff_only_and_git_never_both_move_a_branch() {
    const TIMES: usize = 40;
    let db = TestDb::on(Repository::bare());
    let connection = db.connect();
    let mut head = connection.master().commit(&[("f", "0")]);
    let master = connection.master();
    for time in 0..TIMES {
        let by_git = db.repository().commit(Some(&head), "by-git", &time.to_string());
        let transaction = master.transaction();
        transaction.write("f", &format!("{time} ours"));
        let (git, ours) = std::thread::scope(|scope| {
            let git = scope.spawn(|| {
                db.repository().try_git(&["update-ref", "refs/heads/master", &by_git, &head]).0
            });
            let ours = transaction.ctl("commit ff-only");
            (git.join().unwrap(), ours)
        });
        let now = master.head();
        match (git, ours) {
            (true, Err(_)) => assert_eq!(now, by_git),
            (false, Ok(())) => assert_eq!(
                connection.read(&format!("snapshots/{now}/parents")),
                format!("{head}\n")
            ),
            other => panic!("both or none: {other:?}"),
        }
        head = now;
    }
}
