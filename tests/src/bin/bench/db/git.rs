//! Runs the workloads with `git`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use super::{Fsync, repository::Repository};
use crate::Res;

/// Makes commits without a working tree. Each commit runs five of Git's plumbing commands.
pub(crate) struct Plumbing<'r> {
    repository: &'r Repository,
    sync: Fsync,
    head: String,
    pub(crate) made: u64,
}

impl<'r> Plumbing<'r> {
    pub(crate) fn new(repository: &'r Repository, sync: Fsync) -> Res<Self> {
        repository.git(&["read-tree", "master"], "")?;
        Ok(Self { repository, sync, head: repository.head()?, made: 0 })
    }

    pub(crate) fn rate(&mut self, length: Duration, path: &str) -> Res<f64> {
        let (begin, before) = (Instant::now(), self.made);
        while begin.elapsed() < length {
            self.commit(path)?;
        }
        Ok((self.made - before) as f64 / begin.elapsed().as_secs_f64())
    }

    fn commit(&mut self, path: &str) -> Res<()> {
        let git = |args: &[&str], input: &str| {
            self.repository.git(&[&["-c", self.sync.for_git()], args].concat(), input)
        };
        self.made += 1;
        let blob = git(&["hash-object", "-w", "--stdin"], &format!("change {}\n", self.made))?;
        git(&["update-index", "--cacheinfo", &format!("100644,{blob},{path}")], "")?;
        let tree = git(&["write-tree"], "")?;
        let commit = git(&["commit-tree", &tree, "-p", &self.head, "-m", "a change"], "")?;
        git(&["update-ref", "refs/heads/master", &commit, &self.head], "")?;
        self.head = commit;
        Ok(())
    }
}

/// A running `git cat-file --batch` process.
pub(crate) struct Cat {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    ids: Vec<String>,
    turn: usize,
}

impl Cat {
    pub(crate) fn new(repository: &Repository, paths: &[String]) -> Res<Self> {
        let asked: String = paths.iter().map(|path| format!("master:{path}\n")).collect();
        let ids = repository.git(&["cat-file", "--batch-check=%(objectname)"], &asked)?;
        let started = repository
            .command(&["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|error| format!("git cat-file: {error}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let from = BufReader::with_capacity(1 << 16, from);
        Ok(Self {
            child,
            to,
            from,
            ids: ids.lines().map(|id| format!("{id}\n")).collect(),
            turn: 0,
        })
    }

    /// Returns the number of blobs read per second with `depth` requests in flight.
    pub(crate) fn rate(&mut self, length: Duration, depth: usize) -> Res<f64> {
        let failed = |error: std::io::Error| format!("git cat-file: {error}");
        let (begin, mut done) = (Instant::now(), 0u64);
        self.request(depth).map_err(failed)?;
        while begin.elapsed() < length {
            // Read all blobs that have arrived, and then send the same number of new requests with
            // a single write.
            let mut came = 0;
            while came == 0 || (!self.from.buffer().is_empty() && came < depth) {
                self.read_blob().map_err(failed)?;
                came += 1;
            }
            done += came as u64;
            self.request(came).map_err(failed)?;
        }
        let rate = done as f64 / begin.elapsed().as_secs_f64();
        (0..depth).try_for_each(|_| self.read_blob()).map_err(failed)?;
        Ok(rate)
    }

    fn request(&mut self, count: usize) -> std::io::Result<()> {
        let mut text = String::new();
        for _ in 0..count {
            text += &self.ids[self.turn % self.ids.len()];
            self.turn += 1;
        }
        self.to.write_all(text.as_bytes())
    }

    /// Reads one reply, which consists of the line `HASH blob LENGTH`, the content, and a newline.
    fn read_blob(&mut self) -> std::io::Result<()> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let length =
            line.trim_end().rsplit(' ').next().and_then(|length| length.parse::<usize>().ok());
        let length =
            length.ok_or_else(|| std::io::Error::other(format!("unexpected output {line:?}")))?;
        let mut blob = vec![0; length + 1];
        self.from.read_exact(&mut blob)
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        // Ignore errors because `kill` and `wait` fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
