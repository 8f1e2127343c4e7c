//! Updates the work trees in which a branch is checked out, in the same way as `git` with
//! `receive.denyCurrentBranch=updateInstead`.
//!
//! Updating only the branch would leave the index out of date, and the next `git commit` in the
//! work tree would revert the update. Therefore, the work tree's index and files are updated along
//! with the branch. If local changes would be overwritten, the branch is not updated. The `git`
//! program performs these updates and is started only if the branch is checked out.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::discover::MainWorkTree;
use super::lock_file::{Backoff, LockFile};
use super::refs::{HEADS, RefTarget, Refs, short_name};
use crate::remote::subprocess;
use crate::{Error, Id, Result};

/// The maximum time to wait while another program holds the lock on an index.
const INDEX_TIMEOUT: Duration = Duration::from_secs(2);

/// The main work tree of a repository, or a linked work tree.
#[derive(Debug, Clone)]
pub(super) struct WorkTree {
    /// The directory that contains the work tree's `HEAD` and `index`.
    git_dir: PathBuf,
    /// The directory that contains the work tree's files, or `None` if the repository does not
    /// record it.
    dir: Option<PathBuf>,
}

/// How a work tree uses a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BranchUse {
    /// `HEAD` points to the branch.
    CheckedOut,
    /// An unfinished `git rebase` will update the branch.
    Rebased,
    /// An unfinished `git bisect` will check out the branch.
    Bisected,
}

/// A work tree update that accompanies an update to the work tree's branch.
#[derive(Debug)]
pub(super) struct WorkTreeUpdate {
    git_dir: PathBuf,
    dir: PathBuf,
    branch: String,
    /// The branch's old head, or the empty tree if the branch is being created.
    from: Id,
    to: Id,
    owner: Option<(u32, u32)>,
}

impl Refs<'_> {
    /// Returns all linked work trees and, unless the repository is bare, the main work tree.
    fn work_trees(&self) -> Vec<WorkTree> {
        let common = self.common();
        let main = match self.work_tree {
            MainWorkTree::None => None,
            MainWorkTree::At(dir) => Some(Some(dir.clone())),
            MainWorkTree::Unknown => Some(None),
        };
        let main = main.map(|dir| WorkTree { git_dir: common.to_owned(), dir });
        let entries = fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
        let linked = entries.filter_map(|entry| {
            let git_dir = entry.path();
            let text = fs::read(git_dir.join("gitdir")).ok()?;
            // The path can be relative to the work tree's Git directory.
            let dot_git = git_dir.join(OsStr::from_bytes(text.trim_ascii()));
            Some(WorkTree { dir: Some(dot_git.parent()?.to_owned()), git_dir })
        });
        main.into_iter().chain(linked).collect()
    }

    /// Returns how `tree` uses a branch, or `None` if it does not use the branch.
    fn branch_use(&self, tree: &WorkTree, name: &[u8]) -> Option<BranchUse> {
        if self.head_chain(tree).iter().any(|link| link == name) {
            return Some(BranchUse::CheckedOut);
        }
        let has_line = |file: &str, line: &[u8]| {
            let text = fs::read(tree.git_dir.join(file)).unwrap_or_default();
            text.split(|byte| *byte == b'\n').any(|found| found.trim_ascii() == line)
        };
        if ["rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"]
            .iter()
            .any(|file| has_line(file, name))
        {
            return Some(BranchUse::Rebased);
        }
        let bisected = name.strip_prefix(HEADS).is_some_and(|name| has_line("BISECT_START", name));
        (bisected && tree.git_dir.join("BISECT_LOG").exists()).then_some(BranchUse::Bisected)
    }

    /// Returns the branch to which a work tree's `HEAD` points. If the branch is symbolic, the
    /// result also contains the branches to which it points. If `HEAD` is detached, the result is
    /// empty.
    fn head_chain(&self, tree: &WorkTree) -> Vec<Vec<u8>> {
        let text = fs::read(tree.git_dir.join("HEAD")).unwrap_or_default();
        let mut chain: Vec<Vec<u8>> = Vec::new();
        let mut next = text.strip_prefix(b"ref:").map(|name| name.trim_ascii().to_vec());
        while let Some(name) = next.filter(|name| !chain.contains(name)) {
            next = match self.loose_target(&name) {
                Ok(RefTarget::Symbolic(to)) => Some(to),
                _ => None,
            };
            chain.push(name);
        }
        chain
    }

    /// Returns the work tree updates that must accompany an update to a branch.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if a work tree does not allow the branch to be updated.
    pub(super) fn work_tree_updates(
        &self,
        name: &[u8],
        from: Option<Id>,
        to: Option<Id>,
    ) -> Result<Vec<WorkTreeUpdate>> {
        let mut updates = Vec::new();
        for tree in self.work_trees() {
            let Some(used) = self.branch_use(&tree, name) else { continue };
            let branch = short_name(name);
            match (to, tree.dir) {
                (Some(_), None) => {
                    return Err(Error::Refused(format!(
                        "branch {branch:?} is checked out elsewhere: serve the directory with the .git file"
                    )));
                }
                // Ignore a work tree that was deleted manually, because it contains nothing that
                // could be lost.
                (Some(_), Some(dir)) if !dir.is_dir() => {}
                (Some(to), Some(dir)) if used == BranchUse::CheckedOut => {
                    let from = from.unwrap_or(Id::EMPTY_TREE);
                    let (git_dir, owner) = (tree.git_dir, self.policy.owner());
                    let update = WorkTreeUpdate { git_dir, dir, branch, from, to, owner };
                    update.check()?;
                    updates.push(update);
                }
                (_, dir) => return Err(used.refusal(&branch, dir.as_deref())),
            }
        }
        Ok(updates)
    }

    /// Returns the work trees in which a branch is checked out.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if an unfinished rebase or bisect needs the branch.
    pub(super) fn checked_out_in(&self, name: &[u8]) -> Result<Vec<WorkTree>> {
        let mut found = Vec::new();
        for tree in self.work_trees() {
            match self.branch_use(&tree, name) {
                None => {}
                Some(BranchUse::CheckedOut) => found.push(tree),
                Some(other) => return Err(other.refusal(&short_name(name), tree.dir.as_deref())),
            }
        }
        Ok(found)
    }

    /// Makes a work tree's `HEAD` point to a branch.
    pub(super) fn set_head(
        &self,
        tree: &WorkTree,
        name: &[u8],
        deadline: Instant,
    ) -> io::Result<()> {
        let head = tree.git_dir.join("HEAD");
        let mut lock = LockFile::acquire(&head, &tree.git_dir, self.policy, deadline)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        lock.file.write_all(&[b"ref: ", name, b"\n"].concat())?;
        if self.policy.fsync.syncs_files() {
            lock.file.sync_all()?;
        }
        lock.commit(deadline)
    }
}

