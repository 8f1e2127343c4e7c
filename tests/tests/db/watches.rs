//! Tests for streams that follow a branch.

use std::time::{Duration, Instant};

use datakit_tests::db::{EMPTY_TREE, TestDb, refused};
use datakit_tests::{TIMEOUT, on_both};

on_both! {
    d39_head_live_follows_a_branch,
    d40_tree_live_follows_a_path,
    d41_a_change_elsewhere_is_silent,
    d42_a_path_can_be_watched_before_it_exists,
    d43_reflog_has_every_move,
    d44_nothing_is_lost_between_open_and_read,
    d45_a_closed_stream_leaves_no_watch,
}

fn d39_head_live_follows_a_branch(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let mut heads = master.follow("head.live");
    assert_eq!(heads.line(), "");
    let first = master.commit(&[("a", "1")]);
    assert_eq!(heads.line(), first);
    master.commit(&[("a", "2")]);
    let third = master.commit(&[("a", "3")]);
    assert_eq!(heads.line(), third);
    heads.quiet();
}

fn d40_tree_live_follows_a_path(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let (mut file, mut dir, mut root) = (master.watch("d/f"), master.watch("d"), master.watch(""));
    assert_eq!(
        (file.line(), dir.line(), root.line()),
        (String::new(), String::new(), format!("D-{EMPTY_TREE}"))
    );
    master.commit(&[("d/f", "1")]);
    let made = file.line();
    let hash = made.strip_prefix("F-").unwrap();
    assert!(dir.line().starts_with("D-") && root.line().starts_with("D-"));
    master.change(|transaction| connection.chmod(&transaction.rw("d/f"), 0o755).unwrap());
    assert_eq!(file.line(), format!("X-{hash}"));
    master.change(|transaction| {
        transaction.remove("d/f");
        connection.symlink(&transaction.rw("d/f"), "1").unwrap();
    });
    assert_eq!(file.line(), format!("L-{hash}"));
    master.change(|transaction| transaction.remove("d/f"));
    assert_eq!(file.line(), "");
}

fn d41_a_change_elsewhere_is_silent(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("here", "1")]);
    let mut here = master.watch("here");
    here.line();
    master.commit(&[("elsewhere", "1")]);
    here.quiet();
}

fn d42_a_path_can_be_watched_before_it_exists(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("dir/file", "1"), ("top", "1")]);
    assert_eq!(connection.names("branch/master/watch"), "dir.node top.node tree.live");
    assert_eq!(connection.names("branch/master/watch/dir.node"), "file.node tree.live");
    assert_eq!(connection.names("branch/master/watch/y.node/z.node"), "tree.live");
    assert_eq!(refused(connection.stat("branch/master/watch/foo")), "No such file or directory");
}

fn d43_reflog_has_every_move(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("a", "0")]);
    let mut log = master.follow("reflog");
    log.quiet();
    let moves: Vec<_> = ["1", "2", "3"].iter().map(|text| master.commit(&[("a", text)])).collect();
    for head in moves {
        assert_eq!(log.line(), head);
    }
    db.connect().remove("branch/master").unwrap();
    assert_eq!(log.line(), "");
}

fn d44_nothing_is_lost_between_open_and_read(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let mut file = master.watch("f");
    master.commit(&[("f", "1")]);
    // A stream first delivers the state as it was when the stream was opened, followed by any later
    // changes.
    assert_eq!(file.line(), "");
    assert!(file.line().starts_with("F-"));
}

fn d45_a_closed_stream_leaves_no_watch(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let mut streams = [master.follow("head.live"), master.follow("reflog"), master.watch("f")];
    streams[0].line();
    streams[1].quiet();
    let watches = || db.database.counters().watches.value();
    assert_eq!(watches(), 3);
    drop(streams);
    drop(connection);
    let begun = Instant::now();
    while watches() != 0 {
        assert!(begun.elapsed() < TIMEOUT, "{} watches are left", watches());
        std::thread::sleep(Duration::from_millis(5));
    }
}
