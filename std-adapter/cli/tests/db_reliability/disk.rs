//! A disk that is full, and one that is read-only.

use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use datakit_client::db::{Db, Transaction};
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, begin, commit};

/// What a disk of memory gives and takes at a time.
const PAGE: u64 = 4096;

/// A repository on a small disk of its own.
struct Disk(Repository);

impl Disk {
    fn mount(name: &str) -> Disk {
        let repository = Repository::new(name);
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"], &repository);
        Disk(repository)
    }

    /// `ro` or `rw`.
    fn make(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], &self.0);
    }

    fn filler(&self) -> PathBuf {
        self.0.0.join("filler")
    }

    /// Leaves no space; how much that took.
    fn fill(&self) -> u64 {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[1; PAGE as usize]).is_ok() {}
        file.metadata().unwrap().len().next_multiple_of(PAGE)
    }

    fn leave(&self, filled: u64) {
        File::options().write(true).open(self.filler()).unwrap().set_len(filled).unwrap();
    }
}

impl Deref for Disk {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

fn run(program: &str, args: &[&str], at: &Repository) {
    let out = Command::new(program).args(args).arg(&at.0).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The commit is refused for this reason, and nothing else has happened.
async fn is_refused(disk: &Disk, db: &Db, transaction: &Transaction, why: &str) -> bool {
    let head = disk.git(&["rev-parse", "master"]);
    let Err(error) = timeout(PATIENCE, transaction.commit("again")).await.unwrap() else {
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

fn leftovers(disk: &Disk) -> Vec<PathBuf> {
    let dirs =
        std::fs::read_dir(disk.0.0.join(".git/objects")).unwrap().map(|dir| dir.unwrap().path());
    let files =
        dirs.flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path());
    files
        .filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("tmp_obj"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a disk, which only root may; `tests/run reliability` does"]
async fn a_full_disk_refuses_the_commit_and_nothing_else() {
    let disk = Disk::mount("full");
    let program = Program::start(&disk.0.0);
    let (db, other) = (program.connect().await, program.connect().await);
    commit(&db, "master", "first", "x").await.unwrap();
    let transaction = begin(&db, "master", "d/second", &"y".repeat(100_000)).await.unwrap();
    let mut filled = disk.fill();
    // A page more each time: the disk is full for the file, then for its directories, the commit,
    // the branch.
    let mut refused = 0;
    while is_refused(&disk, &other, &transaction, "No space left on device: ").await {
        refused += 1;
        filled = filled.checked_sub(PAGE).expect("space enough for a commit");
        disk.leave(filled);
    }
    println!("full {refused} times, then committed");
    assert!(refused >= 4, "the disk was full {refused} times only");
    assert_eq!(disk.git(&["show", "master:d/second"]).len(), 100_000);
    assert_eq!((leftovers(&disk), disk.locks()), (vec![], vec![]));
    std::fs::remove_file(disk.filler()).unwrap();
    commit(&other, "master", "third", "z").await.unwrap();
    disk.is_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a disk, which only root may; `tests/run reliability` does"]
async fn a_read_only_disk_refuses_the_commit_and_nothing_else() {
    let why = "Read-only file system: ";
    let disk = Disk::mount("read-only");
    let program = Program::start(&disk.0.0);
    let db = program.connect().await;
    commit(&db, "master", "first", "x").await.unwrap();
    let transaction = begin(&db, "master", "second", "y").await.unwrap();
    disk.make("ro");
    assert!(is_refused(&disk, &db, &transaction, why).await);
    disk.make("rw");
    transaction.commit("now").await.unwrap();
    drop(program);
    // A server that finds it so serves what is there.
    disk.make("ro");
    let program = Program::start(&disk.0.0);
    let db = program.connect().await;
    let transaction = begin(&db, "master", "third", "z").await.unwrap();
    assert!(is_refused(&disk, &db, &transaction, why).await);
    disk.make("rw");
    transaction.commit("now").await.unwrap();
    assert_eq!(disk.git(&["ls-tree", "--name-only", "master"]), "first\nsecond\nthird");
    disk.is_sound();
}
