//! Tests for changes made in a transaction.

use datakit_client::FileType;
use datakit_tests::db::{TestDb, UNKNOWN, refused};
use datakit_tests::on_both;

on_both! {
    d13_parents_must_be_commits,
    d14_a_branch_may_start_from_a_commit_of_another_branch,
    d15_changes_of_different_files_merge,
    d16_different_changes_of_one_file_conflict,
    d17_the_same_change_twice_is_not_a_conflict,
    d18_a_file_and_a_directory_of_one_name_conflict,
    d19_an_empty_directory_is_not_committed,
    d20_directories_that_became_empty_are_gone_after_the_commit,
    d21_creating_an_existing_file_truncates_it,
    d22_the_last_content_wins,
    d23_an_executable_stays_executable,
    d24_a_link_has_a_target,
    d25_two_fids_of_one_file_see_each_others_writes,
    d26_a_renamed_file_keeps_its_fids,
    d27_parents_are_created_unless_they_exist,
    d28_a_path_of_30_levels_works,
    d29_transactions_of_two_connections_are_independent,
    names_that_git_reserves_are_refused,
    names_that_git_reserves_on_other_platforms_are_refused,
    a_message_with_nul_is_refused,
    ctl_accepts_and_refuses_words,
}

fn d13_parents_must_be_commits(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.set_parents(&["hello"]);
    assert!(refused(transaction.ctl("commit")).starts_with("invalid-hash \"hello\""));
    transaction.set_parents(&[UNKNOWN]);
    assert_eq!(refused(transaction.ctl("commit")), "No such file or directory");
    assert!(transaction.is_open());
}

fn d14_a_branch_may_start_from_a_commit_of_another_branch(db: &TestDb) {
    let connection = db.connect();
    let head = connection.master().commit(&[("a", "1")]);
    let dev = connection.branch("dev");
    let commit = dev.change(|transaction| transaction.set_parents(&[&head]));
    assert_eq!(connection.read(&format!("snapshots/{commit}/parents")), format!("{head}\n"));
}

fn d15_changes_of_different_files_merge(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("base", "0")]);
    let (one, other) = (master.transaction(), master.transaction());
    one.write("one", "1");
    other.write("other", "2");
    one.commit("one").unwrap();
    other.commit("other").unwrap();
    let head = master.head();
    assert_eq!(connection.names("branch/master/ro"), "base one other");
    assert_eq!(connection.read(&format!("snapshots/{head}/msg")), "Merge");
    assert_eq!(connection.read(&format!("snapshots/{head}/parents")).lines().count(), 2);
}

fn d16_different_changes_of_one_file_conflict(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("f", "0")]);
    let (one, other) = (master.transaction(), master.transaction());
    one.write("f", "1");
    other.write("f", "2");
    one.commit("one").unwrap();
    let head = master.head();
    let error = refused(other.commit("other"));
    assert_eq!(error, "Merge conflict: Changed on both branches: f");
    assert_eq!((master.head(), other.read("f")), (head, "2".to_owned()));
    other.write("f", "1");
    other.commit("other").unwrap();
    assert_eq!(master.read("ro/f"), "1");
}

fn d17_the_same_change_twice_is_not_a_conflict(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("f", "0")]);
    let (one, other) = (master.transaction(), master.transaction());
    one.write("f", "1");
    other.write("f", "1");
    one.commit("one").unwrap();
    other.commit("other").unwrap();
    assert_eq!(master.read("ro/f"), "1");
}

fn d18_a_file_and_a_directory_of_one_name_conflict(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("d/y", "0")]);
    let (file, dir) = (master.transaction(), master.transaction());
    file.remove("d");
    file.write("d", "a file");
    dir.write("d/x", "1");
    file.commit("file").unwrap();
    assert_eq!(refused(dir.commit("dir")), "Merge conflict: File vs dir: d");
    assert_eq!(connection.names("branch/master/ro"), "d");
    assert_eq!(master.read("ro/d"), "a file");
}

