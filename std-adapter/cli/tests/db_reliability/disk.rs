//! Tests for full and read-only disks.

use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use datakit_client::db::{Db, Transaction};
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, begin, commit};

/// The allocation unit of tmpfs, in bytes.
const PAGE: u64 = 4096;

/// A repository on a separate small file system.
struct Disk(TempRepository);

impl Disk {
    fn mount(name: &str) -> Disk {
        let repository = TempRepository::new(name);
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"], &repository);
        Disk(repository)
    }

    /// Remounts the disk with the `ro` or `rw` option.
    fn remount(&self, option: &str) {
        run("mount", &["-o", &format!("remount,{option}")], &self.0);
    }

    fn filler(&self) -> PathBuf {
        self.0.0.join("filler")
    }

    /// Fills the disk and returns the number of bytes written.
    fn fill(&self) -> u64 {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[1; PAGE as usize]).is_ok() {}
        file.metadata().unwrap().len().next_multiple_of(PAGE)
    }

    /// Frees space by truncating the filler file to `filled` bytes.
    fn shrink(&self, filled: u64) {
        File::options().write(true).open(self.filler()).unwrap().set_len(filled).unwrap();
    }
}

impl Deref for Disk {
    type Target = TempRepository;

    fn deref(&self) -> &TempRepository {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

fn run(program: &str, args: &[&str], at: &TempRepository) {
    let out = Command::new(program).args(args).arg(&at.0).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Tries to commit. Returns whether the commit was refused. If so, also checks that the error
/// starts with `why` and that nothing has changed.
async fn is_refused(disk: &Disk, db: &Db, transaction: &Transaction, why: &str) -> bool {
    let head = disk.git(&["rev-parse", "master"]);
    let Err(error) = timeout(TIMEOUT, transaction.commit("again")).await.unwrap() else {
        return false;
    };
    assert!(error.to_string().starts_with(why), "{error}");
    assert!(!transaction.closed());
    assert_eq!((disk.git(&["rev-parse", "master"]), disk.locks()), (head.clone(), vec![]));
    let master = db.branch("master").await.unwrap();
    let seen = master.head().await.unwrap().unwrap();
    assert_eq!(seen.id().to_string(), head);
    assert_eq!(seen.tree().read_file(&"first".parse().unwrap()).await.unwrap(), b"x");
    true
}

fn temporary_objects(disk: &Disk) -> Vec<PathBuf> {
    let dirs =
        std::fs::read_dir(disk.0.0.join(".git/objects")).unwrap().map(|dir| dir.unwrap().path());
    let files =
        dirs.flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path());
    files
        .filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("tmp_obj"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root to mount a disk; `tests/run reliability` runs it"]
async fn a_full_disk_refuses_the_commit_and_has_no_other_effect() {
    let disk = Disk::mount("full");
    let server = Server::start(&disk.0.0);
    let (db, other) = (server.connect().await, server.connect().await);
    commit(&db, "master", "first", "x").await.unwrap();
    let transaction = begin(&db, "master", "d/second", &"y".repeat(100_000)).await.unwrap();
    let mut filled = disk.fill();
    // Free one more page in each iteration. In the first iterations, the file itself does not fit
    // on the disk. In later iterations, the file fits, but its directories, the commit or the
    // branch does not.
    let mut refused = 0;
    while is_refused(&disk, &other, &transaction, "No space left on device: ").await {
        refused += 1;
        filled = filled.checked_sub(PAGE).expect("enough space for a commit");
        disk.shrink(filled);
    }
    println!("full {refused} times, then committed");
    assert!(refused >= 4, "the disk was full {refused} times only");
    assert_eq!(disk.git(&["show", "master:d/second"]).len(), 100_000);
    assert_eq!((temporary_objects(&disk), disk.locks()), (vec![], vec![]));
    std::fs::remove_file(disk.filler()).unwrap();
    commit(&other, "master", "third", "z").await.unwrap();
    disk.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root to mount a disk; `tests/run reliability` runs it"]
async fn a_read_only_disk_refuses_the_commit_and_has_no_other_effect() {
    let why = "Read-only file system: ";
    let disk = Disk::mount("read-only");
    let server = Server::start(&disk.0.0);
    let db = server.connect().await;
    commit(&db, "master", "first", "x").await.unwrap();
    let transaction = begin(&db, "master", "second", "y").await.unwrap();
    disk.remount("ro");
    assert!(is_refused(&disk, &db, &transaction, why).await);
    disk.remount("rw");
    transaction.commit("now").await.unwrap();
    drop(server);
    // A server on a read-only disk serves the existing commits.
    disk.remount("ro");
    let server = Server::start(&disk.0.0);
    let db = server.connect().await;
    let transaction = begin(&db, "master", "third", "z").await.unwrap();
    assert!(is_refused(&disk, &db, &transaction, why).await);
    disk.remount("rw");
    transaction.commit("now").await.unwrap();
    assert_eq!(disk.git(&["ls-tree", "--name-only", "master"]), "first\nsecond\nthird");
    disk.assert_sound();
}
