//! Determines the durability, ownership, and permissions of new files in a repository.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown};
use std::path::Path;

use super::fsync::Fsync;
use crate::{Error, Result};

/// The policy for the durability, ownership and permissions of new files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FilePolicy {
    pub(super) fsync: Fsync,
    sharing: Sharing,
    /// The owner and group of new files, if this process runs as root and the repository belongs to
    /// another user.
    owner: Option<(u32, u32)>,
}

/// The setting `core.sharedRepository`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sharing {
    /// New files have the default permissions, which depend only on the umask.
    #[default]
    Umask,
    /// New files have these permission bits in addition to the bits that the umask allows.
    Add(u32),
    /// New files have exactly these permission bits.
    Exactly(u32),
}

impl FilePolicy {
    /// Returns the policy for the repository whose common Git directory is `common`. `shared` is
    /// the value of `core.sharedRepository`.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if `shared` is not a value that `git` recognizes.
    pub(super) fn new(common: &Path, shared: Option<&str>) -> Result<FilePolicy> {
        let sharing = match shared {
            Some(text) => Sharing::parse(text).ok_or_else(|| {
                Error::store(format!("{}: core.sharedRepository is {text:?}", common.display()))
            })?,
            None => Sharing::Umask,
        };
        let found = fs::metadata(common).map_err(|error| Error::io(common.display(), error))?;
        let foreign = rustix::process::geteuid().is_root() && found.uid() != 0;
        let owner = foreign.then(|| (found.uid(), found.gid()));
        Ok(FilePolicy { fsync: Fsync::All, sharing, owner })
    }

    pub(super) fn with_fsync(self, fsync: Fsync) -> FilePolicy {
        FilePolicy { fsync, ..self }
    }

    /// Returns the user and group for subprocesses that access the repository. Returns `None` if
    /// subprocesses should inherit this process's user and group.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// Sets the owner and permissions of a new file.
    pub(super) fn apply(&self, file: &File) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            fchown(file, Some(user), Some(group))?;
        }
        if self.sharing == Sharing::Umask {
            return Ok(());
        }
        let mode = file.metadata()?.permissions().mode();
        file.set_permissions(Permissions::from_mode(self.sharing.mode(mode)))
    }

    /// Sets the owner and permissions of the new file or directory at `path`.
    pub(super) fn apply_to_path(&self, path: &Path) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group))?;
        }
        if self.sharing == Sharing::Umask {
            return Ok(());
        }
        let found = fs::metadata(path)?;
        let mode = self.sharing.mode(found.permissions().mode());
        let mode = if found.is_dir() { directory_mode(mode) } else { mode };
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Creates a directory if it does not exist.
    pub(super) fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Ok(()) => match self.apply_to_path(dir) {
                // Ignore the error if another program has already removed the empty directory. The
                // caller's attempt to use the directory will then fail.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                applied => applied,
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Creates `dir` and its missing parents below the existing directory `top`.
    pub(super) fn create_dirs(&self, top: &Path, dir: &Path) -> io::Result<()> {
        let missing: Vec<_> =
            dir.ancestors().take_while(|dir| *dir != top && dir.starts_with(top)).collect();
        missing.into_iter().rev().try_for_each(|dir| self.create_dir(dir))
    }
}

impl Sharing {
    /// Parses the value of `core.sharedRepository` in the same way as `git`. The value can be a
    /// word, a number, or a mode in octal.
    fn parse(text: &str) -> Option<Sharing> {
        match text.to_ascii_lowercase().as_str() {
            "umask" | "false" | "no" | "off" | "0" | "" => return Some(Sharing::Umask),
            "group" | "true" | "yes" | "on" | "1" => return Some(Sharing::Add(0o660)),
            "all" | "world" | "everybody" | "2" => return Some(Sharing::Add(0o664)),
            _ => {}
        }
        // The owner must be able to read and write the file.
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| bits & 0o600 == 0o600)?;
        Some(Sharing::Exactly(bits & 0o666))
    }

    /// Returns the mode to set on a new file. `mode` is the file's mode after the umask has been
    /// applied.
    fn mode(self, mode: u32) -> u32 {
        let (Sharing::Add(bits) | Sharing::Exactly(bits)) = self else { return mode };
        let bits = if mode & 0o200 == 0 { bits & !0o222 } else { bits };
        let bits = if mode & 0o100 == 0 { bits } else { bits | (bits & 0o444) >> 2 };
        if matches!(self, Sharing::Exactly(_)) { mode & !0o777 | bits } else { mode | bits }
    }
}

/// Returns a directory's mode with search permission added for everyone who has read permission. If
/// the group has access, the setgid bit is added too, so that new files inherit the directory's
/// group.
fn directory_mode(mode: u32) -> u32 {
    let mode = mode | (mode & 0o444) >> 2;
    if mode & 0o060 == 0 { mode } else { mode | 0o2000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_repositories_get_the_modes_that_git_sets() {
        let of = |text: &str| Sharing::parse(text).unwrap();
        assert_eq!(
            (of("group").mode(0o100_644), of("group").mode(0o100_444)),
            (0o100_664, 0o100_444)
        );
        assert_eq!((of("all").mode(0o100_600), of("0640").mode(0o100_644)), (0o100_664, 0o100_640));
        assert_eq!(
            (of("0660").mode(0o100_444), directory_mode(of("0660").mode(0o40_755))),
            (0o100_440, 0o42_770)
        );
        assert_eq!(directory_mode(of("true").mode(0o40_755)), 0o42_775);
        assert_eq!(
            (of("umask"), Sharing::parse("0400"), Sharing::parse("some")),
            (Sharing::Umask, None, None)
        );
    }
}
