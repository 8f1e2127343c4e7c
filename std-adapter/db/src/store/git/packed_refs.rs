//! Reads and writes the `packed-refs` file. The file can contain many refs and is completely
//! rewritten for every change.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bstr::ByteSlice;
use gix_ref::packed::Buffer;
use parking_lot::Mutex;

use super::file_policy::FilePolicy;
use super::fsync::sync_dir;
use super::lock_file::{LockError, LockFile, with_suffix};
use crate::Id;

/// A cache for the content of `packed-refs`. The file is read again whenever it has been replaced.
#[derive(Default)]
pub(super) struct PackedRefsCache(Mutex<Option<CachedFile>>);

struct CachedFile {
    /// The file, which is kept open so that its inode number is not reused for another file. The
    /// modification time alone does not identify a file, because two files can be written within
    /// one clock tick.
    _file: File,
    stamp: [u64; 5],
    refs: Arc<Buffer>,
}

impl PackedRefsCache {
    /// Returns the current content of `packed-refs`, or `None` if the file does not exist.
    pub(super) fn read(&self, path: &Path) -> io::Result<Option<Arc<Buffer>>> {
        let mut cached = self.0.lock();
        let now = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *cached = None;
                return Ok(None);
            }
            found => found?,
        };
        if cached.as_ref().is_none_or(|cached| cached.stamp != stamp(&now)) {
            *cached = CachedFile::read(path)?;
        }
        Ok(cached.as_ref().map(|cached| cached.refs.clone()))
    }
}

impl CachedFile {
    fn read(path: &Path) -> io::Result<Option<CachedFile>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let stamp = stamp(&file.metadata()?);
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let refs = Buffer::from_bytes(&text, gix_hash::Kind::Sha1).map_err(io::Error::other)?;
        Ok(Some(CachedFile { _file: file, stamp, refs: Arc::new(refs) }))
    }
}

fn stamp(of: &Metadata) -> [u64; 5] {
    [of.dev(), of.ino(), of.size(), of.mtime().cast_unsigned(), of.mtime_nsec().cast_unsigned()]
}

/// A lock on the `packed-refs` file.
pub(super) struct PackedRefsLock<'p> {
    path: PathBuf,
    policy: &'p FilePolicy,
    _lock: LockFile,
}

/// The lines of `packed-refs`, keyed by ref name. Each ref has a line with its target, and a ref to
/// an annotated tag has a second line with the object that the tag refers to.
type RefLines<'t> = BTreeMap<&'t [u8], Vec<&'t [u8]>>;

impl<'p> PackedRefsLock<'p> {
    pub(super) fn acquire(
        common: &Path,
        policy: &'p FilePolicy,
        deadline: Instant,
    ) -> Result<PackedRefsLock<'p>, LockError> {
        let path = common.join("packed-refs");
        let lock = LockFile::acquire(&path, common, policy, deadline)?;
        // Follow symbolic links, because the `packed-refs` file can be a symbolic link.
        let path = fs::canonicalize(&path).unwrap_or(path);
        Ok(PackedRefsLock { path, policy, _lock: lock })
    }

    /// Atomically removes the refs in `remove` and sets the ref in `set`. Does not rewrite the file
    /// if no refs change.
    pub(super) fn change(&self, remove: &[&[u8]], set: Option<(&[u8], Id)>) -> io::Result<()> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let set = set.map(|(name, id)| (name, [id.to_string().as_bytes(), b" ", name].concat()));
        let (header, mut refs) = parse(&text)?;
        let mut changed = false;
        for name in remove {
            changed |= refs.remove(name).is_some();
        }
        if let Some((name, line)) = &set {
            let old = refs.insert(name, vec![line]);
            changed |= old.is_none_or(|old| old.first() != Some(&line.as_slice()));
        }
        if changed { self.write(&header, &refs) } else { Ok(()) }
    }

    fn write(&self, header: &str, refs: &RefLines<'_>) -> io::Result<()> {
        let new = with_suffix(&self.path, ".new");
        // Remove any existing temporary file. This process holds the lock, so a program that was
        // killed must have left the file behind.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&new)?;
        self.policy.apply(&file)?;
        let mut text = header.as_bytes().to_vec();
        for line in refs.values().flatten() {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        file.write_all(&text)?;
        if self.policy.fsync.syncs_files() {
            file.sync_all()?;
        }
        fs::rename(&new, &self.path)?;
        match self.path.parent().filter(|_| self.policy.fsync.syncs_dirs()) {
            Some(dir) => sync_dir(dir),
            None => Ok(()),
        }
    }
}

/// Parses the content of `packed-refs`. Returns the header to use when the file is rewritten, and
/// the lines of each ref.
fn parse(text: &[u8]) -> io::Result<(String, RefLines<'_>)> {
    let invalid = |line: &[u8]| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("packed-refs has an invalid line: {:?}", line.as_bstr()),
        )
    };
    let mut traits = " peeled fully-peeled".to_owned();
    let (mut refs, mut last) = (RefLines::new(), None);
    if !text.is_empty() {
        traits.clear();
    }
    for line in text.lines() {
        if let Some(header) = line.strip_prefix(b"# pack-refs with:") {
            let known = header.to_str_lossy();
            let kept = known.split_whitespace().filter(|word| *word != "sorted");
            traits = kept.flat_map(|word| [" ", word]).collect();
        } else if line.starts_with(b"#") {
        } else if line.starts_with(b"^") {
            let name = last.ok_or_else(|| invalid(line))?;
            refs.entry(name).or_default().push(line);
        } else {
            let (_, name) = line.split_once_str(b" ").ok_or_else(|| invalid(line))?;
            refs.insert(name, vec![line]);
            last = Some(name);
        }
    }
    Ok((format!("# pack-refs with:{traits} sorted \n"), refs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_sorted_with_their_peeled_lines() {
        let text = b"# pack-refs with: peeled fully-peeled \n1 refs/tags/v\n^2\n3 refs/heads/a\n";
        let (header, refs) = parse(text).unwrap();
        assert_eq!(header, "# pack-refs with: peeled fully-peeled sorted \n");
        let lines: Vec<_> = refs.values().flatten().map(|line| line.as_bstr()).collect();
        assert_eq!(lines, ["3 refs/heads/a", "1 refs/tags/v", "^2"]);
        assert_eq!(parse(b"1 refs/heads/a").unwrap().0, "# pack-refs with: sorted \n");
        assert!(parse(b"^1\n").is_err() && parse(b"nonsense\n").is_err());
    }
}
