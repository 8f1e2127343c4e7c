//! Removes build directories.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// The number of attempts and the delay between them. A process that is being killed can still
/// create files for a short time.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Removes a directory if it exists. Does not follow symbolic links. Blocks the thread.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    let mut attempt = 1;
    loop {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt >= ATTEMPTS => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && attempt == 1 => {
                allow_removal(dir)?;
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(PAUSE);
            }
            removed => return removed,
        }
        attempt += 1;
    }
}

/// Makes all subdirectories of a directory writable, because a build could have made them
/// read-only.
fn allow_removal(dir: &Path) -> io::Result<()> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_directories_and_links_are_removed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("a/link")).unwrap();
        for path in [tree.join("a/b"), tree.join("a")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.path().join("kept").exists());
    }

    #[test]
    fn files_that_are_created_meanwhile_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let writer = std::thread::spawn({
            let tree = tree.clone();
            move || {
                for number in 0..200 {
                    // The directory could already have been removed.
                    let _ = fs::write(tree.join(number.to_string()), "");
                }
            }
        });
        remove_tree(&tree).unwrap();
        writer.join().unwrap();
        assert!(!tree.exists());
    }
}
