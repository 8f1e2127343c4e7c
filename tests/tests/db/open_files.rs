//! Tests for open files whose names are removed, replaced or moved. The files are in a
//! transaction's `rw` directory. A fid refers to a file rather than to a name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datakit_core::wire::{
    Dialect, Extension, Fid, List, Qid, Rmessage as R, SetAttr, Stat, Str, Tmessage as T,
};
use datakit_tests::db::TestDb;
use datakit_tests::on_both;
use datakit_tests::wire_client::{Refusal, WireClient, untouched};

on_both! {
    a_removed_file_stays_usable_until_its_last_fid_is_clunked,
    a_file_replaced_by_a_rename_stays_usable,
    a_write_to_a_removed_file_is_not_committed,
    a_recreated_name_has_a_new_qid,
    creating_an_existing_file_truncates_it_and_keeps_the_inode,
    a_removed_directory_is_independent_of_a_new_one_with_its_name,
    a_file_in_a_removed_directory_keeps_its_content,
    a_reset_restores_files_and_removes_new_ones,
    a_merge_changes_files_and_keeps_them_open,
    trenameat_moves_files_between_directories,
    invalid_moves_between_directories_are_refused,
    open_files_follow_a_moved_directory,
    a_conflict_follows_a_move_between_directories,
    files_have_the_time_of_their_last_change,
}

const DIALECTS: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];

/// A client that sends individual messages and has started the transaction `t` on `master`. Fid 1
/// is the transaction's directory, and fid 2 is its `rw` subdirectory.
struct Raw(WireClient);

impl Raw {
    fn new(db: &TestDb, dialect: Dialect) -> Raw {
        let mut raw = Raw(db.raw(dialect));
        raw.0.walk(0, 1, "branch").unwrap();
        // Creating a branch succeeds even if the branch already exists.
        raw.mkdir(1, "master").unwrap();
        raw.0.clunk(1).unwrap();
        raw.0.walk(0, 3, "branch/master/transactions").unwrap();
        raw.mkdir(3, "t").unwrap();
        raw.0.clunk(3).unwrap();
        raw.0.walk(0, 1, "branch/master/transactions/t").unwrap();
        raw.0.walk(1, 2, "rw").unwrap();
        raw
    }

    /// Creates a directory in `dir`. Afterwards, the fid `dir` still refers to the parent
    /// directory.
    fn mkdir(&mut self, dir: u32, name: &str) -> Result<(), Refusal> {
        if self.0.dialect == Dialect::Linux {
            return self
                .0
                .rpc(&T::Mkdir { dfid: Fid(dir), name: name.into(), mode: 0o755, gid: 0 })
                .map(drop);
        }
        self.0.walk(dir, 99, "").unwrap();
        let extension = Extension(None);
        let made = self.0.rpc(&T::Create {
            fid: Fid(99),
            name: name.into(),
            perm: 0x8000_01ed,
            mode: 0,
            extension,
        });
        self.0.clunk(99).unwrap();
        made.map(drop)
    }

    /// Creates a file in the `rw` directory with the content `text`. Afterwards, `fid` refers to
    /// the open file.
    fn make(&mut self, fid: u32, dir: &str, name: &str, text: &str) {
        self.0.walk(2, fid, dir).unwrap();
        self.create(fid, name).unwrap();
        self.0.write(fid, 0, text.as_bytes()).unwrap();
    }

    fn create(&mut self, fid: u32, name: &str) -> Result<(), Refusal> {
        match self.0.dialect {
            // The flags are O_RDWR and O_TRUNC.
            Dialect::Linux => {
                let request = T::Lcreate {
                    fid: Fid(fid),
                    name: name.into(),
                    flags: 0o1002,
                    mode: 0o644,
                    gid: 0,
                };
                self.0.rpc(&request).map(drop)
            }
            _ => self.0.create(fid, name, 0o644, None),
        }
    }

    /// Opens a file in the `rw` directory for reading and writing.
    fn open(&mut self, fid: u32, path: &str) {
        self.0.walk(2, fid, path).unwrap();
        self.0.open(fid, 2).unwrap();
    }

