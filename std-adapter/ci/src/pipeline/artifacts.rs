//! The artifacts of a step: files that are stored with its result.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use super::files::{self, FileLimits};

/// The limits for the artifacts of one step.
pub const ARTIFACT_LIMITS: FileLimits = FileLimits { count: 1000, bytes: 32 << 20 };

/// The maximum length of an artifact path, in bytes.
const PATH_MAX: usize = 1024;

/// A file that is stored with the result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) content: Vec<u8>,
    pub(super) executable: bool,
}

/// Artifacts, keyed by path relative to the work tree.
pub(super) type Artifacts = BTreeMap<Vec<u8>, Artifact>;

/// Reads the artifacts. A path names either a file or a directory. A directory stands for all files
/// in it.
///
/// A path is reported as a problem if it does not exist, is neither a file nor a directory, or
/// exceeds the limits. Links are reported too, because they could point to a file that belongs to
/// the CI. The other paths are still read.
///
/// Returns the artifacts and the problems.
pub(super) fn read(
    dir: &Path,
    paths: &[String],
    mut limits: FileLimits,
) -> (Artifacts, Vec<String>) {
    let (mut found, mut problems) = (Artifacts::new(), Vec::new());
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
    found: &mut Artifacts,
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
            let executable = entry.permissions().mode() & 0o111 != 0;
            found.insert(path, Artifact { content, executable });
        } else {
            return refused("is neither a file nor a directory");
        }
    }
    Ok(())
}

/// Writes artifacts to a new directory.
pub(super) fn write(dir: &Path, artifacts: &Artifacts) -> io::Result<()> {
    let create = |dir: &Path| DirBuilder::new().recursive(true).create(dir);
    create(dir)?;
    for (path, artifact) in artifacts {
        let path = Path::new(OsStr::from_bytes(path));
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::Error::other(format!("`{}` is not a relative path", path.display())));
        }
        let path = dir.join(path);
        create(path.parent().unwrap_or(dir))?;
        let mode = if artifact.executable { 0o755 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        file?.write_all(&artifact.content)?;
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
        fs::set_permissions(dir.path().join("report"), fs::Permissions::from_mode(0o700))?;
        let paths = ["out", "none", "report"].map(str::to_owned);
        let (found, problems) = read(dir.path(), &paths, ARTIFACT_LIMITS);
        let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"out/a"[..], b"out/sub/\xff \n", b"report"]);
        assert_eq!(problems, ["the artifact `none` does not exist"]);
        // Writing the artifacts preserves the files and their permissions.
        let copy = dir.path().join("copy");
        write(&copy, &found)?;
        assert_eq!(read(&copy, &["out", "report"].map(str::to_owned), ARTIFACT_LIMITS).0, found);
        assert!(found.get(&b"report"[..]).is_some_and(|artifact| artifact.executable));
        let outside: Artifacts =
            found.into_iter().map(|(path, found)| ([b"../", &path[..]].concat(), found)).collect();
        assert!(write(&dir.path().join("other"), &outside).is_err());
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
