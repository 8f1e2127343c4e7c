//! Copies a work tree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::files::{self, FileLimits};
use super::git;
use super::git_dir::GitDir;

/// The limits for a work tree.
const LIMITS: FileLimits = FileLimits { count: 1_000_000, bytes: 20 << 30 };

/// Copies all tracked files, and all untracked files that are not ignored, to a temporary
/// directory. Copies all files if `dir` is not in a Git repository.
///
/// The directory of the copy has the same name as `dir`.
pub(super) fn work_tree(dir: &Path) -> io::Result<WorkTree> {
    let temporary = tempfile::Builder::new().prefix("datakit-ci-").tempdir()?;
    let from = dir.canonicalize()?;
    let tree = temporary.path().join(from.file_name().unwrap_or(OsStr::new("work-tree")));
    std::fs::create_dir(&tree)?;
    copy_files(&from, &tree)?;
    let git = GitDir::create(&from, &temporary.path().join(".git"), &tree)?;
    Ok(WorkTree { dir: temporary, tree, git })
}

/// A copy of a work tree.
pub(super) struct WorkTree {
    /// The directory that contains the copy and its git directory.
    pub(super) dir: TempDir,
    pub(super) tree: PathBuf,
    /// The git directory, if the work tree has a commit.
    pub(super) git: Option<GitDir>,
}

fn copy_files(dir: &Path, to: &Path) -> io::Result<()> {
    let mut limits = LIMITS;
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let Some(listed) = git::output(dir, &args) else {
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            if name != ".git" {
                files::copy(&dir.join(&name), &to.join(&name), &mut limits)?;
            }
        }
        return Ok(());
    };
    for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let from = dir.join(OsStr::from_bytes(path));
        let kind = match from.symlink_metadata() {
            Ok(found) => found.file_type(),
            // The file was deleted from the work tree.
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        let target = to.join(OsStr::from_bytes(path));
        if kind.is_dir() {
            // A directory in the list is a submodule, whose files are not listed.
            std::fs::create_dir_all(target)?;
        } else {
            std::fs::create_dir_all(target.parent().unwrap_or(to))?;
            files::copy(&from, &target, &mut limits)?;
        }
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
