//! Creates the repositories for the benchmark with `git`.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::disk::Disk;
use crate::Res;

/// The length in bytes of every file in the repository.
pub(crate) const BLOB: usize = 1024;
/// The number of files in each directory except the large directory.
const IN_DIRECTORY: usize = 100;
/// The number of files in the large directory.
const LISTED: usize = 1000;

/// A bare repository with one commit on `master`.
pub(crate) struct Repository {
    dir: PathBuf,
    files: usize,
}

impl Repository {
    /// Creates a repository with `files` files in one pack. The `dir1k` directory contains 1000
    /// files, and every other directory contains 100 files.
    pub(crate) fn new(disk: &Disk, name: &str, files: usize) -> Res<Self> {
        let dir = disk.path().join(name);
        let repository = Self { dir, files };
        fs::create_dir_all(&repository.dir)
            .map_err(|error| format!("{}: {error}", repository.dir.display()))?;
        repository.git(&["init", "-q", "--bare", "-b", "master"], "")?;
        // Automatic garbage collection would disturb the measurement.
        repository.git(&["config", "gc.auto", "0"], "")?;
        repository.git(
            &["-c", "fastimport.unpackLimit=0", "fast-import", "--quiet"],
            &repository.history(),
        )?;
        repository.create_object_directories()?;
        Ok(repository)
    }

    /// Creates the directories for loose objects in advance so that the first measured commits do
    /// not have to create them.
    fn create_object_directories(&self) -> Res<()> {
        for first in 0..=u8::MAX {
            let dir = self.dir.join(format!("objects/{first:02x}"));
            fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        Ok(())
    }

    fn history(&self) -> String {
        let mut text = String::from(
            "commit refs/heads/master\ncommitter bench <bench@localhost> 1700000000 +0000\n",
        );
        text += "data 5\nfirst\n";
        let listed = (0..LISTED).map(|number| format!("dir1k/f{number:04}"));
        for (number, path) in self.paths(self.files - LISTED).into_iter().chain(listed).enumerate()
        {
            let line = format!("{number:031}\n");
            text +=
                &format!("M 644 inline {path}\ndata {BLOB}\n{}", line.repeat(BLOB / line.len()));
        }
        text
    }

    /// Returns the paths of the first `count` files that are not in the large directory.
    pub(crate) fn paths(&self, count: usize) -> Vec<String> {
        let count = count.min(self.files - LISTED).max(IN_DIRECTORY * 10);
        (0..count)
            .map(|number| format!("d{:03}/f{:03}", number / IN_DIRECTORY, number % IN_DIRECTORY))
            .collect()
    }

    pub(crate) fn path(&self) -> String {
        self.dir.display().to_string()
    }

    pub(crate) fn head(&self) -> Res<String> {
        self.git(&["rev-parse", "master"], "")
    }

    /// Checks that `master` has gained `made` commits and that `git fsck` passes.
    pub(crate) fn check(&self, made: u64) -> Res<()> {
        self.git(&["fsck", "--strict", "--no-dangling"], "")?;
        match self.git(&["rev-list", "--count", "master"], "")? {
            count if count == (made + 1).to_string() => Ok(()),
            count => Err(format!("{count} commits on master: must be {}", made + 1)),
        }
    }

    /// Runs `git` with the given input and returns its output.
    pub(crate) fn git(&self, args: &[&str], input: &str) -> Res<String> {
        let failed = |error: &dyn std::fmt::Display| format!("git {}: {error}", args.join(" "));
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        // Writing the entire input before reading any output cannot deadlock, because the commands
        // print nothing until they reach the end of their input.
        child
            .stdin
            .take()
            .map_or(Ok(()), |mut to| to.write_all(input.as_bytes()))
            .map_err(|error| failed(&error))?;
        let out = child.wait_with_output().map_err(|error| failed(&error))?;
        if !out.status.success() {
            return Err(failed(&String::from_utf8_lossy(&out.stderr)));
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
    }

    /// Returns a `git` command that runs in this repository and ignores the user and system
    /// configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir).args(args);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "bench")
                .env(format!("GIT_{role}_EMAIL"), "bench@localhost");
        }
        command
    }
}
