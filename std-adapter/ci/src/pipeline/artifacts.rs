//! The artifacts of a step: files that are stored with its result.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::files::{self, FileLimits};

/// The limits for the artifacts of one step.
pub const ARTIFACT_LIMITS: FileLimits = FileLimits { count: 1000, bytes: 32 << 20 };

/// The maximum length of an artifact path, in bytes.
const PATH_MAX: usize = 1024;

/// The contents of artifacts, keyed by path relative to the work tree, and the reasons why other
/// artifacts could not be read.
pub(super) type Artifacts = (BTreeMap<Vec<u8>, Vec<u8>>, Vec<String>);

/// Reads the artifacts. A path names either a file or a directory, which includes all files in it.
///
/// It is a problem if a path does not exist, is neither a file nor a directory, or exceeds the
/// limits. Links are also a problem, because they could point to a file that belongs to the CI. The
/// other paths are still read.
pub(super) fn read(dir: &Path, paths: &[String], mut limits: FileLimits) -> Artifacts {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for path in paths {
        let added = files::inside(dir, path)
            .and_then(|_| add(dir, path.as_bytes().to_vec(), &mut limits, &mut found));
        if let Err(error) = added {
            problems.push(match error.kind() {
                io::ErrorKind::NotFound => format!("the artifact `{path}` does not exist"),
                _ => format!("the artifact `{path}`: {error}"),
            });
        }
    }
    (found, problems)
}

fn add(
    dir: &Path,
    path: Vec<u8>,
    limits: &mut FileLimits,
    found: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> io::Result<()> {
    let mut waiting = vec![path];
    while let Some(path) = waiting.pop() {
        let refused = |reason: &str| {
            let path = path.escape_ascii();
            Err(io::Error::other(format!("`{path}` {reason}")))
        };
        let full = dir.join(OsStr::from_bytes(&path));
        let entry = full.symlink_metadata()?;
        if path.len() > PATH_MAX {
            return refused("has a path that is too long");
        } else if entry.is_symlink() {
            return refused("is a link; only files and directories can be stored");
        } else if entry.is_dir() {
            limits.take(0)?;
            for name in std::fs::read_dir(&full)? {
                let name = name?.file_name();
                if name.eq_ignore_ascii_case(".git") {
                    return refused("contains `.git`, which cannot be stored");
                }
                waiting.push([&path, name.as_bytes()].join(&b'/'));
            }
        } else if entry.is_file() {
            let content = files::read(&full, limits.bytes)?;
            limits.take(content.len() as u64)?;
            found.insert(path, content);
        } else {
            return refused("is neither a file nor a directory");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    type Done = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn files_and_directories_are_read() -> Done {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("out/sub"))?;
        fs::write(dir.path().join("out/a"), "1")?;
        fs::write(dir.path().join(OsStr::from_bytes(b"out/sub/\xff \n")), "2")?;
        fs::write(dir.path().join("report"), "3")?;
        let paths = ["out", "none", "report"].map(str::to_owned);
        let (found, problems) = read(dir.path(), &paths, ARTIFACT_LIMITS);
        let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"out/a"[..], b"out/sub/\xff \n", b"report"]);
        assert_eq!(problems, ["the artifact `none` does not exist"]);
        Ok(())
    }

    #[test]
    fn links_and_large_files_are_refused() -> Done {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("out"))?;
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out/link"))?;
        std::os::unix::fs::symlink("/etc", dir.path().join("etc"))?;
        fs::write(dir.path().join("big"), vec![0; 2000])?;
        fs::create_dir_all(dir.path().join("clone/.git"))?;
        let limits = FileLimits { count: 10, bytes: 1000 };
        for (path, expected) in [
            (
                "out",
                "the artifact `out`: `out/link` is a link; only files and directories can be stored",
            ),
            ("etc/passwd", "the artifact `etc/passwd`: `etc` is not a directory"),
            (
                "etc",
                "the artifact `etc`: `etc` is a link; only files and directories can be stored",
            ),
            ("big", "the artifact `big`: the file has more than 1000 bytes"),
            ("none", "the artifact `none` does not exist"),
            ("clone", "the artifact `clone`: `clone` contains `.git`, which cannot be stored"),
        ] {
            let (_, problems) = read(dir.path(), &[path.to_owned()], limits);
            assert_eq!(problems, [expected]);
        }
        Ok(())
    }
}