    fn read(&mut self, fid: u32) -> String {
        String::from_utf8(self.0.read(fid, 0, 1000).unwrap()).unwrap()
    }

    fn read_path(&mut self, path: &str) -> Result<String, Refusal> {
        self.0.walk(2, 98, path)?;
        self.0.open(98, 0).unwrap();
        let text = self.read(98);
        self.0.clunk(98).unwrap();
        Ok(text)
    }

    fn remove(&mut self, path: &str) {
        self.0.walk(2, 98, path).unwrap();
        self.0.rpc(&T::Remove { fid: Fid(98) }).unwrap();
    }

    fn qid(&mut self, path: &str) -> Qid {
        let qids = self.0.walk(2, 98, path).unwrap();
        self.0.clunk(98).unwrap();
        *qids.last().unwrap()
    }

    /// Returns the length and qid of a file.
    fn stat(&mut self, fid: u32) -> (u64, Qid) {
        if self.0.dialect != Dialect::Linux {
            return self.0.stat(fid, |stat| (stat.length, stat.qid));
        }
        let frame = self.0.rpc(&T::Getattr { fid: Fid(fid), mask: u64::MAX }).unwrap();
        let (_, R::Getattr { attr }) = R::decode(&frame, Dialect::Linux).unwrap() else {
            panic!("no Rgetattr")
        };
        (attr.size, attr.qid)
    }

    fn truncate(&mut self, fid: u32, length: u64) -> Result<(), Refusal> {
        if self.0.dialect == Dialect::Linux {
            let set = SetAttr { valid: SetAttr::SIZE, size: length, ..SetAttr::default() };
            return self.0.rpc(&T::Setattr { fid: Fid(fid), set }).map(drop);
        }
        self.0.rpc(&T::Wstat { fid: Fid(fid), stat: Stat { length, ..untouched() } }).map(drop)
    }

    fn chmod(&mut self, fid: u32, mode: u32) -> Result<(), Refusal> {
        if self.0.dialect == Dialect::Linux {
            let set = SetAttr { valid: SetAttr::MODE, mode, ..SetAttr::default() };
            return self.0.rpc(&T::Setattr { fid: Fid(fid), set }).map(drop);
        }
        self.0.rpc(&T::Wstat { fid: Fid(fid), stat: Stat { mode, ..untouched() } }).map(drop)
    }

    /// Renames a file within its directory. Works in every dialect.
    fn rename(&mut self, path: &str, name: &str) -> Result<(), Refusal> {
        self.0.walk(2, 98, path).unwrap();
        let stat = Stat { name: Str::from(name), ..untouched() };
        let done = match self.0.dialect {
            Dialect::Linux => {
                self.0.walk(2, 97, path.rsplit_once('/').map_or("", |(dir, _)| dir)).unwrap();
                let done =
                    self.0.rpc(&T::Rename { fid: Fid(98), dfid: Fid(97), name: name.into() });
                self.0.clunk(97).unwrap();
                done
            }
            _ => self.0.rpc(&T::Wstat { fid: Fid(98), stat }),
        };
        self.0.clunk(98).unwrap();
        done.map(drop)
    }

    /// Moves a file using Trenameat.
    fn move_to(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        let split = |path: &str| {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            (dir.to_owned(), name.to_owned())
        };
        let ((old, oldname), (new, newname)) = (split(from), split(to));
        self.0.walk(2, 97, &old).unwrap();
        self.0.walk(2, 98, &new).unwrap();
        let (oldname, newname) = (oldname.as_str().into(), newname.as_str().into());
        let done =
            self.0.rpc(&T::Renameat { olddirfid: Fid(97), oldname, newdirfid: Fid(98), newname });
        self.0.clunk(97).unwrap();
        self.0.clunk(98).unwrap();
        done.map(drop)
    }

