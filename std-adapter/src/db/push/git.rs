//! Pushing by the `git` program.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Push;
use crate::db::{BranchName, Error, Id, Result};

/// Branches that one `git push` is told of: the length of a command has a limit.
const AT_ONCE: usize = 250;

/// The `git` program, working in this Git directory.
#[derive(Debug, Clone)]
pub struct GitProgram(pub PathBuf);

impl Push for GitProgram {
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()> {
        // All of them, whatever becomes of one.
        let failed = branches.chunks(AT_ONCE).filter_map(|part| self.push_part(url, part).err());
        failed.reduce(|first, _| first).map_or(Ok(()), Err)
    }
}

impl GitProgram {
    fn push_part(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()> {
        // By its full name a branch may also be removed that is not there any more.
        let specs = branches.iter().map(|(branch, at)| {
            let source = at.map(|at| at.to_string()).unwrap_or_default();
            format!("{source}:refs/heads/{branch}")
        });
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.0).args(["push", "--quiet", "--force", "--", url]).args(specs);
        // Nobody is there to be asked for a password.
        git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
        let output = git.output().map_err(|error| Error::io("git push", &error))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Error::Store(format!("git push: {}", text.trim().replace('\n', "; "))))
    }
}
