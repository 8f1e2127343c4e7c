//! Copies a work tree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::files::{self, FileLimits};

/// The limits for a work tree.
const LIMITS: FileLimits = FileLimits { count: 1_000_000, bytes: 20 << 30 };

/// Copies all tracked files, and all untracked files that are not ignored, to a temporary
/// directory. If `dir` is not in a Git repository, copies all files.
pub(super) fn work_tree(dir: &Path) -> io::Result<TempDir> {
    let to = tempfile::Builder::new().prefix("datakit-ci-").tempdir()?;
    let mut limits = LIMITS;
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let Some(listed) = git(dir, &args) else {
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            if name != ".git" {
                files::copy(&dir.join(&name), &to.path().join(&name), &mut limits)?;
            }
        }
        return Ok(to);
    };
    for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let from = dir.join(OsStr::from_bytes(path));
        let kind = match from.symlink_metadata() {
            Ok(found) => found.file_type(),
            // The file was deleted from the work tree.
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        // A directory in the list is a submodule, whose files are not listed.
        if !kind.is_dir() {
            let path = Path::new(OsStr::from_bytes(path));
            let target = to.path().join(path);
            std::fs::create_dir_all(target.parent().unwrap_or(to.path()))?;
            files::copy(&from, &target, &mut limits)?;
        }
    }
    Ok(to)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Runs `git` in a directory and returns its output, or `None` if it fails.
pub(super) fn git(dir: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then_some(output.stdout)
}