    /// Writes `text` to a file in the transaction's directory, such as `ctl`.
    fn order(&mut self, file: &str, text: &str) -> Result<u32, Refusal> {
        self.0.walk(1, 98, file).unwrap();
        self.0.open(98, 1).unwrap();
        let done = self.0.write(98, 0, text.as_bytes());
        self.0.clunk(98).unwrap();
        done
    }
}

fn a_removed_file_stays_usable_until_its_last_fid_is_clunked(db: &TestDb) {
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.make(10, "", "f", "old");
        // Both fids refer to the file, but only fid 11 is open.
        raw.0.walk(2, 11, "f").unwrap();
        raw.0.walk(2, 12, "f").unwrap();
        raw.remove("f");
        assert_eq!(raw.read(10), "old");
        raw.0.write(10, 3, b" and more").unwrap();
        raw.0.open(11, 2).unwrap();
        assert_eq!(raw.read(11), "old and more");
        assert_eq!(raw.stat(12).0, 12);
        raw.truncate(12, 3).unwrap();
        raw.chmod(12, 0o755).unwrap();
        assert_eq!((raw.read(10), raw.read(11)), ("old".to_owned(), "old".to_owned()));
        assert!(raw.0.walk(2, 13, "f").is_err());
        raw.make(13, "", "f", "new");
        assert_eq!(
            (raw.read(10), raw.read_path("f").unwrap()),
            ("old".to_owned(), "new".to_owned())
        );
        assert!(raw.0.rpc(&T::Remove { fid: Fid(12) }).is_err());
        assert_eq!(raw.read_path("f").unwrap(), "new");
    }
}

fn a_file_replaced_by_a_rename_stays_usable(db: &TestDb) {
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.make(10, "", "f", "old");
        raw.0.walk(2, 11, "f").unwrap();
        raw.make(12, "", "new", "new");
        let (old, new) = (raw.qid("f").path, raw.qid("new").path);
        raw.rename("new", "f").unwrap();
        assert_eq!(raw.qid("f").path, new);
        assert_eq!((raw.stat(10).1.path, raw.stat(11).1.path), (old, old));
        raw.0.write(10, 0, b"OLD").unwrap();
        raw.0.open(11, 2).unwrap();
        assert_eq!((raw.read(11), raw.read(12)), ("OLD".to_owned(), "new".to_owned()));
        raw.0.write(12, 0, b"N").unwrap();
        assert_eq!(
            (raw.read_path("f").unwrap(), raw.read(10)),
            ("New".to_owned(), "OLD".to_owned())
        );
    }
}

fn a_write_to_a_removed_file_is_not_committed(db: &TestDb) {
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.make(10, "", "keep", dialect.version());
        raw.make(11, "", "gone", "1");
        raw.remove("gone");
        raw.0.write(11, 0, b"back?").unwrap();
        raw.0.walk(2, 12, "").unwrap();
        raw.0.open(12, 0).unwrap();
        raw.order("ctl", "commit").unwrap();
        let connection = db.connect();
        assert_eq!(connection.names("branch/master/ro"), "keep");
        assert_eq!(connection.read("branch/master/ro/keep"), dialect.version());
        // Committing a transaction also closes its files.
        assert!(raw.0.read(11, 0, 10).is_err());
        assert!(raw.0.write(11, 0, b"x").is_err());
    }
}

fn a_recreated_name_has_a_new_qid(db: &TestDb) {
    db.connect().master().commit(&[("f", "committed"), ("d/x", "1")]);
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        let mut seen = vec![raw.qid("f").path, raw.qid("d").path];
        for kind in ["file", "dir", "file", "file", "dir", "dir"] {
            raw.remove("f");
            match kind {
                "file" => {
                    raw.make(10, "", "f", kind);
                    raw.0.clunk(10).unwrap();
                }
                _ => raw.mkdir(2, "f").unwrap(),
            }
            let path = raw.qid("f").path;
            assert!(!seen.contains(&path), "{kind}");
            assert_eq!(raw.qid("f").path, path);
            seen.push(path);
        }
        raw.remove("f");
        let moved = raw.qid("d/x").path;
        raw.rename("d", "e").unwrap();
        assert_eq!((raw.qid("e").path, raw.qid("e/x").path), (seen[1], moved));
        raw.mkdir(2, "d").unwrap();
        raw.make(10, "d", "x", "2");
        assert!(!seen.contains(&raw.qid("d").path));
        assert_ne!(raw.qid("d/x").path, moved);
        // Files restored by a reset also get new qids.
        raw.order("ctl", "reset").unwrap();
        assert!(!seen.contains(&raw.qid("f").path));
    }
}