fn d19_an_empty_directory_is_not_committed(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    connection.mkdir(&transaction.rw("d")).unwrap();
    assert_eq!(transaction.names(""), "d");
    assert_eq!(refused(connection.mkdir(&transaction.rw("d"))), "Already exists");
    transaction.commit("empty").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "");
}

fn d20_directories_that_became_empty_are_gone_after_the_commit(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("a/b/file", "1"), ("keep", "1")]);
    let transaction = master.transaction();
    transaction.make_dirs("new");
    transaction.remove("new");
    transaction.remove("a/b/file");
    assert_eq!(
        (transaction.names(""), transaction.names("a")),
        ("a keep".to_owned(), "b".to_owned())
    );
    transaction.commit("emptied").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "keep");
}

fn d21_creating_an_existing_file_truncates_it(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "long content");
    transaction.write_as("f", 0o755, "");
    assert_eq!(transaction.read("f"), "");
    assert_eq!(connection.stat(&transaction.rw("f")).unwrap().mode & 0o777, 0o755);
    transaction.make_dirs("d");
    assert_eq!(refused(connection.create(&transaction.rw("d"), 0o644, "")), "Is a directory");
}

fn d22_the_last_content_wins(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.change(|transaction| {
        transaction.write("f", "first");
        transaction.write("f", "2nd");
    });
    assert_eq!(master.read("ro/f"), "2nd");
}

fn d23_an_executable_stays_executable(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write_as("f", 0o755, "one");
    connection.put(&transaction.rw("f"), "two").unwrap();
    transaction.commit("x").unwrap();
    let mode = || connection.stat("branch/master/ro/f").unwrap().mode & 0o777;
    assert_eq!((mode(), master.read("ro/f")), (0o755, "two".to_owned()));
    master.change(|transaction| connection.chmod(&transaction.rw("f"), 0o644).unwrap());
    assert_eq!(mode(), 0o644);
}

fn d24_a_link_has_a_target(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    connection.symlink(&transaction.rw("l"), "some/where").unwrap();
    let stat = connection.stat(&transaction.rw("l")).unwrap();
    assert_eq!(
        (stat.kind, stat.target.unwrap().to_string()),
        (FileType::Symlink, "some/where".to_owned())
    );
    transaction.commit("link").unwrap();
    assert_eq!(connection.stat("branch/master/ro/l").unwrap().kind, FileType::Symlink);
    master.change(|transaction| connection.chmod(&transaction.rw("l"), 0o644).unwrap());
    assert_eq!(connection.stat("branch/master/ro/l").unwrap().kind, FileType::File);
    assert_eq!(master.read("ro/l"), "some/where");
}

fn d25_two_fids_of_one_file_see_each_others_writes(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "");
    let (a, b) = (connection.open(&transaction.rw("f")), connection.open(&transaction.rw("f")));
    a.write(0, "hello");
    b.write(1, "i");
    a.write(5, "!");
    assert_eq!(
        (a.read(), b.read(), transaction.read("f")),
        ("hillo!".into(), "hillo!".into(), "hillo!".to_owned())
    );
}

fn d26_a_renamed_file_keeps_its_fids(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("d/old", "content");
    let open = connection.open(&transaction.rw("d/old"));
    let before = connection.stat(&transaction.rw("d/old")).unwrap().qid;
    connection.rename(&transaction.rw("d/old"), "new").unwrap();
    assert_eq!((transaction.names("d"), open.read()), ("new".to_owned(), "content".to_owned()));
    transaction.write("d/old", "another");
    assert_ne!(connection.stat(&transaction.rw("d/old")).unwrap().qid.path, before.path);
    assert_eq!(connection.stat(&transaction.rw("d/new")).unwrap().qid.path, before.path);
    open.write(0, "C");
    assert_eq!(
        (transaction.read("d/new"), transaction.read("d/old")),
        ("Content".to_owned(), "another".to_owned())
    );
    connection.rename(&transaction.rw("d"), "e").unwrap();
    assert_eq!((open.read(), transaction.names("")), ("Content".to_owned(), "e".to_owned()));
}

