//! Tests for the requests that a mounted database receives from `cp -a`, `tar xp`, `rsync -a`,
//! `mkdir -m` and `rm -rf`.

use std::time::{SystemTime, UNIX_EPOCH};

use datakit_client::FileType;
use datakit_core::wire::{DMDIR, Dialect, Fid, SetAttr, Stat, StatUnix, Time, Tmessage as T};
use datakit_db::object::{self, Object};
use datakit_tests::db::{Connection, TestDb};
use datakit_tests::on_both;
use datakit_tests::wire_client::{Refusal, WireClient, untouched};

on_both! {
    modes_are_those_that_git_stores,
    setting_modes_owners_and_times_succeeds_without_effect,
    rm_rf_closes_a_transaction,
    rm_rf_of_rw_empties_it,
    rm_rf_removes_a_remote,
    msg_is_the_message_that_was_committed,
    snapshots_show_the_time_of_their_commit,
    files_of_a_commit_show_the_time_of_the_committer,
    files_that_refuse_every_write_have_no_write_bits,
}

fn modes_are_those_that_git_stores(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let transaction = master.transaction();
    transaction.write("d/file", "1");
    transaction.write_as("d/program", 0o755, "2");
    connection.symlink(&transaction.rw("d/link"), "file").unwrap();
    let modes = |dir: &str| {
        ["", "/file", "/program", "/link"]
            .map(|name| connection.stat(&format!("{dir}{name}")).unwrap().mode & 0o777)
    };
    let git = [0o755, 0o644, 0o755, 0o777];
    assert_eq!(modes(&transaction.rw("d")), git);
    transaction.commit("modes").unwrap();
    assert_eq!(modes("branch/master/ro/d"), git);
    assert_eq!(modes(&format!("snapshots/{}/ro/d", master.head())), git);
    let tree = |path: &str| {
        let mut watch = master.watch(path);
        let name = watch.line();
        watch.close();
        connection.stat(&format!("trees/{name}")).unwrap().mode & 0o777
    };
    assert_eq!(["d", "d/file", "d/program", "d/link"].map(tree), git);
}

fn set(raw: &mut WireClient, fid: u32, what: &str) -> Result<(), Refusal> {
    let request = match (raw.dialect, what) {
        (Dialect::Linux, what) => {
            let time = Time { sec: 1_000_000_000, nsec: 5 };
            let all = SetAttr {
                valid: 0,
                mode: 0o700,
                uid: 1000,
                gid: 1000,
                size: 0,
                atime: time,
                mtime: time,
            };
            let valid = match what {
                "mode" => SetAttr::MODE,
                "owner" => SetAttr::UID | SetAttr::GID,
                _ => SetAttr::ATIME | SetAttr::ATIME_SET | SetAttr::MTIME | SetAttr::MTIME_SET,
            };
            T::Setattr { fid: Fid(fid), set: SetAttr { valid, ..all } }
        }
        (_, "mode") => {
            let dir = raw.stat(fid, |stat| stat.mode & DMDIR);
            T::Wstat { fid: Fid(fid), stat: Stat { mode: dir | 0o700, ..untouched() } }
        }
        (_, "owner") => {
            let unix = untouched().unix.map(|unix| StatUnix { n_uid: 1000, n_gid: 1000, ..unix });
            T::Wstat { fid: Fid(fid), stat: Stat { unix, ..untouched() } }
        }
        _ => T::Wstat { fid: Fid(fid), stat: Stat { mtime: 1_000_000_000, ..untouched() } },
    };
    raw.rpc(&request).map(drop)
}

fn setting_modes_owners_and_times_succeeds_without_effect(db: &TestDb) {
    db.connect().master().commit(&[("d/f", "1")]);
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let mut raw = db.raw(dialect);
        raw.walk(0, 1, "branch/master/transactions").unwrap();
        match dialect {
            Dialect::Linux => {
                raw.rpc(&T::Mkdir { dfid: Fid(1), name: "t".into(), mode: 0o700, gid: 0 }).unwrap();
            }
            _ => raw.create(1, "t", 0x8000_01c0, None).unwrap(),
        }
        for path in ["t", "t/rw", "t/rw/d", "t/rw/d/f"] {
            raw.walk(0, 2, &format!("branch/master/transactions/{path}")).unwrap();
            for what in ["mode", "owner", "times"] {
                set(&mut raw, 2, what)
                    .unwrap_or_else(|error| panic!("{dialect:?} {path} {what}: {error:?}"));
            }
            raw.clunk(2).unwrap();
        }
    }
    let transaction = db.connect();
    let transaction = transaction.master().transaction();
    assert_eq!(transaction.read("d/f"), "1");
}

