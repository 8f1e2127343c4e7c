//! Tests for the root directory and for branches.

use datakit_tests::db::{TestDb, UNKNOWN, refused};
use datakit_tests::on_both;

on_both! {
    d1_the_root_has_six_names,
    d2_mkdir_creates_a_branch_for_this_connection_only,
    d3_commits_a_transaction,
    d4_a_second_commit_has_the_first_as_its_parent,
    d5_a_commit_without_a_message_gets_a_default_message,
    d6_a_commit_without_changes_moves_the_head,
    d7_close_ends_a_transaction,
    d8_the_name_of_a_transaction_is_used_once,
    d9_removing_a_branch_removes_its_ref,
    d10_a_rename_onto_a_branch_is_refused,
    d11_a_branch_is_only_fast_forwarded,
    d12_an_invalid_name_is_refused_at_once,
    a_renamed_branch_keeps_its_history,
    a_slash_in_a_name_is_escaped,
    the_error_names_the_conflicting_branch,
    a_branch_can_be_renamed_below_its_own_name_and_back,
    head_is_not_a_valid_branch_name,
}

fn d1_the_root_has_six_names(db: &TestDb) {
    assert_eq!(db.connect().names("/"), "branch commits debug remotes snapshots trees");
}

fn d2_mkdir_creates_a_branch_for_this_connection_only(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    assert_eq!(
        (connection.names("branch"), master.read("head")),
        ("master".to_owned(), "\n".to_owned())
    );
    connection.mkdir("branch/master").unwrap();
    assert_eq!(db.connect().names("branch"), "");
    assert_eq!(db.database.heads().unwrap(), []);
    assert_eq!(
        connection.names("branch/master"),
        "diff fast-forward head head.live log reflog ro transactions watch"
    );
}

fn d3_commits_a_transaction(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    assert_eq!(connection.read(&transaction.path("parents")), "");
    transaction.write("src/Makefile", "all: build test");
    connection.put(&transaction.path("msg"), "My commit").unwrap();
    transaction.ctl("commit\n").unwrap();
    assert_eq!(connection.stat("branch/master/ro/src/Makefile").unwrap().len, 15);
    assert_eq!(connection.read(&format!("snapshots/{}/msg", master.head())), "My commit");
    assert!(!transaction.is_open());
}

fn d4_a_second_commit_has_the_first_as_its_parent(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("a", "1")]);
    let second = master.commit(&[("a", "2")]);
    assert_eq!(connection.read(&format!("snapshots/{second}/parents")), format!("{first}\n"));
}

fn d5_a_commit_without_a_message_gets_a_default_message(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("a", "");
    transaction.commit("").unwrap();
    assert_eq!(connection.read(&format!("snapshots/{}/msg", master.head())), "(no commit message)");
}

fn d6_a_commit_without_changes_moves_the_head(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("a", "1")]);
    let (mut heads, mut tree) = (master.follow("head.live"), master.watch(""));
    assert_eq!(heads.line(), first);
    tree.line();
    let second = master.change(|_| {});
    assert_ne!(first, second);
    assert_eq!(heads.line(), second);
    tree.quiet();
}

fn d7_close_ends_a_transaction(db: &TestDb) {
    let master = db.connect();
    let master = master.master();
    let transaction = master.transaction();
    transaction.write("a", "1");
    assert_eq!(refused(transaction.ctl("x")), "Unknown command \"x\"");
    assert!(transaction.is_open());
    transaction.ctl("close").unwrap();
    assert!(!transaction.is_open() && master.head().is_empty());
}

fn d8_the_name_of_a_transaction_is_used_once(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let _open = master.begin("t").unwrap();
    assert_eq!(refused(connection.mkdir("branch/master/transactions/t")), "Already exists");
    assert_eq!(
        refused(connection.create("branch/master/transactions/f", 0o644, "")),
        "Can only contain directories"
    );
    assert_eq!(connection.names("branch/master/transactions"), "t");
}

fn d9_removing_a_branch_removes_its_ref(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let head = master.commit(&[("a", "1")]);
    let mut heads = master.follow("head.live");
    assert_eq!(heads.line(), head);
    db.connect().remove("branch/master").unwrap();
    assert_eq!(heads.line(), "");
    assert_eq!(db.database.heads().unwrap(), []);
}

fn d10_a_rename_onto_a_branch_is_refused(db: &TestDb) {
    let connection = db.connect();
    let (a, b) = (connection.branch("a"), connection.branch("b"));
    let (at_a, at_b) = (a.commit(&[("x", "1")]), b.commit(&[("x", "2")]));
    assert_eq!(refused(connection.rename("branch/a", "b")), "Is a directory");
    assert_eq!((a.head(), b.head()), (at_a, at_b));
}

