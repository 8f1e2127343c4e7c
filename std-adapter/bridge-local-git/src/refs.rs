//! Reads the branches of a repository without locking or modifying it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use datakit_github::{Hash, RefKind, RefName};

use crate::error::{SourceError, at};
use crate::repository::is_absent;

/// The branches of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RepositoryBranches {
    pub(crate) heads: BTreeMap<RefName, Hash>,
    /// The names of existing branches and branch directories that cannot be read.
    pub(crate) unreadable: Vec<Vec<u8>>,
}

impl RepositoryBranches {
    /// Returns whether the branch may exist even though [`RepositoryBranches::heads`] does not
    /// contain it.
    pub(crate) fn may_have(&self, name: &RefName) -> bool {
        self.unreadable.iter().any(|unreadable| {
            unreadable.is_empty()
                || name
                    .short()
                    .strip_prefix(&**unreadable)
                    .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        })
    }
}

/// The prefix of every branch's full name.
const HEADS: &[u8] = b"refs/heads/";
/// The maximum length of a ref file in bytes.
const MAX_FILE: u64 = 4096;
/// The maximum length of a chain of symbolic refs. Git has the same limit.
const MAX_SYMBOLIC: usize = 5;
/// The maximum number of attempts to read the refs if `packed-refs` keeps changing. The delay
/// between attempts is `ATTEMPT_DELAY`.
const ATTEMPTS: u32 = 10;
const ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// Reads the branches of the repository whose refs are in `common`.
pub(crate) fn read(common: &Path) -> Result<RepositoryBranches, SourceError> {
    if common.join("reftable").is_dir() {
        return list_with_git(common);
    }
    let packed_path = common.join("packed-refs");
    for _ in 0..ATTEMPTS {
        let stamp = Stamp::of(&packed_path)?;
        let packed = read_packed(&packed_path)?;
        let mut loose = Loose::default();
        loose.read_dir(&common.join("refs/heads"), b"")?;
        // `git pack-refs` moves refs from files to `packed-refs`. If `packed-refs` has changed,
        // start again, because a ref that was moved between the two reads may be missing from both.
        if Stamp::of(&packed_path)? == stamp {
            return Ok(merge(common, packed, loose));
        }
        std::thread::sleep(ATTEMPT_DELAY);
    }
    Err(SourceError::Unstable(packed_path))
}

/// Metadata that changes whenever a file is replaced, or `None` if the file does not exist.
#[derive(PartialEq, Eq)]
struct Stamp(Option<(u64, u64, Option<SystemTime>)>);

impl Stamp {
    fn of(path: &Path) -> Result<Stamp, SourceError> {
        match fs::metadata(path) {
            Ok(file) => Ok(Stamp(Some((file.ino(), file.len(), file.modified().ok())))),
            Err(error) if is_absent(&error) => Ok(Stamp(None)),
            Err(error) => Err(at(path)(error)),
        }
    }
}

/// Reads `packed-refs`, in which each line contains a hash and the full name of a ref. Returns all
/// refs, because a symbolic branch may point to any ref.
fn read_packed(path: &Path) -> Result<BTreeMap<Vec<u8>, Hash>, SourceError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(BTreeMap::new()),
        Err(error) => return Err(at(path)(error)),
    };
    let mut refs = BTreeMap::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        // Lines that start with `#` are headers. A line that starts with `^` contains the commit to
        // which the tag on the previous line points.
        if matches!(line, [] | [b'#' | b'^', ..]) {
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let hash = parts.next().and_then(|hash| Hash::parse(hash).ok());
        let (Some(hash), Some(name)) = (hash, parts.next()) else {
            return Err(SourceError::Packed {
                path: path.to_owned(),
                line: index.saturating_add(1),
            });
        };
        refs.insert(name.to_vec(), hash);
    }
    Ok(refs)
}

/// The content of a ref file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RefFile {
    Hash(Hash),
    /// The full name of the ref to which a symbolic ref points.
    Symbolic(Vec<u8>),
}

/// Parses the content of a ref file. Returns `None` if the content is invalid, for example if the
/// file is empty after a crash.
fn parse_target(text: &[u8]) -> Option<RefFile> {
    let text = text.trim_ascii_end();
    if let Some(name) = text.strip_prefix(b"ref:") {
        return Some(RefFile::Symbolic(name.trim_ascii_start().to_vec()));
    }
    Hash::parse(text).ok().map(RefFile::Hash)
}

/// The branches that are stored in separate files, keyed by their names below `refs/heads`.
#[derive(Default)]
struct Loose {
    targets: BTreeMap<Vec<u8>, RefFile>,
    unreadable: Vec<Vec<u8>>,
}

