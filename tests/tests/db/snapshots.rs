//! Tests for snapshots, for trees and commits that are addressed by hash, for remotes, and for log
//! levels.

use datakit_client::FileType;
use datakit_tests::db::{Repository, TestDb, UNKNOWN, refused};
use datakit_tests::on_both;

on_both! {
    d46_a_snapshot_has_the_files_of_its_commit,
    the_version_of_a_committed_file_changes_with_its_content,
    d47_trees_and_blobs_are_found_by_their_ids,
    d48_commits_has_commits_only,
    d49_diff_lists_added_removed_and_changed_paths,
    d51_the_name_of_a_remote_is_used_once,
    d52_log_levels_are_files,
}

fn d46_a_snapshot_has_the_files_of_its_commit(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let head = master.commit(&[("f", "1")]);
    let read = |file: &str| connection.read(&format!("snapshots/{head}/{file}"));
    assert_eq!(
        (read("hash"), read("msg"), read("ro/f")),
        (head.clone(), "a change".into(), "1".into())
    );
    assert_eq!(connection.names(&format!("snapshots/{head}")), "diff hash log msg parents ro");
    assert_eq!(connection.names("snapshots"), "");
    assert_eq!(
        refused(connection.stat(&format!("snapshots/{UNKNOWN}"))),
        "No such file or directory"
    );
    assert_eq!(
        refused(connection.create(&format!("snapshots/{head}/ro/new"), 0o644, "")),
        "Directory is read-only"
    );
    assert_eq!(refused(connection.put(&format!("snapshots/{head}/ro/f"), "x")), "Read-only file");
}

/// The version must not be 0, because clients read ahead only in files with a nonzero version.
fn the_version_of_a_committed_file_changes_with_its_content(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let version = |path: &str| connection.stat(path).unwrap().qid.version;
    let first = master.commit(&[("f", "1"), ("same", "1")]);
    let of_first = version("branch/master/ro/f");
    assert_ne!(of_first, 0);
    assert_eq!(version("branch/master/ro/same"), of_first);
    master.commit(&[("f", "2")]);
    assert_ne!(version("branch/master/ro/f"), of_first);
    assert_eq!(version(&format!("snapshots/{first}/ro/f")), of_first);
}

fn d47_trees_and_blobs_are_found_by_their_ids(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.change(|transaction| {
        transaction.write("d/file", "content");
        transaction.write_as("d/program", 0o755, "run");
        connection.symlink(&transaction.rw("d/link"), "file").unwrap();
    });
    let name = |path: &str| master.watch(path).line();
    assert_eq!(connection.names(&format!("trees/{}", name("d"))), "file link program");
    assert_eq!(connection.read(&format!("trees/{}", name("d/file"))), "content");
    let program = connection.stat(&format!("trees/{}", name("d/program"))).unwrap();
    assert_eq!((program.kind, program.mode & 0o777), (FileType::File, 0o755));
    assert_eq!(
        connection.stat(&format!("trees/{}", name("d/link"))).unwrap().kind,
        FileType::Symlink
    );
    let hash = name("d/file");
    for bad in [format!("Z{}", &hash[1..]), format!("F-{UNKNOWN}"), "F-".to_owned()] {
        assert_eq!(refused(connection.stat(&format!("trees/{bad}"))), "No such file or directory");
    }
}

fn d48_commits_has_commits_only(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let head = master.commit(&[("f", "1")]);
    let text = connection.read(&format!("commits/{head}"));
    for part in [
        format!("\"hash\": \"{head}\""),
        "\"author\": \"datakit <datakit@mobyproject.org>\"".to_owned(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    let blob = master.watch("f").line();
    for unknown in [UNKNOWN, &blob[2..]] {
        assert_eq!(
            refused(connection.stat(&format!("commits/{unknown}"))),
            "No such file or directory"
        );
    }
    assert!(refused(connection.stat("commits/garbage")).starts_with("invalid-hash \"garbage\""));
}

fn d49_diff_lists_added_removed_and_changed_paths(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("file", "1"), ("src/Makefile", "1"), ("x", "1")]);
    let second = master.commit(&[("foo", "1"), ("file", "2")]);
    let diff = |new: &str, old: &str| connection.read(&format!("snapshots/{new}/diff/{old}"));
    assert_eq!(
        (diff(&second, &first), diff(&second, &second)),
        ("* file\n+ foo\n".into(), String::new())
    );
    let third = master.change(|transaction| {
        transaction.remove("x");
        connection.chmod(&transaction.rw("file"), 0o755).unwrap();
    });
    assert_eq!(diff(&third, &second), "* file\n- x\n");
    assert_eq!(master.read(&format!("diff/{second}")), "* file\n- x\n");
    let transaction = master.transaction();
    transaction.write("x", "1");
    assert_eq!(connection.read(&transaction.path(&format!("diff/{second}"))), "* file\n");
}

#[test]
fn d50_fetches_a_branch_from_a_remote() {
    let (here, there) = (TestDb::git(), Repository::bare());
    let connection = here.connect();
    connection.mkdir("remotes/o").unwrap();
    let fetch = |branch: &str| connection.put("remotes/o/fetch", branch);
    assert_eq!(refused(fetch("master")), "error: remote url is not defined");
    connection.put("remotes/o/url", "/nowhere\n").unwrap();
    let unreachable = "error: cannot fetch /nowhere: fatal: '/nowhere' does not appear";
    assert!(refused(fetch("master")).starts_with(unreachable));
    let commit = there.commit(None, "file", "far");
    there.git(&["update-ref", "refs/heads/master", &commit]);
    connection.truncate("remotes/o/url", 0).unwrap();
    connection.put("remotes/o/url", there.path().to_str().unwrap()).unwrap();
    assert_eq!(refused(fetch("nope")), "error: no head to fetch");
    let mut head = connection.follow("remotes/o/head");
    fetch("master\n").unwrap();
    assert_eq!(head.line(), commit);
    assert_eq!(connection.follow("remotes/o/head").line(), commit);
    assert_eq!(connection.read(&format!("snapshots/{commit}/ro/file")), "far");
    assert_eq!(connection.names("branch"), "");
    connection.remove("remotes/o").unwrap();
    assert_eq!(connection.names("remotes"), "");
}

fn d51_the_name_of_a_remote_is_used_once(db: &TestDb) {
    let connection = db.connect();
    connection.mkdir("remotes/o").unwrap();
    assert_eq!(refused(connection.mkdir("remotes/o")), "Already exists");
    assert_eq!(connection.names("remotes/o"), "fetch head url");
    assert_eq!(db.connect().names("remotes"), "");
}

fn d52_log_levels_are_files(db: &TestDb) {
    let connection = db.connect();
    assert_eq!(connection.names("debug/src"), "db");
    assert!(connection.read("debug/src/db/doc").ends_with('\n'));
    let before = connection.read("debug/src/db/level");
    assert!(refused(connection.put("debug/src/db/level", "bogus")).contains("bogus"));
    assert_eq!(connection.read("debug/src/db/level"), before);
    connection.put("debug/src/db/level", "debug\n").unwrap();
    assert_eq!(connection.read("debug/src/db/level"), "debug\n");
}
