//! How files and directories are made in a repository: whose they are, who may read and write them,
//! what is waited for.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown};
use std::path::Path;

use super::fsync::Fsync;
use crate::{Error, Result};

/// How new files are made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Files {
    pub(super) sync: Fsync,
    sharing: Sharing,
    /// User and group of new files, where this process is root and the repository is somebody
    /// else's.
    owner: Option<(u32, u32)>,
}

/// `core.sharedRepository`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sharing {
    /// As the umask has it.
    #[default]
    Umask,
    /// These bits as well.
    More(u32),
    /// These bits and no others.
    Exactly(u32),
}

impl Files {
    /// Those of a repository with this value of `core.sharedRepository`.
    ///
    /// # Errors
    /// [`Error::Store`] for a value that git does not know.
    pub(super) fn of(common: &Path, shared: Option<&str>) -> Result<Files> {
        let sharing = match shared {
            Some(text) => Sharing::parse(text).ok_or_else(|| {
                Error::Store(format!("{}: core.sharedRepository is {text:?}", common.display()))
            })?,
            None => Sharing::Umask,
        };
        let found = fs::metadata(common).map_err(|error| Error::io(common.display(), &error))?;
        let foreign = rustix::process::geteuid().is_root() && found.uid() != 0;
        Ok(Files { sync: Fsync::All, sharing, owner: foreign.then(|| (found.uid(), found.gid())) })
    }

    /// The same, but waiting for more or less of what is written.
    pub(super) fn with_sync(self, sync: Fsync) -> Files {
        Files { sync, ..self }
    }

    /// User and group that programs run as which work in the repository; `None`: as this process.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// Gives a new file its owner and permissions.
    pub(super) fn adopt(&self, file: &File) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            fchown(file, Some(user), Some(group))?;
        }
        if self.sharing == Sharing::Umask {
            return Ok(());
        }
        let mode = file.metadata()?.permissions().mode();
        file.set_permissions(Permissions::from_mode(self.sharing.mode(mode)))
    }

    /// [`adopt`](Files::adopt) for a file that is closed, or a directory.
    pub(super) fn adopt_path(&self, path: &Path) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group))?;
        }
        if self.sharing == Sharing::Umask {
            return Ok(());
        }
        let found = fs::metadata(path)?;
        let mode = self.sharing.mode(found.permissions().mode());
        let mode = if found.is_dir() { directory(mode) } else { mode };
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Makes a directory, if it is not there.
    pub(super) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Ok(()) => match self.adopt_path(dir) {
                // Another program removed the empty directory again; the next step notices.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                adopted => adopted,
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the directories from `top`, which is there, to `dir`.
    pub(super) fn make_dirs(&self, top: &Path, dir: &Path) -> io::Result<()> {
        let missing: Vec<_> =
            dir.ancestors().take_while(|dir| *dir != top && dir.starts_with(top)).collect();
        missing.into_iter().rev().try_for_each(|dir| self.make_dir(dir))
    }
}

impl Sharing {
    /// As git reads it: words, a number, or permissions in octal.
    fn parse(text: &str) -> Option<Sharing> {
        match text.to_ascii_lowercase().as_str() {
            "umask" | "false" | "no" | "off" | "0" | "" => return Some(Sharing::Umask),
            "group" | "true" | "yes" | "on" | "1" => return Some(Sharing::More(0o660)),
            "all" | "world" | "everybody" | "2" => return Some(Sharing::More(0o664)),
            _ => {}
        }
        // The owner must be able to read and write.
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| bits & 0o600 == 0o600)?;
        Some(Sharing::Exactly(bits & 0o666))
    }

    fn mode(self, mode: u32) -> u32 {
        let (Sharing::More(bits) | Sharing::Exactly(bits)) = self else { return mode };
        let bits = if mode & 0o200 == 0 { bits & !0o222 } else { bits };
        let bits = if mode & 0o100 == 0 { bits } else { bits | (bits & 0o444) >> 2 };
        if matches!(self, Sharing::Exactly(_)) { mode & !0o777 | bits } else { mode | bits }
    }
}

/// Whoever may read a directory may search it, and what is made in it belongs to its group.
fn directory(mode: u32) -> u32 {
    let mode = mode | (mode & 0o444) >> 2;
    if mode & 0o060 == 0 { mode } else { mode | 0o2000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_gives_the_permissions_that_git_gives() {
        let of = |text: &str| Sharing::parse(text).unwrap();
        assert_eq!(
            (of("group").mode(0o100_644), of("group").mode(0o100_444)),
            (0o100_664, 0o100_444)
        );
        assert_eq!((of("all").mode(0o100_600), of("0640").mode(0o100_644)), (0o100_664, 0o100_640));
        assert_eq!(
            (of("0660").mode(0o100_444), directory(of("0660").mode(0o40_755))),
            (0o100_440, 0o42_770)
        );
        assert_eq!(directory(of("true").mode(0o40_755)), 0o42_775);
        assert_eq!(
            (of("umask"), Sharing::parse("0400"), Sharing::parse("some")),
            (Sharing::Umask, None, None)
        );
    }
}
