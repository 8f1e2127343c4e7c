//! The `bench db` command, which compares the database with `git`. The database and `git` take
//! turns, pinned to one CPU.

mod commit;
mod disk;
mod git;
mod live;
mod repository;

use std::{env, time::Duration};

use crate::{
    Options, Res,
    client::Target,
    load, process,
    process::ServerProcess,
    report::median,
    workload::{Operation, Workload, row},
};
use commit::Committer;
use disk::Disk;
use repository::Repository;

/// The names of the workloads.
pub(crate) const ROWS: [&str; 10] = [
    "commit-files",
    "commit-all",
    "commit-none",
    "commit-memory",
    "branches-64",
    "blob-1",
    "blob-32",
    "listing",
    "live",
    "idle-100k",
];

/// Which files are synced to disk before a commit is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fsync {
    /// Neither the server nor `git` syncs files.
    None,
    /// Both the server and `git` sync object files and branch files.
    Files,
    /// Both the server and `git` sync object files and branch files. The server also syncs
    /// directories, which it does by default. `git` cannot sync directories.
    All,
}

impl Fsync {
    fn for_git(self) -> &'static str {
        match self {
            Fsync::None => "core.fsync=none",
            Fsync::Files | Fsync::All => "core.fsync=loose-object,reference",
        }
    }

    fn for_datakit(self) -> &'static str {
        match self {
            Fsync::None => "--fsync=none",
            Fsync::Files => "--fsync=files",
            Fsync::All => "--fsync=all",
        }
    }
}

/// A table row.
struct DbRow {
    name: &'static str,
    ours: String,
    beside: String,
    ratio: String,
    budget: &'static str,
    passed: bool,
}

/// The settings of all workloads.
struct Bench<'o> {
    options: &'o Options,
    cpu: usize,
    files: usize,
    disk: Disk,
}

/// Runs the workloads and prints the table. Returns whether the run passed. Without `--check`,
/// every run passes.
pub(crate) fn run(options: &Options) -> Res<bool> {
    let on = options.on.clone().or_else(|| options.quick.then(env::temp_dir));
    if on.is_none() {
        disk::enter_mount_namespace();
    }
    let cpu = process::pin(options.cpu)?;
    let files = if options.quick { 1000 } else { 10_000 };
    let disk = on.map_or_else(Disk::mounted, |dir| Disk::in_dir(&dir))?;
    let bench = Bench { options, cpu, files, disk };
    println!(
        "CPU {cpu}, {} rounds of {:?}, medians; {}",
        options.rounds, options.length, bench.disk
    );
    let wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name));
    let mut passed = true;
    println!("| workload      | {:>14} {:>22} | ratio | must", "datakit", "compared with");
    for name in ROWS.into_iter().filter(|name| wanted(name)) {
        let row = bench.row(name).unwrap_or_else(|error| DbRow::failed(name, &error));
        let DbRow { name, ours, beside, ratio, budget, .. } = &row;
        let verdict = if row.passed { "" } else { "  MISSED" };
        println!("| {name:<13} | {ours:>14} {beside:>22} | {ratio:>5} | {budget}{verdict}");
        passed &= row.passed;
    }
    Ok(passed || !options.check)
}

impl DbRow {
    fn failed(name: &'static str, error: &str) -> DbRow {
        let (ours, beside, ratio) = (format!("FAILED: {error}"), String::new(), String::new());
        DbRow { name, ours, beside, ratio, budget: "", passed: false }
    }

    /// Summarizes the rates measured in each round. The row passes if the median ratio of the first
    /// rate to the second is at least `must`.
    fn rates(
        name: &'static str,
        rounds: &[(f64, f64)],
        beside: &str,
        must: f64,
        budget: &'static str,
    ) -> DbRow {
        let ours = median(rounds.iter().map(|(ours, _)| *ours));
        let theirs = median(rounds.iter().map(|(_, theirs)| *theirs));
        let ratio = median(rounds.iter().map(|(ours, theirs)| ours / theirs));
        DbRow {
            name,
            ours: format!("{ours:.0}/s"),
            beside: format!("{theirs:.0}/s {beside}"),
            ratio: format!("{ratio:.2}"),
            budget,
            passed: ratio >= must,
        }
    }

