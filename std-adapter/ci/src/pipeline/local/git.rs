//! Runs `git` in a work tree.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::git::OUTER_GIT;

/// Runs `git` in a directory and returns its output, or `None` if it fails.
pub(super) fn output(dir: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    for variable in OUTER_GIT {
        command.env_remove(variable);
    }
    command.args(args).current_dir(dir).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then_some(output.stdout)
}