/// Case D21. As in `open(2)` with O_TRUNC, truncation keeps the inode.
fn creating_an_existing_file_truncates_it_and_keeps_the_inode(db: &TestDb) {
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.make(10, "", "f", "long content");
        let before = raw.qid("f").path;
        raw.make(11, "", "f", "new");
        assert_eq!((raw.qid("f").path, raw.read(10)), (before, "new".to_owned()));
    }
}

fn a_removed_directory_is_independent_of_a_new_one_with_its_name(db: &TestDb) {
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.mkdir(2, "d").unwrap();
        for fid in 10..14 {
            raw.0.walk(2, fid, "d").unwrap();
        }
        raw.remove("d");
        raw.mkdir(2, "d").unwrap();
        raw.make(20, "d", "f", "new");
        assert!(raw.create(10, "made").is_err());
        assert!(raw.mkdir(11, "made").is_err());
        assert!(raw.0.walk(12, 21, "f").is_err());
        raw.0.open(13, 0).unwrap();
        let listed = match dialect {
            Dialect::Linux => {
                let frame =
                    raw.0.rpc(&T::Readdir { fid: Fid(13), offset: 0, count: 4000 }).unwrap();
                frame.windows(1).filter(|byte| byte == b"f").count()
            }
            _ => raw.0.read(13, 0, 4000).unwrap().len(),
        };
        assert_eq!(listed, 0);
        let list = raw.0.walk(2, 22, "d").unwrap();
        assert_ne!(list[0].path, raw.stat(12).1.path);
        assert!(raw.0.walk(2, 23, "d/made").is_err());
    }
}

fn a_file_in_a_removed_directory_keeps_its_content(db: &TestDb) {
    db.connect().master().commit(&[("d/e/committed", "1"), ("d/top", "2")]);
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.open(10, "d/e/committed");
        raw.open(11, "d/top");
        raw.make(12, "d/e", "fresh", "3");
        raw.remove("d");
        assert_eq!([10, 11, 12].map(|fid| raw.read(fid)), ["1", "2", "3"].map(str::to_owned));
        raw.0.write(10, 0, b"one").unwrap();
        raw.mkdir(2, "d").unwrap();
        raw.mkdir(2, "d").unwrap_err();
        raw.0.walk(2, 13, "d").unwrap();
        raw.mkdir(13, "e").unwrap();
        raw.make(14, "d/e", "committed", "new");
        assert_eq!((raw.read(10), raw.read(14)), ("one".to_owned(), "new".to_owned()));
    }
}

fn a_reset_restores_files_and_removes_new_ones(db: &TestDb) {
    db.connect().master().commit(&[("kept", "committed"), ("d/kept", "1")]);
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.open(10, "kept");
        raw.0.write(10, 0, b"changed!!").unwrap();
        raw.make(11, "", "new", "fresh");
        raw.0.walk(2, 12, "d").unwrap();
        raw.remove("d/kept");
        raw.make(13, "d", "new", "fresh");
        let kept = raw.qid("kept").path;
        raw.order("ctl", "reset").unwrap();
        assert_eq!((raw.read(10), raw.qid("kept").path), ("committed".to_owned(), kept));
        assert_eq!((raw.read(11), raw.read(13)), ("fresh".to_owned(), "fresh".to_owned()));
        raw.0.write(11, 0, b"F").unwrap();
        assert!(raw.0.walk(2, 14, "new").is_err());
        assert_eq!(raw.0.walk(12, 15, "kept").unwrap().len(), 1);
        raw.0.write(10, 0, b"C").unwrap();
        assert_eq!(raw.read_path("kept").unwrap(), "Committed");
    }
}

