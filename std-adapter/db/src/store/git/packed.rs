//! `packed-refs`: one file for many branches, which is written anew for each change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gix::bstr::ByteSlice;

use super::files::Files;
use super::lock::{Lock, NoLock, with_suffix};
use crate::Id;

/// `packed-refs` while it is locked.
pub(super) struct Packed<'f> {
    path: PathBuf,
    files: &'f Files,
    _lock: Lock,
}

/// What a packed branch is at, and the lines that git keeps of it.
type Refs<'t> = BTreeMap<&'t [u8], Vec<&'t [u8]>>;

impl<'f> Packed<'f> {
    pub(super) fn lock(
        common: &Path,
        files: &'f Files,
        until: Instant,
    ) -> Result<Packed<'f>, NoLock> {
        let path = common.join("packed-refs");
        let lock = Lock::take(&path, common, files, until)?;
        // It may be a link to that of another directory.
        Ok(Packed { path: fs::canonicalize(&path).unwrap_or(path), files, _lock: lock })
    }

    /// Removes some branches and puts others in, in one step. Nothing is written if nothing
    /// changes.
    pub(super) fn change(
        &self,
        remove: &BTreeSet<&[u8]>,
        put: &BTreeMap<&[u8], Id>,
    ) -> io::Result<()> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let put: BTreeMap<&[u8], Vec<u8>> = put
            .iter()
            .map(|(name, id)| (*name, [id.to_string().as_bytes(), b" ", name].concat()))
            .collect();
        let (header, mut refs) = parse(&text)?;
        let before = refs.len();
        refs.retain(|name, _| !remove.contains(name));
        let mut changed = refs.len() != before;
        for (name, line) in &put {
            let old = refs.insert(*name, vec![line]);
            changed |= old.is_none_or(|old| old.first() != Some(&line.as_slice()));
        }
        if changed { self.write(&header, &refs) } else { Ok(()) }
    }

    fn write(&self, header: &str, refs: &Refs<'_>) -> io::Result<()> {
        let new = with_suffix(&self.path, ".new");
        // While it is locked only a killed program can have left one.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&new)?;
        self.files.adopt(&file)?;
        let mut text = header.as_bytes().to_vec();
        for line in refs.values().flatten() {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        file.write_all(&text)?;
        if self.files.sync.files() {
            file.sync_all()?;
        }
        fs::rename(&new, &self.path)?;
        match self.path.parent().filter(|_| self.files.sync.names()) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// The header with which the branches are written again, and the branches.
fn parse(text: &[u8]) -> io::Result<(String, Refs<'_>)> {
    let wrong = |line: &[u8]| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("packed-refs has the line {:?}", line.as_bstr()),
        )
    };
    let mut traits = " peeled fully-peeled".to_owned();
    let (mut refs, mut last) = (Refs::new(), None);
    if !text.is_empty() {
        traits.clear();
    }
    for line in text.lines() {
        if let Some(header) = line.strip_prefix(b"# pack-refs with:") {
            let of_git = header.to_str_lossy();
            let kept = of_git.split_whitespace().filter(|word| *word != "sorted");
            traits = kept.flat_map(|word| [" ", word]).collect();
        } else if line.starts_with(b"#") {
        } else if line.starts_with(b"^") {
            let name = last.ok_or_else(|| wrong(line))?;
            refs.entry(name).or_default().push(line);
        } else {
            let (_, name) = line.split_once_str(b" ").ok_or_else(|| wrong(line))?;
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
    fn the_lines_of_a_tag_stay_together_and_sorted() {
        let text = b"# pack-refs with: peeled fully-peeled \n1 refs/tags/v\n^2\n3 refs/heads/a\n";
        let (header, refs) = parse(text).unwrap();
        assert_eq!(header, "# pack-refs with: peeled fully-peeled sorted \n");
        let lines: Vec<_> = refs.values().flatten().map(|line| line.as_bstr()).collect();
        assert_eq!(lines, ["3 refs/heads/a", "1 refs/tags/v", "^2"]);
        assert_eq!(parse(b"1 refs/heads/a").unwrap().0, "# pack-refs with: sorted \n");
        assert!(parse(b"^1\n").is_err() && parse(b"nonsense\n").is_err());
    }
}