/// Removes a directory tree in the same order as `rm -rf`: first the entries of a directory, then
/// the directory itself.
fn rm_rf(connection: &Connection, path: &str) -> datakit_client::Result<()> {
    if connection.stat(path)?.kind == FileType::Dir {
        for name in connection.try_names(path)? {
            rm_rf(connection, &format!("{path}/{name}"))?;
        }
    }
    connection.remove(path)
}

fn rm_rf_closes_a_transaction(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let base = master.commit(&[("d/e/f", "1"), ("g", "2")]);
    let dev = connection.branch("dev");
    dev.fast_forward(&base).unwrap();
    let theirs = dev.change(|transaction| transaction.write("d/e/f", "theirs"));
    for merged in [false, true] {
        let transaction = master.transaction();
        transaction.write("d/new", "3");
        if merged {
            transaction.merge(&theirs).unwrap();
        }
        rm_rf(&connection, transaction.path("").trim_end_matches('/')).unwrap();
        assert!(!transaction.is_open());
        assert_eq!(connection.names("branch/master/transactions"), "");
    }
    assert_eq!(connection.read("branch/master/ro/d/e/f"), "1");
}

fn rm_rf_of_rw_empties_it(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("d/e/f", "1"), ("g", "2")]);
    let transaction = master.transaction();
    rm_rf(&connection, &transaction.path("rw")).unwrap();
    assert_eq!(transaction.names(""), "");
    transaction.write("only", "3");
    transaction.commit("emptied").unwrap();
    assert_eq!(connection.names("branch/master/ro"), "only");
}

fn rm_rf_removes_a_remote(db: &TestDb) {
    let connection = db.connect();
    connection.mkdir("remotes/r").unwrap();
    rm_rf(&connection, "remotes/r").unwrap();
    assert_eq!(connection.names("remotes"), "");
}

fn msg_is_the_message_that_was_committed(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    for message in ["one line", "one line\n", "Subject\n\nBody\n\n"] {
        let commit = {
            let transaction = master.transaction();
            transaction.commit(message).unwrap();
            master.head()
        };
        assert_eq!(connection.read(&format!("snapshots/{commit}/msg")), message);
    }
}

fn snapshots_show_the_time_of_their_commit(db: &TestDb) {
    let connection = db.connect();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let commit = connection.master().commit(&[("d/f", "1")]);
    let mut raw = db.raw(Dialect::Unix);
    let times = ["", "/msg", "/parents", "/hash", "/ro", "/ro/d", "/ro/d/f"].map(|path| {
        raw.walk(0, 1, &format!("snapshots/{commit}{path}")).unwrap();
        let time = raw.stat(1, |stat| stat.mtime);
        raw.clunk(1).unwrap();
        u64::from(time)
    });
    assert!(times.iter().all(|time| (before..before + 60).contains(time)), "{before} {times:?}");
    assert!(times.windows(2).all(|pair| pair[0] == pair[1]), "{times:?}");
}

/// Creates a child of `head` with the same tree, the author time `written` and the committer time
/// `committed`.
fn commit_at(db: &TestDb, head: &str, written: i64, committed: i64) -> String {
    let store = db.database.store();
    let parent = store.read(head.parse().unwrap()).unwrap().unwrap();
    let tree = object::Commit::decode(&parent.data).unwrap().tree;
    let text = format!(
        "tree {tree}\nparent {head}\nauthor A <a> {written} +0200\ncommitter C <c> {committed} -0100\n\nm\n"
    );
    let (id, commit) = Object::new(object::ObjectKind::Commit, text.into_bytes()).unwrap();
    store.write(&[(id, commit)]).unwrap();
    id.to_string()
}

