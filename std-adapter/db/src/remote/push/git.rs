//! Pushing by the `git` program.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Push;
use crate::remote::process_group::Group;
use crate::remote::said;
use crate::remote::timeout::Patient;
use crate::{BranchName, Error, Id, PATIENCE, Result};

/// Branches that one `git push` is told of: the length of a command has a limit.
const AT_ONCE: usize = 250;

/// So many bytes of what `git` says are kept, the last ones: the reasons of a failure come at its
/// end.
const WORDS: usize = 4096;

/// How long `git` and the programs that it started may clear up before they are killed.
const GRACE: Duration = Duration::from_secs(5);

/// The `git` program, working in a Git directory.
///
/// A push that shows no progress for a time is given up: all programs of it are ended.
#[derive(Debug, Clone)]
pub struct GitProgram {
    dir: PathBuf,
    patience: Option<Duration>,
}

impl GitProgram {
    /// For this Git directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> GitProgram {
        GitProgram { dir, patience: Some(PATIENCE) }
    }

    /// The same with another time after which a push without progress is given up; at first it is
    /// [`PATIENCE`], `None` is without end.
    #[must_use]
    pub fn patient(self, patience: Option<Duration>) -> GitProgram {
        GitProgram { patience, ..self }
    }

    fn push_part(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()> {
        // By its full name a branch may also be removed that is not there any more.
        let specs = branches.iter().map(|(branch, at)| {
            let source = at.map(|at| at.to_string()).unwrap_or_default();
            format!("{source}:refs/heads/{branch}")
        });
        let mut git = Command::new("git");
        // It tells of its progress, and so that it is alive; in English, so that this is known from
        // what is wrong.
        git.arg("--git-dir")
            .arg(&self.dir)
            .args(["push", "--progress", "--force", "--", url])
            .args(specs);
        git.env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::piped());
        // Nobody is there to be asked for a password.
        git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
        let mut running = Group::start(&mut git).map_err(|error| failed(&error))?;
        let mut words = Vec::new();
        let heard = self.hear(&mut running, &mut words);
        // What it left running may still have its output.
        let over = matches!(running.try_wait(), Ok(Some(_)));
        match heard {
            Err(error) if !over => {
                running.end(GRACE);
                Err(self.given_up(&error))
            }
            _ if running.wait().map_err(|error| failed(&error))?.success() => Ok(()),
            _ => Err(Error::Store(format!(
                "git push: {}",
                said::reasons(&String::from_utf8_lossy(&words))
            ))),
        }
    }

    /// Waits for the end of what it says, and keeps the last of it.
    fn hear(&self, running: &mut Group, words: &mut Vec<u8>) -> io::Result<()> {
        let Some(stderr) = running.stderr.take() else { return Ok(()) };
        let mut stderr = Patient::new(stderr, self.patience);
        // In parts: what another side says may be without end.
        while stderr.by_ref().take(WORDS as u64).read_to_end(words)? > 0 {
            words.drain(..words.len().saturating_sub(WORDS));
        }
        Ok(())
    }

    fn given_up(&self, error: &io::Error) -> Error {
        match self.patience {
            Some(patience) if error.kind() == io::ErrorKind::TimedOut => {
                Error::Store(format!("git push: no sign of life for {patience:?}"))
            }
            _ => failed(error),
        }
    }
}

impl Push for GitProgram {
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()> {
        // All of them, whatever becomes of one.
        let failed = branches.chunks(AT_ONCE).filter_map(|part| self.push_part(url, part).err());
        failed.reduce(|first, _| first).map_or(Ok(()), Err)
    }
}

fn failed(error: &io::Error) -> Error {
    Error::io("git push", error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::model::object::{Commit, encode_tree};
    use crate::store::{Git, Store};

    const SHORT: Duration = Duration::from_millis(500);

    /// A repository with a commit, and what pushes that as `master`.
    struct Here {
        place: tempfile::TempDir,
        program: GitProgram,
        id: Id,
    }

    impl Here {
        fn patient(patience: Duration) -> Here {
            let place = tempfile::tempdir().unwrap();
            let store = Git::open(place.path()).unwrap();
            let (tree, empty) = encode_tree([]).unwrap();
            let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
            store.write(&[(tree, empty), (id, commit)]).unwrap();
            Here { program: GitProgram::new(store.dir()).patient(Some(patience)), place, id }
        }

        /// Has a script for `ssh`, which is in the place of the repository.
        fn by(&self, script: &str) {
            let place = self.place.path();
            fs::write(place.join("ssh"), format!("cd {}; {script}", place.display())).unwrap();
            let command = format!("sh {}/ssh", place.display());
            // With the variant known, git does not try the script first.
            for (key, value) in [("core.sshCommand", &*command), ("ssh.variant", "ssh")] {
                let set =
                    Command::new("git").arg("-C").arg(place).args(["config", key, value]).status();
                assert!(set.unwrap().success());
            }
        }

        fn push(&self, url: &str) -> String {
            let branches = [(BranchName::new("master").unwrap(), Some(self.id))];
            match self.program.push(url, &branches) {
                Ok(()) => "pushed".to_owned(),
                Err(error) => error.to_string(),
            }
        }
    }

    #[test]
    fn who_says_nothing_is_given_up() {
        let here = Here::patient(SHORT);
        // The system connects whoever comes.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for scheme in ["git", "http"] {
            let text = here.push(&format!("{scheme}://{}/x", listener.local_addr().unwrap()));
            assert!(text.ends_with("git push: no sign of life for 500ms"), "{text}");
        }
    }

    #[test]
    fn all_that_git_started_is_ended() {
        let here = Here::patient(SHORT);
        let fifo = here.place.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        here.by("exec 9>fifo; sleep 1000 & wait");
        let (tell, told) = channel();
        // As long as one of them has it open.
        std::thread::spawn(move || tell.send(fs::read(fifo).unwrap()));
        assert!(here.push("ssh://far/x").ends_with("no sign of life for 500ms"));
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn who_makes_progress_is_waited_for() {
        let here = Here::patient(Duration::from_secs(2));
        let slowly = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n >&2; sleep 0.3; done";
        here.by(&format!("git init -q --bare there; {slowly}; exec git receive-pack there"));
        let begun = Instant::now();
        assert_eq!(here.push("ssh://far/x"), "pushed");
        assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_left_running_is_no_failure() {
        let here = Here::patient(Duration::from_secs(2));
        here.by("git init -q --bare there; sleep 10 & exec git receive-pack there");
        assert_eq!(here.push("ssh://far/x"), "pushed");
    }
}
