//! Work trees in which a branch is checked out. They go with it, as with
//! `receive.denyCurrentBranch=updateInstead`.
//!
//! An index that stays behind is dangerous: the next `git commit` there would take back what the
//! branch has got meanwhile. So index and files follow where nothing is lost by it, and the branch
//! stays where something would be. Both is done by the `git` program, which is not started for any
//! other branch.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::form::Work;
use super::lock::{Attempts, Lock};
use super::refs::{HEADS, Refs, Value, short};
use crate::{Error, Id, Result};

/// What would tell `git` of another repository than this one.
const ELSEWHERE: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
];

/// How long another program may have the lock of an index.
const INDEX: Duration = Duration::from_secs(2);

/// A work tree, the main one or a linked one.
#[derive(Debug, Clone)]
pub(super) struct WorkTree {
    /// The directory with its `HEAD` and `index`.
    git_dir: PathBuf,
    /// Empty if only a file `.git` in it says where it is.
    dir: PathBuf,
}

/// How a work tree uses a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// `HEAD` leads to it.
    CheckedOut,
    /// `git rebase` will move it when it is done.
    Rebased,
    /// `git bisect` will go back to it.
    Bisected,
}

/// A work tree that goes with a branch from one commit to another.
#[derive(Debug)]
pub(super) struct Follower {
    tree: WorkTree,
    branch: String,
    from: Option<Id>,
    to: Id,
    owner: Option<(u32, u32)>,
}

impl Refs<'_> {
    /// All work trees of the repository. None for most that are bare.
    fn work_trees(&self) -> Vec<WorkTree> {
        let common = self.common();
        let main = match self.work {
            Work::None => None,
            Work::In(dir) => Some(dir.clone()),
            Work::Somewhere => Some(PathBuf::new()),
        };
        let main = main.map(|dir| WorkTree { git_dir: common.to_owned(), dir });
        let linked =
            fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten().filter_map(
                |entry| {
                    let git_dir = entry.path();
                    let text = fs::read(git_dir.join("gitdir")).ok()?;
                    // It may be relative to the file.
                    let dot_git = git_dir.join(std::ffi::OsStr::from_bytes(text.trim_ascii()));
                    Some(WorkTree { dir: dot_git.parent()?.to_owned(), git_dir })
                },
            );
        main.into_iter().chain(linked).collect()
    }

    /// How `tree` uses the branch, if it does.
    fn use_of(&self, tree: &WorkTree, name: &[u8]) -> Option<Use> {
        if self.head_of(tree).iter().any(|link| link == name) {
            return Some(Use::CheckedOut);
        }
        let lines = |file: &str| fs::read(tree.git_dir.join(file)).unwrap_or_default();
        let has = |file: &str, name: &[u8]| {
            lines(file).split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == name)
        };
        if ["rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"]
            .iter()
            .any(|file| has(file, name))
        {
            return Some(Use::Rebased);
        }
        let bisected = name.strip_prefix(HEADS).is_some_and(|name| has("BISECT_START", name));
        (bisected && tree.git_dir.join("BISECT_LOG").exists()).then_some(Use::Bisected)
    }

    /// The branch that `HEAD` of a work tree leads to, with the symbolic ones on the way. Empty if
    /// it is detached.
    fn head_of(&self, tree: &WorkTree) -> Vec<Vec<u8>> {
        let text = fs::read(tree.git_dir.join("HEAD")).unwrap_or_default();
        let mut links: Vec<Vec<u8>> = Vec::new();
        let mut next = text.strip_prefix(b"ref:").map(|name| name.trim_ascii().to_vec());
        while let Some(name) = next.filter(|name| !links.contains(name)) {
            next = match self.loose(&name) {
                Ok(Value::Symbolic(to)) => Some(to),
                _ => None,
            };
            links.push(name);
        }
        links
    }

    /// The work trees that go with a branch which moves.
    ///
    /// # Errors
    /// [`Error::Refused`] where one of them must not.
    pub(super) fn followers(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Option<Id>,
    ) -> Result<Vec<Follower>> {
        let mut followers = Vec::new();
        for tree in self.work_trees() {
            let Some(used) = self.use_of(&tree, name) else { continue };
            let (branch, owner) = (short(name), self.files.owner());
            match to {
                Some(_) if tree.dir.as_os_str().is_empty() => {
                    let text = format!(
                        "branch {branch:?} is checked out elsewhere: serve the directory with the file .git"
                    );
                    return Err(Error::Refused(text));
                }
                // Where it was removed by hand there is nothing to lose.
                Some(_) if !tree.dir.is_dir() => {}
                Some(to) if used == Use::CheckedOut => {
                    let follower = Follower { tree, branch, from, to, owner };
                    follower.check()?;
                    followers.push(follower);
                }
                _ => return Err(used.refused(&branch, &tree.dir)),
            }
        }
        Ok(followers)
    }

    /// The work trees of which the `HEAD` goes with a branch that gets another name.
    ///
    /// # Errors
    /// [`Error::Refused`] where `git` will need the old name.
    pub(super) fn checked_out_in(&self, name: &[u8]) -> Result<Vec<WorkTree>> {
        let mut found = Vec::new();
        for tree in self.work_trees() {
            match self.use_of(&tree, name) {
                None => {}
                Some(Use::CheckedOut) => found.push(tree),
                Some(other) => return Err(other.refused(&short(name), &tree.dir)),
            }
        }
        Ok(found)
    }

    /// Has the `HEAD` of a work tree lead to a branch.
    pub(super) fn set_head(&self, tree: &WorkTree, name: &[u8], until: Instant) -> io::Result<()> {
        let held = |error| io::Error::other(format!("{error:?}"));
        let mut lock = Lock::take(&tree.git_dir.join("HEAD"), &tree.git_dir, self.files, until)
            .map_err(held)?;
        lock.file.write_all(&[b"ref: ", name, b"\n"].concat())?;
        if self.files.sync.files() {
            lock.file.sync_all()?;
        }
        lock.place(until)
    }
}