fn a_merge_changes_files_and_keeps_them_open(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let base = master.commit(&[("f", "base"), ("gone", "1")]);
    let dev = connection.branch("dev");
    dev.fast_forward(&base).unwrap();
    let theirs = dev.change(|transaction| {
        transaction.write("f", "theirs");
        transaction.remove("gone");
    });
    for dialect in DIALECTS {
        let mut raw = Raw::new(db, dialect);
        raw.open(10, "f");
        raw.open(11, "gone");
        raw.make(12, "", "mine", "2");
        let mine = raw.qid("mine").path;
        raw.order("merge", &theirs).unwrap();
        assert_eq!([10, 11, 12].map(|fid| raw.read(fid)), ["theirs", "1", "2"].map(str::to_owned));
        assert_eq!(raw.qid("mine").path, mine);
        raw.0.write(11, 0, b"?").unwrap();
        assert!(raw.0.walk(2, 13, "gone").is_err());
    }
}

fn trenameat_moves_files_between_directories(db: &TestDb) {
    db.connect().master().commit(&[("a/f", "1"), ("b/g", "2"), ("b/h", "3")]);
    let mut raw = Raw::new(db, Dialect::Linux);
    raw.open(10, "a/f");
    raw.open(11, "b/g");
    let moved = raw.qid("a/f").path;
    raw.move_to("a/f", "b/g").unwrap();
    assert_eq!(
        (raw.qid("b/g").path, raw.read(10), raw.read(11)),
        (moved, "1".to_owned(), "2".to_owned())
    );
    raw.0.write(10, 1, b"!").unwrap();
    assert_eq!(raw.read_path("b/g").unwrap(), "1!");
    // Trename uses the file's current directory rather than the directory in which the walk found
    // the file.
    raw.0.walk(2, 12, "b/g").unwrap();
    raw.0.walk(2, 13, "a").unwrap();
    raw.0.rpc(&T::Rename { fid: Fid(12), dfid: Fid(13), name: "again".into() }).unwrap();
    raw.0.walk(2, 14, "b").unwrap();
    raw.0.rpc(&T::Rename { fid: Fid(12), dfid: Fid(14), name: "back".into() }).unwrap();
    assert_eq!(raw.read_path("b/back").unwrap(), "1!");
    raw.0.rpc(&T::Remove { fid: Fid(12) }).unwrap();
    raw.make(15, "", "left", "");
    raw.order("ctl", "commit").unwrap();
    assert_eq!(db.connect().names("branch/master/ro"), "b left");
    assert_eq!(db.connect().names("branch/master/ro/b"), "h");
}

fn invalid_moves_between_directories_are_refused(db: &TestDb) {
    const ENOENT: u32 = 2;
    const EXDEV: u32 = 18;
    const ENOTDIR: u32 = 20;
    const EISDIR: u32 = 21;
    const EINVAL: u32 = 22;
    const ENOTEMPTY: u32 = 39;
    db.connect().master().commit(&[("a/b/c/f", "1"), ("d/x", "2"), ("f", "3")]);
    let mut raw = Raw::new(db, Dialect::Linux);
    raw.0.walk(2, 10, "d").unwrap();
    raw.mkdir(10, "empty").unwrap();
    for (from, to, errno) in [
        ("a", "a/b/a", EINVAL),
        ("a", "a/a", EINVAL),
        ("a/b", "a/b/c/b", EINVAL),
        ("a/b", "d", ENOTEMPTY),
        ("f", "d/empty", EISDIR),
        ("a/b", "f", ENOTDIR),
        ("none", "d/f", ENOENT),
        ("f", "d/.git", EINVAL),
    ] {
        assert_eq!(raw.move_to(from, to).unwrap_err().1, errno, "{from} {to}");
    }
    raw.move_to("a/b", "d/empty").unwrap();
    assert_eq!(raw.read_path("d/empty/c/f").unwrap(), "1");
    raw.move_to("f", "d/x").unwrap();
    assert_eq!(raw.read_path("d/x").unwrap(), "3");
    raw.move_to("d/x", "d/x").unwrap();
    // A file cannot be moved to another transaction or out of `rw`.
    raw.0.walk(0, 20, "branch/master/transactions").unwrap();
    raw.mkdir(20, "other").unwrap();
    raw.0.walk(20, 21, "other/rw").unwrap();
    raw.0.walk(2, 22, "d/x").unwrap();
    for dfid in [21, 1] {
        let moved = raw.0.rpc(&T::Rename { fid: Fid(22), dfid: Fid(dfid), name: "x".into() });
        assert_eq!(moved.unwrap_err().1, EXDEV);
    }
}

