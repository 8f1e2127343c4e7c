//! Files in the secrets directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The maximum size of a file, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Reads a file, or returns `None` if it does not exist.
///
/// # Errors
/// Returns an error if the file is too large or other users of the system can read it.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(path, error)),
    };
    let mode = file.metadata().map_err(|error| named(path, error))?.permissions().mode();
    if mode & 0o007 != 0 {
        let message = format!(
            "{}: other users can access the file (mode {:04o}), run `chmod 600 {0}`",
            path.display(),
            mode & 0o7777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    let size = file.take(MAX_SIZE + 1).read_to_string(&mut text);
    if size.map_err(|error| named(path, error))? as u64 > MAX_SIZE {
        let message = format!("{}: larger than {MAX_SIZE} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(text))
}

/// Creates or replaces a file. After a crash, the file has either the old or the new content.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = (|| {
        // A crash can leave this file behind.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    })();
    written.map_err(|error| named(path, error))
}

/// Adds the path to an error.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(dir.path().join("secret.new"), "left by a crash").unwrap();
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(text));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0644"), "{error}");
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        write(&path, &vec![b'a'; 1 << 21]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than"));
    }
}
