//! Tests for objects that another program has removed from the repository. New commits must not
//! refer to the removed objects.

use std::time::{Duration, UNIX_EPOCH};

use datakit_tests::db::{Repository, TestDb, UNKNOWN, refused};

/// Serves a repository and returns a commit that `git` pruned after the server had read it. If
/// `packed` is set, the commit was stored in a pack; otherwise, it was a loose object.
fn with_pruned(packed: bool) -> (TestDb, String) {
    let db = TestDb::on(Repository::bare());
    let repository = db.repository();
    let first = repository.commit(None, "f", "1");
    repository.git(&["update-ref", "refs/heads/master", &first]);
    let gone = repository.commit(Some(&first), "g", "gone");
    repository.git(&["update-ref", "refs/heads/gone", &gone]);
    if packed {
        repository.git(&["repack", "-adq"]);
    }
    let connection = db.connect();
    assert_eq!(connection.read(&format!("snapshots/{gone}/ro/g")), "gone");
    assert_eq!(connection.read("branch/gone/ro/g"), "gone");
    repository.git(&["update-ref", "-d", "refs/heads/gone"]);
    repository.git(&["repack", "-adq"]);
    repository.git(&["prune", "--expire=now"]);
    assert!(!repository.try_git(&["cat-file", "-e", &gone]).0);
    (db, gone)
}

#[test]
fn no_branch_moves_to_a_pruned_commit() {
    for packed in [false, true] {
        let (db, gone) = with_pruned(packed);
        let connection = db.connect();
        for branch in ["master", "new"] {
            assert_eq!(
                refused(connection.branch(branch).fast_forward(&gone)),
                "No such file or directory"
            );
        }
        assert_eq!(
            refused(connection.branch("new").fast_forward(UNKNOWN)),
            "No such file or directory"
        );
        db.repository().git(&["fsck", "--strict"]);
        db.repository().git(&["gc", "-q"]);
    }
}

#[test]
fn no_commit_has_a_pruned_parent() {
    for packed in [false, true] {
        let (db, gone) = with_pruned(packed);
        let connection = db.connect();
        let master = connection.master();
        let transaction = master.transaction();
        transaction.write("h", "1");
        transaction.set_parents(&[&master.head(), &gone]);
        assert_eq!(refused(transaction.commit("m")), "No such file or directory");
        transaction.set_parents(&[&gone]);
        assert_eq!(refused(transaction.commit("m")), "No such file or directory");
        transaction.set_parents(&[&master.head()]);
        transaction.commit("m").unwrap();
        db.repository().git(&["fsck", "--strict"]);
    }
}

#[test]
fn objects_of_a_merge_survive_a_prune_until_the_commit() {
    let db = TestDb::git();
    let connection = db.connect();
    let (master, other) = (connection.master(), connection.branch("other"));
    let base = master.commit(&[("f", "0"), ("d/deep/g", "0")]);
    other.fast_forward(&base).unwrap();
    let theirs = other.commit(&[("theirs", "1")]);
    let transaction = master.transaction();
    transaction.write("ours", "only here");
    transaction.write("d/deep/new", "only here, too");
    assert_eq!(transaction.merge(&theirs).unwrap(), "");
    let repository = db.repository();
    repository.git(&["prune", "--expire=now"]);
    transaction.write("later", "1");
    transaction.commit("merged").unwrap();
    repository.git(&["fsck", "--strict"]);
    assert_eq!(repository.git(&["cat-file", "-p", "master:d/deep/new"]), "only here, too");
    assert_eq!(repository.git(&["cat-file", "-p", "master:ours"]), "only here");
    repository.git(&["gc", "-q", "--prune=now"]);
}

#[test]
fn a_commit_that_lacks_an_object_is_refused_with_its_path() {
    let db = TestDb::on(Repository::bare());
    let repository = db.repository();
    let first = repository.commit(None, "f", "1");
    let second = repository.commit(Some(&first), "g", "2");
    repository.git(&["update-ref", "refs/heads/master", &first]);
    let connection = db.connect();
    assert_eq!(connection.read(&format!("snapshots/{second}/ro/g")), "2");
    let blob = repository.git(&["rev-parse", &format!("{second}:g")]);
    std::fs::remove_file(repository.loose(&blob)).unwrap();
    let missing = format!("object {blob} is missing: g");
    assert_eq!(refused(connection.branch("new").fast_forward(&second)), missing);
    assert_eq!(refused(connection.master().fast_forward(&second)), missing);
    let transaction = connection.master().transaction();
    transaction.set_parents(&[&second]);
    assert_eq!(refused(transaction.commit("m")), missing);
    assert_eq!(connection.master().head(), first);
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn unreferenced_objects_are_refreshed_when_a_branch_refers_to_them() {
    let db = TestDb::on(Repository::bare());
    let repository = db.repository();
    let first = repository.commit(None, "f", "1");
    let second = repository.commit(Some(&first), "g", "2");
    let objects = repository.git(&["rev-list", "--objects", "--no-object-names", &second]);
    let files: Vec<_> = objects.lines().map(|id| repository.loose(id)).collect();
    for file in &files {
        std::fs::File::open(file).unwrap().set_modified(UNIX_EPOCH).unwrap();
    }
    let connection = db.connect();
    connection.master().fast_forward(&second).unwrap();
    for file in &files {
        let age =
            std::fs::metadata(file).unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{}: {age:?}", file.display());
    }
}

#[test]
fn committing_a_tree_of_a_removed_branch_keeps_it_or_is_refused() {
    for prune in [false, true] {
        let db = TestDb::on(Repository::bare());
        let repository = db.repository();
        let first = repository.commit(None, "f", "1");
        let other = repository.commit(None, "other", "2");
        repository.git(&["update-ref", "refs/heads/master", &first]);
        repository.git(&["update-ref", "refs/heads/other", &other]);
        repository.git(&["repack", "-adq"]);
        let connection = db.connect();
        let master = connection.master();
        let transaction = master.transaction();
        // Reset the transaction to the files of `other`, and then set its parent to `first`.
        transaction.set_parents(&[&other]);
        transaction.ctl("reset").unwrap();
        transaction.set_parents(&[&first]);
        assert_eq!(transaction.names(""), "other");
        repository.git(&["update-ref", "-d", "refs/heads/other"]);
        if prune {
            repository.git(&["repack", "-adq"]);
            repository.git(&["prune", "--expire=now"]);
            let error = refused(transaction.commit("m"));
            assert!(error.contains("is missing"), "{error}");
            assert_eq!(master.head(), first);
        } else {
            transaction.commit("m").unwrap();
            repository.git(&["repack", "-adq"]);
            repository.git(&["prune", "--expire=now"]);
            assert_eq!(repository.git(&["cat-file", "-p", "master:other"]), "2");
        }
        repository.git(&["fsck", "--strict"]);
    }
}

#[test]
fn a_moved_directory_is_not_written_again() {
    let db = TestDb::git();
    let connection = db.connect();
    let master = connection.master();
    let files: Vec<_> = (0..100).map(|n| format!("d/{n}")).collect();
    master.commit(&files.iter().map(|path| (path.as_str(), path.as_str())).collect::<Vec<_>>());
    let repository = db.repository();
    repository.git(&["repack", "-adq"]);
    master.change(|transaction| connection.rename(&transaction.rw("d"), "e").unwrap());
    assert_eq!(connection.names("branch/master/ro"), "e");
    // The rename has created only two objects: the root tree and the commit.
    assert_eq!(repository.git(&["count-objects"]).split(' ').next(), Some("2"));
    repository.git(&["fsck", "--strict"]);
}