fn d27_parents_are_created_unless_they_exist(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    for path in ["foo/bar/baz", "foo/bar/baz", "foo/bar/other"] {
        transaction.make_dirs(path);
    }
    assert_eq!(connection.stat(&transaction.rw("foo/bar/baz")).unwrap().kind, FileType::Dir);
}

fn d28_a_path_of_30_levels_works(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let path = format!("{}leaf", "d/".repeat(30));
    master.commit(&[(&path, "deep")]);
    assert_eq!(master.read(&format!("ro/{path}")), "deep");
}

fn d29_transactions_of_two_connections_are_independent(db: &TestDb) {
    let (a, b) = (db.connect(), db.connect());
    let (at_a, at_b) = (a.master(), b.master());
    let (one, other) = (at_a.begin("t").unwrap(), at_b.begin("t").unwrap());
    one.write("f", "1");
    assert_eq!(other.names(""), "");
    one.ctl("close").unwrap();
    assert!(other.is_open());
}

fn names_that_git_reserves_are_refused(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    for name in [".git", ".GIT", "git~1"] {
        let error = refused(connection.create(&transaction.rw(name), 0o644, ""));
        assert_eq!(error, format!("invalid name {name:?}: Git does not allow it in a tree"));
        assert!(connection.mkdir(&transaction.rw(name)).is_err());
    }
    transaction.write("f", "");
    assert!(connection.rename(&transaction.rw("f"), ".git").is_err());
    transaction.write(&"n".repeat(255), "");
    transaction.commit("a long name").unwrap();
}

fn names_that_git_reserves_on_other_platforms_are_refused(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "");
    connection.symlink(&transaction.rw("link"), "f").unwrap();
    let names = [
        ".git\\config",
        "x\\.git",
        "a\\git~1",
        ".git::$INDEX_ALLOCATION",
        ".git. .",
        ".g\u{200c}it",
        "GIT~1 ",
    ];
    for name in names {
        let expected = format!("invalid name {name:?}: Git does not allow it in a tree");
        for refusal in [
            connection.create(&transaction.rw(name), 0o644, ""),
            connection.mkdir(&transaction.rw(name)),
            connection.symlink(&transaction.rw(name), "f"),
            connection.rename(&transaction.rw("f"), name),
        ] {
            assert_eq!(refused(refusal), expected);
        }
    }
    for name in [".gitmodules", ".gitattributes", ".gitignore", ".mailmap", "gitmod~1"] {
        let expected = format!("invalid name {name:?}: Git does not allow it in a tree");
        assert_eq!(refused(connection.symlink(&transaction.rw(name), "f")), expected);
        assert_eq!(refused(connection.rename(&transaction.rw("link"), name)), expected);
    }
    for name in [".gitmodules", ".gitattributes"] {
        assert!(connection.mkdir(&transaction.rw(name)).is_err());
        connection.create(&transaction.rw(name), 0o644, "").unwrap();
    }
    // The server accepts these names because Git accepts them.
    for name in ["a\\b", ".gitignore", "git~2", ".gitx", "con"] {
        connection.create(&transaction.rw(name), 0o644, "").unwrap();
    }
    transaction.commit("odd").unwrap();
}

fn a_message_with_nul_is_refused(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("f", "");
    let refusal = refused(transaction.commit("a\0b"));
    assert_eq!(refusal, "commit message contains a NUL byte at offset 1");
    assert!(transaction.is_open() && master.head().is_empty());
    transaction.commit("a b").unwrap();
}

fn ctl_accepts_and_refuses_words(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let (one, other) = (master.transaction(), master.transaction());
    one.write("a", "1");
    other.write("b", "1");
    let ctl = connection.open(&one.path("ctl"));
    ctl.write(0, "commit id");
    assert_eq!(ctl.read(), format!("{}\n", master.head()));
    assert_eq!(refused(other.ctl("commit ff-only")), "not-fast-forward");
    other.ctl("commit").unwrap();
    let head = master.head();
    let same = master.transaction();
    same.ctl("commit if-changed").unwrap();
    assert_eq!(master.head(), head);
    let back = master.transaction();
    back.set_parents(&[&first]);
    back.ctl("reset").unwrap();
    assert_eq!(back.names(""), "f");
}