impl BranchUse {
    fn refusal(self, branch: &str, dir: Option<&Path>) -> Error {
        let used = match self {
            BranchUse::CheckedOut => "checked out",
            BranchUse::Rebased => "being rebased",
            BranchUse::Bisected => "being bisected",
        };
        let dir = dir.unwrap_or(Path::new("a work tree elsewhere"));
        Error::Refused(format!("branch {branch:?} is {used} in {}", dir.display()))
    }
}

impl WorkTreeUpdate {
    /// Checks that the work tree has no uncommitted changes.
    fn check(&self) -> Result<()> {
        let output = self.git(&["update-index", "-q", "--ignore-submodules", "--refresh"])?;
        // An exit status of 1 means that there may be changes. The next two commands then check
        // whether a file has actually changed.
        if !matches!(output.status.code(), Some(0 | 1)) {
            let failure = failure(&output);
            let failure =
                if failure.is_empty() { "another git process holds index.lock" } else { &failure };
            return Err(self.refusal("", failure));
        }
        let from = self.from.to_string();
        for command in [
            &["diff-files", "--quiet", "--ignore-submodules", "--"][..],
            &["diff-index", "--quiet", "--cached", "--ignore-submodules", &from, "--"],
        ] {
            let output = self.git(command)?;
            match output.status.code() {
                Some(0) => {}
                Some(1) => return Err(self.refusal("changes that are not committed", "")),
                _ => return Err(self.refusal("git cannot read it", &failure(&output))),
            }
        }
        Ok(())
    }

    /// Updates the work tree's index and files. If an error is returned, neither the index nor the
    /// files have changed.
    pub(super) fn apply(&self) -> Result<()> {
        self.read_tree(self.from, self.to)
    }

    /// Reverts [`apply`](WorkTreeUpdate::apply) if the branch could not be updated.
    pub(super) fn revert(&self) {
        if let Err(error) = self.read_tree(self.to, self.from) {
            let (dir, to) = (self.dir.display(), self.to);
            tracing::error!("{dir} is at {to}, but branch {} is not: {error}", self.branch);
        }
    }

    fn read_tree(&self, from: Id, to: Id) -> Result<()> {
        let output = self.git(&["read-tree", "-u", "-m", &from.to_string(), &to.to_string()])?;
        if output.status.success() { Ok(()) } else { Err(self.refusal("", &failure(&output))) }
    }

    /// Runs `git`, retrying while another program, such as `git status`, holds the lock on the
    /// index.
    fn git(&self, args: &[&str]) -> Result<Output> {
        let mut backoff = Backoff::until(Instant::now() + INDEX_TIMEOUT);
        loop {
            let output = self.git_once(args)?;
            // `git update-index -q` does not print a message when it fails.
            let silent = output.status.code() == Some(128) && output.stderr.is_empty();
            let locked =
                String::from_utf8_lossy(&output.stderr).contains("index.lock': File exists");
            if !(silent || locked) || !backoff.wait() {
                return Ok(output);
            }
        }
    }

    fn git_once(&self, args: &[&str]) -> Result<Output> {
        let mut git = isolated_git(self.owner);
        git.args(args).current_dir(&self.dir);
        git.env("GIT_DIR", &self.git_dir).env("GIT_WORK_TREE", &self.dir);
        git.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                self.refusal("the git program that would update it is not installed", "")
            }
            _ => self.refusal("cannot run git", &error.to_string()),
        })
    }

    /// Returns an error whose message states the reason before the path, because the end of a long
    /// message may not fit into a 9P error reply.
    fn refusal(&self, reason: &str, failure: &str) -> Error {
        let texts = [reason, failure].into_iter().filter(|text| !text.is_empty());
        let text = texts.collect::<Vec<_>>().join(": ");
        let (branch, dir) = (&self.branch, self.dir.display());
        Error::Refused(format!("work tree of {branch:?}: {text} ({dir})"))
    }
}

/// Returns a `git` command that runs as the user and group `owner` and does not run hooks.
pub(super) fn isolated_git(owner: Option<(u32, u32)>) -> Command {
    let mut git = subprocess::git();
    git.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    if let Some((user, group)) = owner {
        // Filters that are configured in the repository must never run as root or with root's
        // settings.
        git.uid(user).gid(group).env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    }
    git
}

/// Returns the first two lines that `git` wrote to standard error.
fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: ").trim_start_matches("fatal: "));
    lines.filter(|line| !line.is_empty()).take(2).collect::<Vec<_>>().join(" ")
}