fn open_files_follow_a_moved_directory(db: &TestDb) {
    db.connect().master().commit(&[("a/b/f", "1"), ("to/x", "2")]);
    let mut raw = Raw::new(db, Dialect::Linux);
    raw.open(10, "a/b/f");
    raw.0.walk(2, 11, "a/b").unwrap();
    raw.make(12, "a/b", "fresh", "3");
    let numbers = [raw.qid("a/b").path, raw.qid("a/b/f").path, raw.qid("a/b/fresh").path];
    raw.move_to("a/b", "to/moved").unwrap();
    assert_eq!(
        ["to/moved", "to/moved/f", "to/moved/fresh"].map(|path| raw.qid(path).path),
        numbers
    );
    raw.0.write(10, 0, b"one").unwrap();
    raw.make(13, "to/moved", "late", "4");
    raw.0.walk(11, 14, "late").unwrap();
    assert_eq!(
        (raw.read_path("to/moved/f").unwrap(), raw.read(12)),
        ("one".to_owned(), "3".to_owned())
    );
    // `..` leads to the directory's current parent. Repeating `..` leads up to the transaction's
    // directory.
    raw.0.walk(11, 15, "../x").unwrap();
    raw.0.walk(11, 16, "../../a").unwrap();
    raw.0.walk(11, 17, "../../../ctl").unwrap();
    let above = [Str::from("..")];
    let request = T::Walk { fid: Fid(10), newfid: Fid(18), wnames: List::from(above.as_slice()) };
    assert!(raw.0.rpc(&request).is_err());
    assert!(raw.0.walk(2, 19, "a/b").is_err());
}

fn a_conflict_follows_a_move_between_directories(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let base = master.commit(&[("d/f", "0"), ("to/x", "0")]);
    let dev = connection.branch("dev");
    dev.fast_forward(&base).unwrap();
    let theirs = dev.change(|transaction| {
        transaction.write("d/f", "theirs");
    });
    let mut raw = Raw::new(db, Dialect::Linux);
    raw.open(10, "d/f");
    raw.0.write(10, 0, b"ours").unwrap();
    raw.order("merge", &theirs).unwrap();
    raw.move_to("d", "to/d").unwrap();
    raw.0.walk(1, 11, "conflicts").unwrap();
    raw.0.open(11, 0).unwrap();
    assert_eq!(raw.read(11), "to/d/f\n");
    raw.0.write(10, 0, b"resolved").unwrap();
    raw.order("ctl", "commit").unwrap();
    assert!(connection.read("branch/master/ro/to/d/f").starts_with("resolved"));
}

fn files_have_the_time_of_their_last_change(db: &TestDb) {
    let connection = db.connect();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(1);
    connection.master().commit(&[("d/f", "1")]);
    let mut raw = Raw::new(db, Dialect::Unix);
    raw.make(10, "d", "new", "2");
    for path in ["d/f", "d/new", "d", ""] {
        raw.0.walk(2, 11, path).unwrap();
        let time = Duration::from_secs(raw.0.stat(11, |stat| stat.mtime).into());
        assert!(time >= before && time <= before + Duration::from_secs(60), "{path}: {time:?}");
        raw.0.clunk(11).unwrap();
    }
}