impl Use {
    fn refused(self, branch: &str, dir: &Path) -> Error {
        let how = match self {
            Use::CheckedOut => "checked out",
            Use::Rebased => "being rebased",
            Use::Bisected => "being bisected",
        };
        let place =
            if dir.as_os_str().is_empty() { Path::new("a work tree elsewhere") } else { dir };
        Error::Refused(format!("branch {branch:?} is {how} in {}", place.display()))
    }
}

impl Follower {
    /// Refuses if something would be lost.
    fn check(&self) -> Result<()> {
        let out = self.git(&["update-index", "-q", "--ignore-submodules", "--refresh"])?;
        // With 1 it has found changes, of which the next two say more.
        if !matches!(out.status.code(), Some(0 | 1)) {
            let said = said(&out);
            return Err(self.refused(
                "",
                if said.is_empty() { "another git holds index.lock" } else { &said },
            ));
        }
        let from = self.from.unwrap_or(Id::EMPTY_TREE).to_string();
        for look in [
            &["diff-files", "--quiet", "--ignore-submodules", "--"][..],
            &["diff-index", "--quiet", "--cached", "--ignore-submodules", &from, "--"],
        ] {
            let out = self.git(look)?;
            match out.status.code() {
                Some(0) => {}
                Some(1) => return Err(self.refused("changes that are not committed", "")),
                _ => return Err(self.refused("git does not read it", &said(&out))),
            }
        }
        Ok(())
    }

    /// Moves index and files, all or nothing.
    pub(super) fn go(&self) -> Result<()> {
        self.read_tree(self.from.unwrap_or(Id::EMPTY_TREE), self.to)
    }

    /// Undoes it: the branch does not move after all.
    pub(super) fn back(&self) {
        if let Err(error) = self.read_tree(self.to, self.from.unwrap_or(Id::EMPTY_TREE)) {
            tracing::error!(
                "{} has commit {} and branch {} has not: {error}",
                self.tree.dir.display(),
                self.to,
                self.branch
            );
        }
    }

    fn read_tree(&self, from: Id, to: Id) -> Result<()> {
        let out = self.git(&["read-tree", "-u", "-m", &from.to_string(), &to.to_string()])?;
        if out.status.success() { Ok(()) } else { Err(self.refused("", &said(&out))) }
    }

    /// Waits for others who have the index for an instant, as `git status` has it.
    fn git(&self, args: &[&str]) -> Result<Output> {
        let mut attempts = Attempts::until(Instant::now() + INDEX);
        loop {
            let out = self.run(args)?;
            // `update-index -q` says nothing of it.
            let quiet = out.status.code() == Some(128) && out.stderr.is_empty();
            let held =
                quiet || String::from_utf8_lossy(&out.stderr).contains("index.lock': File exists");
            if !held || !attempts.again() {
                return Ok(out);
            }
        }
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let mut git = program(self.owner);
        git.args(args).current_dir(&self.tree.dir);
        git.env("GIT_DIR", &self.tree.git_dir).env("GIT_WORK_TREE", &self.tree.dir);
        git.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.refused("there is no git program to update it", ""),
            _ => self.refused("git cannot be started", &error.to_string()),
        })
    }

    /// What is wrong goes first: the end of a long text does not get to the client.
    fn refused(&self, why: &str, said: &str) -> Error {
        let texts =
            [why, said].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        let (branch, dir) = (&self.branch, self.tree.dir.display());
        Error::Refused(format!("work tree of {branch:?}: {texts} ({dir})"))
    }
}

/// `git`, with nothing of another repository. It runs no hook.
pub(super) fn program(owner: Option<(u32, u32)>) -> Command {
    let mut git = Command::new("git");
    git.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    for variable in ELSEWHERE {
        git.env_remove(variable);
    }
    if let Some((user, group)) = owner {
        // Filters of the repository run as its owner, never as root. Root's own settings are none
        // of theirs.
        git.uid(user).gid(group).env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    }
    git
}

/// The first lines of what git says is wrong.
fn said(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr);
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: ").trim_start_matches("fatal: "));
    lines.filter(|line| !line.is_empty()).take(2).collect::<Vec<_>>().join(" ")
}