    fn alone(name: &'static str, ours: String, budget: &'static str, passed: bool) -> DbRow {
        DbRow { name, ours, beside: String::new(), ratio: "-".into(), budget, passed }
    }
}

impl Bench<'_> {
    fn row(&self, name: &'static str) -> Res<DbRow> {
        match name {
            "commit-files" => self.commit_disk(name, Fsync::Files, "5, both sync files"),
            "commit-all" => self.commit_disk(name, Fsync::All, "5, datakit also syncs directories"),
            "commit-none" => self.commit_disk(name, Fsync::None, "5, neither syncs anything"),
            "commit-memory" => self.commit_memory(name),
            "branches-64" => self.branches(name),
            "blob-1" => self.blob(name, Operation::Burst, 1),
            "blob-32" => self.blob(name, Operation::Cycle, 32),
            "listing" => self.listing(name),
            "live" => self.live(name),
            _ => self.idle(name),
        }
    }

    fn rounds(&self, mut round: impl FnMut() -> Res<(f64, f64)>) -> Res<Vec<(f64, f64)>> {
        (0..self.options.rounds).map(|_| round()).collect()
    }

    fn serve(&self, options: &[&str]) -> Res<ServerProcess> {
        let server = ServerProcess::local(options)?;
        server.pin(self.cpu)?;
        Ok(server)
    }

    /// Measures commits that each change one small file in a large tree. Each side uses its own new
    /// repository.
    fn commit_disk(&self, name: &'static str, sync: Fsync, budget: &'static str) -> Res<DbRow> {
        let made =
            |whose: &str| Repository::new(&self.disk, &format!("{name}-{whose}"), self.files);
        let (ours, theirs) = (made("ours")?, made("git")?);
        let path = ours.path();
        let server = self.serve(&["--git", &path, sync.for_datakit()])?;
        let mut plumbing = git::Plumbing::new(&theirs, sync)?;
        let mut committer = Committer::new(&server.target, &["master"])?;
        let rounds = self.rounds(|| {
            Ok((
                committer.rate(self.options.length, "d007/f007")?,
                plumbing.rate(self.options.length, "d007/f007")?,
            ))
        })?;
        for (repository, made) in [(&ours, committer.made), (&theirs, plumbing.made)] {
            repository.check(made)?;
        }
        Ok(DbRow::rates(name, &rounds, "git plumbing", 5.0, budget))
    }

    fn commit_memory(&self, name: &'static str) -> Res<DbRow> {
        const MUST: f64 = 5000.0;
        let server = self.serve(&[])?;
        let mut committer = Committer::new(&server.target, &["master"])?;
        let rates: Res<Vec<f64>> =
            (0..self.options.rounds).map(|_| committer.rate(self.options.length, "file")).collect();
        let rate = median(rates?.into_iter());
        Ok(DbRow::alone(name, format!("{rate:.0}/s"), "5000/s, one client, one core", rate >= MUST))
    }

    /// Compares the total commit rate of 64 clients, each with its own branch, with the rate of a
    /// single client. The workload is designed to reveal any lock shared by all branches. The
    /// workload runs on all CPUs, because such a lock has no effect on a single CPU.
    fn branches(&self, name: &'static str) -> Res<DbRow> {
        let server = ServerProcess::local(&[])?;
        let names: Vec<String> = (0..64).map(|number| format!("b{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut many, mut one) =
            (Committer::new(&server.target, &names)?, Committer::new(&server.target, &["one"])?);
        let rounds = self.rounds(|| {
            Ok((many.rate(self.options.length, "file")?, one.rate(self.options.length, "file")?))
        })?;
        Ok(DbRow::rates(name, &rounds, "one client", 1.0, "not below one client's"))
    }

    /// Reads 1 KiB blobs under `snapshots/HASH/ro`. Each blob requires a walk, an open, a read and
    /// a clunk. If only one blob is in flight at a time, the client sends all four messages
    /// together, so each blob takes one round trip, as with `git`.
    fn blob(&self, name: &'static str, operation: Operation, depth: u16) -> Res<DbRow> {
        let repository = Repository::new(&self.disk, name, self.files)?;
        let server = self.serve(&["--git", &repository.path()])?;
        let mut target = self.snapshot(&server, &repository)?;
        target.small = repository.paths(1000);
        target.count = repository::BLOB as u32;
        let workload = Workload { name, ..row(name, operation, depth, 1.0, 1.0) };
        let mut cat = git::Cat::new(&repository, &target.small)?;
        let rounds = self.rounds(|| {
            let ours = load::measure(&target, &workload, self.options.length, 0)?.rate;
            Ok((ours, cat.rate(self.options.length, depth.into())?))
        })?;
        Ok(DbRow::rates(name, &rounds, "git cat-file --batch", 1.0, "1"))
    }

    fn snapshot(&self, server: &ServerProcess, repository: &Repository) -> Res<Target> {
        let mut target = server.target.clone();
        target.under = vec!["snapshots".into(), repository.head()?, "ro".into()];
        Ok(target)
    }

    /// Measures listing a directory of 1000 entries, both in a snapshot and in the scratch tree.
    fn listing(&self, name: &'static str) -> Res<DbRow> {
        let repository = Repository::new(&self.disk, name, self.files)?;
        let server = self.serve(&["--git", &repository.path()])?;
        let scratch = self.serve(&["--scratch"])?;
        crate::client::fill_tree(&scratch.target, 4096)?;
        let target = self.snapshot(&server, &repository)?;
        let workload = row(name, Operation::Readdir, 1, 0.5, 0.5);
        let rounds = self.rounds(|| {
            let measure = |target: &Target| {
                Ok::<_, String>(load::measure(target, &workload, self.options.length, 0)?.rate)
            };
            Ok((measure(&target)?, measure(&scratch.target)?))
        })?;
        Ok(DbRow::rates(name, &rounds, "scratch tree", 0.5, "0.5 of scratch"))
    }

    /// Measures the time from the reply to a commit until 1000 connections have received the new
    /// head. Each connection reads the head from `head.live`.
    fn live(&self, name: &'static str) -> Res<DbRow> {
        const WATCHERS: usize = 1000;
        process::allow_files(WATCHERS as u64 + 100)?;
        let server = self.serve(&[])?;
        let mut committer = Committer::new(&server.target, &["master"])?;
        // Other connections cannot see a branch until it has a commit.
        committer.one("file")?;
        let mut watchers = live::Watchers::new(&server.target, "master", WATCHERS)?;
        let mut delays = Vec::new();
        for _ in 0..self.options.rounds * 10 {
            delays.extend(watchers.after(|| committer.one("file"))?);
        }
        let millis = median(delays.iter().map(|delay: &Duration| delay.as_secs_f64() * 1e3));
        Ok(DbRow::alone(name, format!("{millis:.2} ms"), "5 ms, 1000 watchers", millis < 5.0))
    }

    /// Measures the resident memory after listing a large repository and committing to it.
    fn idle(&self, name: &'static str) -> Res<DbRow> {
        const MUST: f64 = 64.0;
        let repository = Repository::new(&self.disk, name, self.files * 10)?;
        let server = self.serve(&["--git", &repository.path()])?;
        let target = self.snapshot(&server, &repository)?;
        let listing = row(name, Operation::Readdir, 1, 0.0, 0.0);
        load::measure(&target, &listing, Duration::from_millis(10), 0)?;
        Committer::new(&server.target, &["master"])?.one("d007/f007")?;
        let mib = server.resident()? as f64 / f64::from(1 << 20);
        Ok(DbRow::alone(name, format!("{mib:.1} MiB"), "64 MiB", mib < MUST))
    }
}
