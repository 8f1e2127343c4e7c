//! Access to files written by a build.
//!
//! Builds are not trusted, so a build directory can contain named pipes, links that point outside
//! the directory, or a very large number of files. The functions in this module enforce limits and
//! never follow links. They are called only while no process of the build is running.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The maximum depth of directories below a path.
const DEPTH_MAX: usize = 200;

/// The limits for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// The number of files and directories.
    pub count: u64,
    /// The total size of all files, in bytes.
    pub bytes: u64,
}

impl FileLimits {
    /// Subtracts a file from the remaining limits. Fails if a limit is exceeded.
    pub(super) fn take(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.count.checked_sub(1).zip(self.bytes.checked_sub(bytes));
        let Some((count, bytes)) = left else {
            return Err(io::Error::other("there are too many files, or they are too large"));
        };
        (self.count, self.bytes) = (count, bytes);
        Ok(())
    }
}

/// Joins a relative path to a directory. Fails if a directory along the path is a link or does not
/// exist.
pub(super) fn inside(dir: &Path, path: &str) -> io::Result<PathBuf> {
    let mut names: Vec<&str> = path.split('/').collect();
    let last = names.pop().unwrap_or_default();
    let mut at = dir.to_owned();
    for name in names {
        at.push(name);
        if !at.symlink_metadata()?.is_dir() {
            return Err(not_a_directory(&at, dir));
        }
    }
    Ok(at.join(last))
}

/// Same as [`inside`], but creates missing directories.
pub(super) fn inside_or_create(dir: &Path, path: &str) -> io::Result<PathBuf> {
    let mut names: Vec<&str> = path.split('/').collect();
    let last = names.pop().unwrap_or_default();
    let mut at = dir.to_owned();
    for name in names {
        at.push(name);
        match fs::create_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ if at.symlink_metadata()?.is_dir() => {}
            _ => return Err(not_a_directory(&at, dir)),
        }
    }
    Ok(at.join(last))
}

fn not_a_directory(path: &Path, dir: &Path) -> io::Error {
    let path = path.strip_prefix(dir).unwrap_or(path).display();
    io::Error::other(format!("`{path}` is not a directory"))
}

/// Opens a file for reading. Fails if the path refers to a link or to anything else that is not a
/// regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Reads a file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::other(format!("the file has more than {max} bytes")));
    }
    Ok(content)
}

/// Copies a file, a link, or a directory with its contents. Links are copied as links. Sockets,
/// pipes and devices are skipped.
pub(super) fn copy(from: &Path, to: &Path, limits: &mut FileLimits) -> io::Result<()> {
    let mut waiting = vec![(from.to_owned(), to.to_owned(), 0)];
    // Directory permissions are set at the end, because a directory can be read-only.
    let mut dirs = Vec::new();
    while let Some((from, to, depth)) = waiting.pop() {
        let found = from.symlink_metadata()?;
        if found.is_symlink() {
            limits.take(0)?;
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else if found.is_file() {
            limits.take(found.size())?;
            copy_file(&from, &to, limits)?;
        } else if found.is_dir() {
            limits.take(0)?;
            if depth == DEPTH_MAX {
                let message = format!("there are more than {DEPTH_MAX} directory levels");
                return Err(io::Error::other(message));
            }
            fs::create_dir(&to)?;
            for entry in fs::read_dir(&from)? {
                let name = entry?.file_name();
                waiting.push((from.join(&name), to.join(&name), depth + 1));
            }
            dirs.push((to, found.permissions()));
        }
    }
    for (dir, permissions) in dirs.iter().rev() {
        fs::set_permissions(dir, plain(permissions))?;
    }
    Ok(())
}

/// Copies a file, its permissions and its modification time.
fn copy_file(from: &Path, to: &Path, limits: &FileLimits) -> io::Result<()> {
    let from = open(from)?;
    let found = from.metadata()?;
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    // The file could have grown since the limit was checked.
    let max = found.size().saturating_add(limits.bytes);
    io::copy(&mut (&from).take(max), &mut target)?;
    target.set_permissions(plain(&found.permissions()))?;
    target.set_modified(found.modified()?)
}

/// Returns the permissions without the set-user-ID, set-group-ID and sticky bits.
fn plain(permissions: &Permissions) -> Permissions {
    Permissions::from_mode(permissions.mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Done = Result<(), Box<dyn std::error::Error>>;

    const LIMITS: FileLimits = FileLimits { count: 100, bytes: 1000 };

    #[test]
    fn links_and_pipes_are_not_followed() -> Done {
        let (dir, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::write(outside.path().join("secret"), "s")?;
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link"))?;
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("file"))?;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )?;
        let error = inside(dir.path(), "link/secret").unwrap_err();
        assert_eq!(error.to_string(), "`link` is not a directory");
        assert!(inside_or_create(dir.path(), "link/new/file").is_err());
        assert!(!outside.path().join("new").exists());
        assert!(read(&dir.path().join("file"), 10).is_err());
        assert!(read(&dir.path().join("pipe"), 10).is_err());
        let copied = tempfile::tempdir()?;
        let to = copied.path().join("to");
        copy(dir.path(), &to, &mut LIMITS.clone())?;
        assert!(to.join("link").is_symlink() && !to.join("pipe").exists());
        Ok(())
    }

    #[test]
    fn limits_of_a_copy_are_enforced() -> Done {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("a"))?;
        fs::write(dir.path().join("a/big"), vec![0; 600])?;
        fs::write(dir.path().join("a/big2"), vec![0; 600])?;
        let to = tempfile::tempdir()?;
        assert!(copy(&dir.path().join("a"), &to.path().join("x"), &mut LIMITS.clone()).is_err());
        let mut few = FileLimits { count: 2, bytes: 10_000 };
        assert!(copy(&dir.path().join("a"), &to.path().join("y"), &mut few).is_err());
        let mut enough = FileLimits { count: 3, bytes: 1200 };
        copy(&dir.path().join("a"), &to.path().join("z"), &mut enough)?;
        assert_eq!(enough, FileLimits { count: 0, bytes: 0 });
        assert!(read(&dir.path().join("a/big"), 599).is_err());
        assert_eq!(read(&dir.path().join("a/big"), 600)?.len(), 600);
        Ok(())
    }

    #[test]
    fn permissions_and_times_are_kept() -> Done {
        let dir = tempfile::tempdir()?;
        let from = dir.path().join("from");
        fs::create_dir(&from)?;
        fs::write(from.join("tool"), "x")?;
        fs::set_permissions(from.join("tool"), Permissions::from_mode(0o4755))?;
        fs::set_permissions(&from, Permissions::from_mode(0o555))?;
        let to = dir.path().join("to");
        copy(&from, &to, &mut LIMITS.clone())?;
        let tool = to.join("tool").metadata()?;
        assert_eq!(tool.permissions().mode() & 0o7777, 0o755);
        assert_eq!(tool.modified()?, from.join("tool").metadata()?.modified()?);
        assert_eq!(to.metadata()?.permissions().mode() & 0o777, 0o555);
        for dir in [from, to] {
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}