fn files_of_a_commit_show_the_time_of_the_committer(db: &TestDb) {
    let connection = db.connect();
    let first = connection.master().commit(&[("d/e/f", "1")]);
    let mut last = first.clone();
    let held = ["ro", "ro/d", "ro/d/e/f", "diff", "log"];
    let mut holding = db.raw(Dialect::Linux);
    for (fid, path) in (1..).zip(held) {
        holding.walk(0, fid, &format!("branch/master/{path}")).unwrap();
    }
    for committed in [2_000_000_000, 1_000_000_000] {
        let head = commit_at(db, &last, 1_234_567_890, committed);
        connection.master().fast_forward(&head).unwrap();
        let branch = held.map(|path| format!("branch/master/{path}"));
        let texts = ["", "/diff", "/hash", "/log", "/msg", "/parents", "/ro", "/ro/d", "/ro/d/e/f"];
        let snapshot = texts.map(|path| format!("snapshots/{head}{path}"));
        let named = [
            format!("branch/master/diff/{first}"),
            format!("snapshots/{head}/diff/{first}"),
            format!("commits/{head}"),
        ];
        for path in branch.iter().chain(&snapshot).chain(&named) {
            let mut unix = db.raw(Dialect::Unix);
            unix.walk(0, 1, path).unwrap();
            assert_eq!(i64::from(unix.stat(1, |stat| stat.mtime)), committed, "{path}");
            let mut linux = db.raw(Dialect::Linux);
            linux.walk(0, 1, path).unwrap();
            let attr = linux.getattr(1).unwrap();
            assert_eq!(
                [attr.mtime.sec, attr.ctime.sec].map(|sec| i64::try_from(sec).unwrap()),
                [committed; 2],
                "{path}"
            );
        }
        // Fids that were created before the branch moved also show the new head's time.
        for (fid, path) in (1..).zip(held) {
            assert_eq!(
                i64::try_from(holding.getattr(fid).unwrap().mtime.sec).unwrap(),
                committed,
                "{path}"
            );
        }
        last = head;
    }
}

fn files_that_refuse_every_write_have_no_write_bits(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let base = master.commit(&[("d/f", "1")]);
    let dev = connection.branch("dev");
    dev.fast_forward(&base).unwrap();
    let theirs = dev.change(|transaction| transaction.write("d/f", "2"));
    master.commit(&[("d/f", "3")]);
    let transaction = master.transaction();
    transaction.merge(&theirs).unwrap();
    connection.mkdir("remotes/r").unwrap();
    let bits = |path: &str| {
        connection.stat(path).unwrap_or_else(|error| panic!("{path}: {error}")).mode & 0o777
    };

    let snapshot = |name: &str| format!("snapshots/{base}{name}");
    let in_debug = ["debug/src/db/doc"].map(String::from);
    let in_snapshot = ["/hash", "/log", "/msg", "/parents"].map(snapshot);
    let of_commits = [snapshot(&format!("/diff/{theirs}")), format!("commits/{base}")];
    let in_branch =
        ["head", "head.live", "log", "reflog", "watch/tree.live", "watch/d.node/tree.live"];
    let in_branch = in_branch.map(|name| master.path(name));
    let in_transaction =
        ["origin", "conflicts", &format!("diff/{base}")].map(|name| transaction.path(name));
    let files = in_debug
        .into_iter()
        .chain(in_snapshot)
        .chain(of_commits)
        .chain(in_branch)
        .chain(in_transaction);
    for path in files.chain([master.path(&format!("diff/{theirs}")), "remotes/r/head".to_owned()]) {
        assert_eq!(bits(&path), 0o444, "{path}");
        assert!(connection.put(&path, "x").is_err(), "{path}");
        assert!(connection.truncate(&path, 0).is_err(), "{path}");
    }

    let top = ["", "commits", "debug", "debug/src", "debug/src/db", "snapshots", "trees"]
        .map(String::from);
    let about = [
        snapshot(""),
        snapshot("/diff"),
        master.path(""),
        master.path("diff"),
        transaction.path("diff"),
    ];
    for path in
        top.into_iter().chain(about).chain(["watch", "watch/d.node"].map(|name| master.path(name)))
    {
        let path = path.trim_end_matches('/');
        assert_eq!(bits(path), 0o555, "{path}");
        let new = format!("{path}/new").trim_start_matches('/').to_owned();
        assert!(
            connection.create(&new, 0o644, "").is_err() && connection.mkdir(&new).is_err(),
            "{path}"
        );
    }

    // Writable files and directories have write permission bits. Files and directories in read-only
    // trees also have write permission bits, because Git checks them out as writable.
    let writable =
        ["author", "ctl", "merge", "msg", "parents", "rw/d/f"].map(|name| transaction.path(name));
    let places = ["branch", "remotes", "remotes/r"].map(String::from);
    let in_master = ["fast-forward", "transactions"].map(|name| master.path(name));
    for path in writable
        .into_iter()
        .chain(places)
        .chain(in_master)
        .chain([transaction.path(""), transaction.path("rw")])
    {
        assert_ne!(bits(path.trim_end_matches('/')) & 0o200, 0, "{path}");
    }
    for dir in
        [master.path("ro"), snapshot("/ro"), transaction.path("base"), transaction.path("theirs")]
    {
        assert_eq!(
            ["", "/d", "/d/f"].map(|name| bits(&format!("{dir}{name}"))),
            [0o755, 0o755, 0o644],
            "{dir}"
        );
    }
}