impl Loose {
    /// Reads the branches in the directory whose path below `refs/heads` is `prefix`. Directories
    /// that cannot be read are added to `unreadable`.
    fn read_dir(&mut self, dir: &Path, prefix: &[u8]) -> Result<(), SourceError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // The directory may be missing, because Git removes empty directories.
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) if prefix.is_empty() => return Err(at(dir)(error)),
            Err(error) => {
                tracing::warn!(path = %dir.display(), %error, "cannot read branches");
                self.unreadable.push(prefix.to_vec());
                return Ok(());
            }
        };
        for entry in entries {
            let entry = entry.map_err(at(dir))?;
            let file_name = entry.file_name();
            let slash: &[u8] = if prefix.is_empty() { b"" } else { b"/" };
            let name = [prefix, slash, file_name.as_bytes()].concat();
            let kind = entry.file_type().map_err(at(dir))?;
            if kind.is_dir() {
                self.read_dir(&entry.path(), &name)?;
            } else if kind.is_file() {
                self.add(&entry.path(), name, read_start);
            } else {
                // Old versions of Git used symbolic links as symbolic refs.
                self.add(&entry.path(), name, read_start_of_file);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: Vec<u8>, read: fn(&Path) -> std::io::Result<Vec<u8>>) {
        // Skip files that are not branches, such as lock files.
        if RefName::new(RefKind::Heads, &name).is_err() {
            return;
        }
        match read(path).map(|text| parse_target(&text)) {
            Ok(Some(target)) => drop(self.targets.insert(name, target)),
            // The branch has been deleted or packed.
            Err(error) if is_absent(&error) => {}
            Ok(None) => {
                tracing::debug!(path = %path.display(), "ignored a file that is not a ref");
                self.unreadable.push(name);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a branch");
                self.unreadable.push(name);
            }
        }
    }
}

fn read_start(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// Reads the beginning of a regular file. Returns no bytes if `path` refers to any other kind of
/// file, because opening a FIFO, for example, would block.
fn read_start_of_file(path: &Path) -> std::io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_file() { read_start(path) } else { Ok(Vec::new()) }
}

/// Combines packed and loose branches. A loose branch takes precedence over a packed branch with
/// the same name.
fn merge(common: &Path, packed: BTreeMap<Vec<u8>, Hash>, loose: Loose) -> RepositoryBranches {
    let mut branches = RepositoryBranches { heads: BTreeMap::new(), unreadable: loose.unreadable };
    let packed_heads =
        packed.iter().filter_map(|(name, hash)| Some((name.strip_prefix(HEADS)?, *hash)));
    for (name, hash) in packed_heads {
        add(&mut branches.heads, name, hash);
    }
    for (name, target) in &loose.targets {
        let resolved = resolve(common, target, &packed, &loose.targets);
        match resolved {
            Some(hash) => add(&mut branches.heads, name, hash),
            // Git does not list a symbolic ref as a branch if its target is missing.
            None => {
                if let Ok(name) = RefName::new(RefKind::Heads, name) {
                    branches.heads.remove(&name);
                }
            }
        }
    }
    // If a branch's file cannot be read, omit the branch, because its value in `packed-refs` is
    // outdated.
    let RepositoryBranches { heads, unreadable } = &mut branches;
    heads.retain(|name, _| !unreadable.iter().any(|unreadable| **unreadable == *name.short()));
    branches
}

fn add(heads: &mut BTreeMap<RefName, Hash>, name: &[u8], hash: Hash) {
    match RefName::new(RefKind::Heads, name) {
        Ok(name) => drop(heads.insert(name, hash)),
        Err(error) => tracing::warn!(%error, "ignored a branch"),
    }
}

/// Follows symbolic refs. Returns `None` if the target does not exist.
fn resolve(
    common: &Path,
    target: &RefFile,
    packed: &BTreeMap<Vec<u8>, Hash>,
    loose: &BTreeMap<Vec<u8>, RefFile>,
) -> Option<Hash> {
    let mut target = target.clone();
    for _ in 0..=MAX_SYMBOLIC {
        let name = match target {
            RefFile::Hash(hash) => return Some(hash),
            RefFile::Symbolic(name) => name,
        };
        let next = match name.strip_prefix(HEADS) {
            Some(short) => loose.get(short).cloned(),
            None => read_other(common, &name),
        };
        target = next.or_else(|| packed.get(&name).copied().map(RefFile::Hash))?;
    }
    None
}

/// Reads the file of a ref that is not a branch, such as `refs/remotes/origin/master`.
fn read_other(common: &Path, name: &[u8]) -> Option<RefFile> {
    // The rules for ref names ensure that the path remains inside the repository.
    let short = name.strip_prefix(b"refs/")?;
    RefName::new(RefKind::Heads, short).ok()?;
    let path = common.join(std::ffi::OsStr::from_bytes(name));
    parse_target(&read_start_of_file(&path).ok()?)
}

/// Lists the branches of a repository in the reftable format by running `git`, because this program
/// cannot read that format.
fn list_with_git(common: &Path) -> Result<RepositoryBranches, SourceError> {
    let failed = |reason: String| SourceError::Git { path: common.to_owned(), reason };
    let output = Command::new("git")
        // Allow repositories owned by other users. Listing refs is safe because it does not run any
        // program configured in the repository.
        .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--git-dir"])
        .arg(common)
        .args(["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("the program git cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut branches = RepositoryBranches::default();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let hash = parts.next().and_then(|hash| Hash::parse(hash).ok());
        let name = parts.next().and_then(|name| name.strip_prefix(HEADS));
        let (Some(hash), Some(name)) = (hash, name) else {
            return Err(failed("a line of for-each-ref is not a hash and a name".to_owned()));
        };
        add(&mut branches.heads, name, hash);
    }
    Ok(branches)
}