fn d11_a_branch_is_only_fast_forwarded(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let (first, second) = (master.commit(&[("a", "1")]), master.commit(&[("a", "2")]));
    let dev = connection.branch("dev");
    dev.fast_forward(&first).unwrap();
    dev.fast_forward(&first).unwrap();
    assert_eq!(dev.head(), first);
    dev.fast_forward(&format!("{second}\n")).unwrap();
    assert_eq!(refused(dev.fast_forward(&first)), "not-fast-forward");
    assert_eq!(refused(dev.fast_forward(UNKNOWN)), "No such file or directory");
    assert!(refused(dev.fast_forward("hello")).starts_with("invalid-hash \"hello\""));
    assert_eq!(dev.head(), second);
}

fn d12_an_invalid_name_is_refused_at_once(db: &TestDb) {
    let connection = db.connect();
    for name in ["a b", "x..y"] {
        let error = refused(connection.mkdir(&format!("branch/{name}")));
        assert!(error.starts_with(&format!("invalid branch name {name:?}: ")), "{error}");
    }
    assert_eq!(connection.names("branch"), "");
}

fn a_renamed_branch_keeps_its_history(db: &TestDb) {
    let connection = db.connect();
    let old = connection.branch("old");
    let head = old.commit(&[("a", "1")]);
    let before = connection.stat("branch/old").unwrap().qid;
    connection.rename("branch/old", "new").unwrap();
    assert_eq!(
        (connection.names("branch"), connection.stat("branch/new").unwrap().qid),
        ("new".to_owned(), before)
    );
    let new = connection.branch("new");
    assert_eq!((new.head(), new.read("ro/a")), (head.clone(), "1".to_owned()));
    assert_ne!(new.commit(&[("a", "2")]), head);
    assert_eq!(db.connect().names("branch"), "new");
}

fn a_slash_in_a_name_is_escaped(db: &TestDb) {
    let connection = db.connect();
    let branch = connection.branch("feature%2Fx");
    branch.commit(&[("a", "1")]);
    let heads = db.database.heads().unwrap();
    assert_eq!(heads[0].0.to_string(), "feature/x");
    assert_eq!(db.connect().names("branch"), "feature%2Fx");
}

fn the_error_names_the_conflicting_branch(db: &TestDb) {
    let connection = db.connect();
    // Create both branch directories before either branch exists in the repository.
    let (a, below) = (connection.branch("a"), connection.branch("a%2Fb"));
    let head = a.commit(&[("x", "1")]);
    let transaction = below.transaction();
    transaction.write("x", "2");
    assert_eq!(
        refused(transaction.commit("")),
        "cannot create branch \"a/b\": branch \"a\" exists"
    );
    assert_eq!(
        refused(below.fast_forward(&head)),
        "cannot create branch \"a/b\": branch \"a\" exists"
    );
    let other = db.connect();
    assert_eq!(
        refused(other.mkdir("branch/a%2Fb")),
        "cannot create branch \"a/b\": branch \"a\" exists"
    );
    other.branch("c").fast_forward(&head).unwrap();
    assert_eq!(
        refused(other.rename("branch/c", "a%2Fb%2Fc")),
        "cannot create branch \"a/b/c\": branch \"a\" exists"
    );
    assert_eq!(db.connect().names("branch"), "a c");
}

fn a_branch_can_be_renamed_below_its_own_name_and_back(db: &TestDb) {
    let connection = db.connect();
    let head = connection.branch("a").commit(&[("x", "1")]);
    for (old, new) in [("a", "a%2Fb"), ("a%2Fb", "a"), ("a", "a%2Fb%2Fc"), ("a%2Fb%2Fc", "a%2Fb")] {
        connection.rename(&format!("branch/{old}"), new).unwrap();
        let other = db.connect();
        assert_eq!(
            (other.names("branch"), other.read(&format!("branch/{new}/head"))),
            (new.to_owned(), format!("{head}\n"))
        );
    }
    assert_eq!(
        refused(db.connect().mkdir("branch/a")),
        "cannot create branch \"a\": branch \"a/b\" exists"
    );
}

fn head_is_not_a_valid_branch_name(db: &TestDb) {
    let connection = db.connect();
    assert!(refused(connection.mkdir("branch/HEAD")).starts_with("invalid branch name \"HEAD\""));
    connection.branch("a").commit(&[("x", "1")]);
    assert!(
        refused(connection.rename("branch/a", "HEAD")).starts_with("invalid branch name \"HEAD\"")
    );
    assert_eq!(connection.names("branch"), "a");
}
