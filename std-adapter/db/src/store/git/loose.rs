//! Objects as files of their own, on the disk before anybody refers to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use gix::hash::Kind::Sha1;
use gix::objs::Write;
use gix::odb::loose::Store;

use super::files::Files;
use super::fsync::sync_all;
use crate::model::object::Object;
use crate::model::object::object_id;
use crate::{Error, Id, Result};

/// Objects whose files are open at a time, and synced at a time: a disk has several of them in
/// about the time of one.
const TOGETHER: usize = 16;

/// Of the names of directories in which new objects wait. `git gc` knows the beginning, and removes
/// what is two weeks old.
pub(super) const PREFIX: &str = "tmp_objdir-datakit-";

/// Times that a directory is made which somebody else removes.
const TRIES: u32 = 100;

/// The objects of a repository that have files of their own. For one thread at a time.
///
/// gix writes them and waits for no disk. So it writes them to a store aside, from where they are
/// moved to their place once they are synced.
pub(super) struct Loose {
    objects: Store,
    aside: Store,
}

/// A file aside, which is removed when it is dropped before it has its place.
struct New {
    path: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Loose {
    /// Of the directory `objects`.
    pub(super) fn new(objects: &Path) -> Loose {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let aside =
            format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Loose { objects: Store::at(objects, Sha1), aside: Store::at(objects.join(aside), Sha1) }
    }

    /// Writes those that are not there yet, and makes sure of those that are: who wrote them may
    /// not have waited for the disk. `with` are files that are synced, too, before this ends.
    pub(super) fn write(
        &self,
        files: &Files,
        objects: &[(Id, Object)],
        with: &[File],
    ) -> Result<()> {
        let failed =
            |error| Error::io(format_args!("objects in {}", self.objects.path().display()), &error);
        let mut dirs = BTreeSet::new();
        let (first, last) = objects.split_at(objects.len().saturating_sub(1) / TOGETHER * TOGETHER);
        for some in first.chunks(TOGETHER) {
            self.insist(files, || self.write_some(files, some, &[], &mut dirs)).map_err(failed)?;
        }
        self.insist(files, || self.write_some(files, last, with, &mut dirs)).map_err(failed)?;
        if files.sync.names() { sync_dirs(&dirs).map_err(failed) } else { Ok(()) }
    }

    /// Whether an object has a file of its own, at the beginning of which there is an object.
    pub(super) fn holds(&self, id: Id) -> bool {
        self.objects.try_header(&object_id(id)).is_ok_and(|found| found.is_some())
    }

    /// Writes those that are there no more. What is there was made sure of before.
    pub(super) fn rewrite_missing(&self, files: &Files, objects: &[(Id, Object)]) -> Result<()> {
        let dropped = |(id, _): &&(Id, Object)| !self.objects.object_path(&object_id(*id)).exists();
        let dropped: Vec<_> = objects.iter().filter(dropped).cloned().collect();
        self.write(files, &dropped, &[])
    }

    /// Tries again while a directory is missing: the one aside is not there yet, or `git gc` has
    /// removed it, or one that was empty.
    fn insist(&self, files: &Files, mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        for _ in 0..TRIES {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    files.make_dir(self.aside.path())?
                }
                done => return done,
            }
        }
        write()
    }

    fn write_some(
        &self,
        files: &Files,
        some: &[(Id, Object)],
        with: &[File],
        dirs: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        let (mut new, mut open) = (Vec::with_capacity(some.len()), Vec::with_capacity(some.len()));
        for (number, (id, object)) in some.iter().enumerate() {
            let place = self.objects.object_path(&object_id(*id));
            dirs.extend(place.parent().map(Path::to_owned));
            match find(&place).filter(|_| self.holds(*id)) {
                Some(file) => open.push(file),
                None => new.push(self.put_aside(files, number, object, place)?),
            }
        }
        if files.sync.files() {
            for new in &new {
                open.push(File::open(&new.path)?);
            }
            sync_all(&open.iter().chain(with).collect::<Vec<_>>())?;
        }
        // What is referred to has its place first.
        new.iter_mut().try_for_each(|new| self.put_in_place(files, new, dirs))
    }

    /// Under a number instead of its name: all numbers are in one directory, names in 256.
    fn put_aside(
        &self,
        files: &Files,
        number: usize,
        object: &Object,
        place: PathBuf,
    ) -> io::Result<New> {
        let id = gix::ObjectId::from_hex(format!("{number:040x}").as_bytes())
            .map_err(io::Error::other)?;
        let written = self.aside.write_buf_with_known_id(object.kind.as_git(), &object.data, id);
        written.map_err(|error| cause(&error))?;
        let new = New { path: self.aside.object_path(&id), place, placed: false };
        files.adopt_path(&new.path)?;
        Ok(new)
    }

    fn put_in_place(
        &self,
        files: &Files,
        new: &mut New,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        match (fs::rename(&new.path, &new.place), new.place.parent()) {
            // The first one with these two digits, or `git gc` has moved the others to a pack.
            (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
                files.make_dir(dir)?;
                dirs.insert(self.objects.path().to_owned());
                fs::rename(&new.path, &new.place)?;
            }
            (renamed, _) => renamed?,
        }
        new.placed = true;
        Ok(())
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        // It was never made, or there is nothing in it; what cannot be removed is for `git gc`.
        let _ = fs::remove_dir_all(self.aside.path());
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody knows it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what killed servers had put aside.
pub(super) fn clear(objects: &Path) -> io::Result<()> {
    for entry in fs::read_dir(objects)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What the system said.
fn cause(error: &gix::Error) -> io::Error {
    match error.downcast_any_ref::<io::Error>() {
        Some(cause) => io::Error::new(cause.kind(), cause.to_string()),
        None => io::Error::other(error.to_string()),
    }
}

/// An object that is a file already, which is as good as new then: `git gc` removes what nobody
/// refers to once it is old. In a pack it does not count: `git repack -d` may drop what nobody
/// refers to together with the old pack, at any time.
fn find(path: &Path) -> Option<File> {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now()).map(|()| file)).ok()
}

fn sync_dirs(dirs: &BTreeSet<PathBuf>) -> io::Result<()> {
    let mut open = Vec::with_capacity(dirs.len());
    for dir in dirs {
        match File::open(dir) {
            // `git gc` has packed all that was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => open.push(opened?),
        }
    }
    open.chunks(TOGETHER).try_for_each(|some| sync_all(&some.iter().collect::<Vec<_>>()))
}
