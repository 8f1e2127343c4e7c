//! Pushes branches to another repository with `git push`.

use std::path::PathBuf;
use std::time::Duration;

use super::subprocess::{self, GitError, TIMEOUT};
use crate::{BranchName, Id};

/// The maximum number of branches per `git push` command. The limit is needed because Linux limits
/// the length of a command line.
const MAX_BRANCHES_PER_PUSH: usize = 250;

/// The time between SIGTERM and SIGKILL when a push has timed out.
const GRACE: Duration = Duration::from_secs(5);

/// The text that `git push` prints for each branch rejected by the remote or a hook.
const REJECTED: &str = "rejected]";

/// A type that can push branches to another repository.
pub trait Push: Send + Sync + 'static {
    /// Force-pushes each branch, so that its head in the repository at `url` becomes the given
    /// commit. If the commit is `None`, the branch is removed from that repository. Blocks on
    /// network access.
    ///
    /// # Errors
    /// Returns a [`PushError`] if a branch cannot be pushed. Other branches may have been pushed
    /// even if an error is returned.
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<(), PushError>;
}

/// An error that occurred during a push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The remote or one of its hooks rejected at least one branch. The string is the error message
    /// that `git` printed.
    #[error("{0}")]
    Rejected(String),
    /// The `git` program failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Pushes branches from a Git directory with the `git` program.
#[derive(Debug, Clone)]
pub struct GitPush {
    dir: PathBuf,
    timeout: Option<Duration>,
}

impl GitPush {
    /// Creates a `GitPush` for the Git directory `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> GitPush {
        GitPush { dir, timeout: Some(TIMEOUT) }
    }

    /// Sets how long a push may make no progress before it fails. The default is [`TIMEOUT`]. If
    /// the timeout is `None`, a push never times out.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> GitPush {
        GitPush { timeout, ..self }
    }

    fn push_part(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<(), PushError> {
        // Use full ref names. With a short name, `git` cannot remove a branch that does not exist
        // locally.
        let refspecs = branches.iter().map(|(branch, head)| {
            let source = head.map(|head| head.to_string()).unwrap_or_default();
            format!("{source}:refs/heads/{branch}")
        });
        let mut git = subprocess::git();
        git.arg("--git-dir").arg(&self.dir);
        git.args(["push", "--progress", "--force", "--", url]).args(refspecs);
        let (status, stderr) = subprocess::run::<GitError>(&mut git, self.timeout, GRACE, Ok)?;
        if status.success() {
            return Ok(());
        }
        let failure = stderr.failure();
        Err(if failure.contains(REJECTED) {
            PushError::Rejected(failure)
        } else if failure.is_empty() {
            GitError::Failed(format!("git push: {status}")).into()
        } else {
            GitError::Failed(failure).into()
        })
    }
}

impl Push for GitPush {
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<(), PushError> {
        // Push every part of the list, even if an earlier part could not be pushed.
        let parts = branches.chunks(MAX_BRANCHES_PER_PUSH);
        let failed = parts.filter_map(|part| self.push_part(url, part).err());
        failed.reduce(|first, _| first).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::object::{Commit, encode_tree};
    use crate::store::{GitStore, Store};

    const SHORT: Duration = Duration::from_millis(500);

    /// A repository with a single commit, which the tests push to the `master` branch.
    struct PushSource {
        dir: tempfile::TempDir,
        push: GitPush,
        id: Id,
    }

    impl PushSource {
        fn with_timeout(timeout: Duration) -> PushSource {
            let dir = tempfile::tempdir().unwrap();
            let store = GitStore::open(dir.path()).unwrap();
            let (tree, empty) = encode_tree([]).unwrap();
            let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
            store.write(&[(tree, empty), (id, commit)]).unwrap();
            PushSource { push: GitPush::new(store.dir()).with_timeout(Some(timeout)), dir, id }
        }

        /// Makes `git` run a script instead of `ssh`. The script's working directory is the
        /// repository.
        fn use_ssh_script(&self, script: &str) {
            let dir = self.dir.path();
            fs::write(dir.join("ssh"), format!("cd {}; {script}", dir.display())).unwrap();
            let command = format!("sh {}/ssh", dir.display());
            // Set `ssh.variant`. Otherwise, `git` would run the script an additional time to detect
            // the variant of `ssh`.
            for (key, value) in [("core.sshCommand", &*command), ("ssh.variant", "ssh")] {
                let set =
                    Command::new("git").arg("-C").arg(dir).args(["config", key, value]).status();
                assert!(set.unwrap().success());
            }
        }

        fn push(&self, url: &str) -> Result<(), PushError> {
            self.push.push(url, &[(BranchName::new("master").unwrap(), Some(self.id))])
        }
    }

    const TIMED_OUT: Result<(), PushError> = Err(PushError::Git(GitError::TimedOut(SHORT)));

    #[test]
    fn a_silent_remote_times_out() {
        let source = PushSource::with_timeout(SHORT);
        // The kernel accepts connections even though no thread calls `accept`.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for scheme in ["git", "http"] {
            let url = format!("{scheme}://{}/x", listener.local_addr().unwrap());
            assert_eq!(source.push(&url), TIMED_OUT, "{url}");
        }
    }

    #[test]
    fn a_timeout_ends_everything_that_git_started() {
        let source = PushSource::with_timeout(SHORT);
        let fifo = source.dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        source.use_ssh_script("exec 9>fifo; sleep 1000 & wait");
        let (sender, receiver) = channel();
        // The read returns when all processes that inherited the FIFO have exited.
        std::thread::spawn(move || sender.send(fs::read(fifo).unwrap()));
        assert_eq!(source.push("ssh://far/x"), TIMED_OUT);
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_slow_push_with_progress_succeeds() {
        let source = PushSource::with_timeout(Duration::from_secs(2));
        let slowly = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n >&2; sleep 0.3; done";
        source.use_ssh_script(&format!(
            "git init -q --bare there; {slowly}; exec git receive-pack there"
        ));
        let start = Instant::now();
        assert_eq!(source.push("ssh://far/x"), Ok(()));
        assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn a_push_that_leaves_a_background_process_succeeds() {
        let source = PushSource::with_timeout(Duration::from_secs(2));
        source.use_ssh_script("git init -q --bare there; sleep 10 & exec git receive-pack there");
        assert_eq!(source.push("ssh://far/x"), Ok(()));
    }

    #[test]
    fn many_branches_are_pushed_in_parts() {
        let source = PushSource::with_timeout(TIMEOUT);
        let remote = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let output = Command::new("git").arg("-C").arg(remote.path()).args(args).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        git(&["init", "-q", "--bare", "."]);
        // Together, these names exceed the maximum length of a command line.
        let dir = format!("{}/", "d".repeat(250)).repeat(9);
        let name = |n| BranchName::new(format!("{dir}{n}")).unwrap();
        let branches: Vec<_> = (0..1000).map(|n| (name(n), Some(source.id))).collect();
        source.push.push(&remote.path().display().to_string(), &branches).unwrap();
        assert_eq!(git(&["for-each-ref", "--format=x"]).lines().count(), branches.len());
    }
}
