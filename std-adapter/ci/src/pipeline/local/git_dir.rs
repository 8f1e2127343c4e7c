//! Makes the history of a repository available in a copy of its work tree.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::git;

/// The maximum number of object directories that are used for one repository.
const ALTERNATES_MAX: usize = 16;

/// A git directory without branches or tags. Its `HEAD` is the current commit. Worktrees on the
/// server are set up in the same way. The git directory shares its objects with the repository.
pub(super) struct GitDir {
    pub(super) path: PathBuf,
    /// The directories that contain the objects.
    pub(super) objects: Vec<PathBuf>,
}

impl GitDir {
    /// Creates a git directory at `path` for the copy `tree` of the work tree `from`. Returns
    /// `None` if `from` is not in a repository, or if the repository has no commit.
    pub(super) fn create(from: &Path, path: &Path, tree: &Path) -> io::Result<Option<GitDir>> {
        let Some(head) = git::output(from, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
        else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(head.trim_ascii()).into_owned();
        let format = git::output(from, &["rev-parse", "--show-object-format"]);
        let format = format.unwrap_or_else(|| b"sha1".to_vec());
        let format = String::from_utf8_lossy(format.trim_ascii()).into_owned();
        let location = |name| {
            let found =
                git::output(from, &["rev-parse", "--path-format=absolute", "--git-path", name]);
            let found = found.ok_or_else(|| failed("rev-parse"))?;
            Ok::<_, io::Error>(PathBuf::from(OsStr::from_bytes(found.trim_ascii_end())))
        };
        let objects = alternates(location("objects")?)?;
        run(
            tree,
            &[
                "init",
                "--quiet",
                "--template=",
                "--initial-branch=none",
                &format!("--object-format={format}"),
                "--separate-git-dir",
                path.to_str().ok_or_else(|| failed("init"))?,
            ],
        )?;
        fs::create_dir_all(path.join("objects/info"))?;
        let list: Vec<&[u8]> = objects.iter().map(|dir| dir.as_os_str().as_bytes()).collect();
        fs::write(path.join("objects/info/alternates"), [&list.join(&b'\n')[..], b"\n"].concat())?;
        match fs::copy(location("shallow")?, path.join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::write(path.join("HEAD"), format!("{head}\n"))?;
        // `git reset` writes the index. Programs configured in the user's Git settings must not
        // run.
        let settings = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
        let args: Vec<&str> = settings.into_iter().chain(["reset", "--quiet"]).collect();
        run(tree, &args)?;
        Ok(Some(GitDir { path: path.to_owned(), objects }))
    }
}

/// Returns an object directory, and the object directories that it refers to.
fn alternates(first: PathBuf) -> io::Result<Vec<PathBuf>> {
    let (mut all, mut next) = (vec![first], 0);
    while let Some(dir) = all.get(next).cloned() {
        next += 1;
        let list = match fs::read(dir.join("info/alternates")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            list => list?,
        };
        let lines = list.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
            let path = dir.join(OsStr::from_bytes(line)).canonicalize();
            let Ok(path) = path else { continue };
            if all.len() < ALTERNATES_MAX && !all.contains(&path) {
                all.push(path);
            }
        }
    }
    Ok(all)
}

fn run(dir: &Path, args: &[&str]) -> io::Result<()> {
    let name = args.iter().find(|arg| !arg.starts_with('-') && !arg.contains('='));
    git::output(dir, args).map(drop).ok_or_else(|| failed(name.unwrap_or(&"git")))
}

fn failed(command: &str) -> io::Error {
    io::Error::other(format!("git {command} failed"))
}
