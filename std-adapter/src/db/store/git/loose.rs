//! Objects as files of their own, on the disk before anybody refers to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;

use gix::Repository;

use super::sync_dir;
use crate::db::object::Object;
use crate::db::{Error, Id, Result};

/// Objects whose files are open at a time, and synced at a time: a file system brings several to the disk in about the time of one.
const TOGETHER: usize = 16;

/// Writes those that are not there yet.
pub(super) fn write(repository: &Repository, synced: bool, objects: &[(Id, Object)]) -> Result<()> {
    let top = repository.objects.store_ref().path().to_owned();
    let mut dirs = BTreeSet::new();
    let failed = |error: &io::Error| Error::io(format_args!("objects in {}", top.display()), error);
    for some in objects.chunks(TOGETHER) {
        let mut files = Vec::with_capacity(some.len());
        for (id, object) in some {
            let (dir, path) = place(&top, &id.to_string());
            if !is_there(&path) {
                files.push(Temporary::new(&dir, path, object, &mut dirs).map_err(|error| failed(&error))?);
            }
            // Whoever wrote it may not have synced the directory yet.
            dirs.insert(dir);
        }
        if synced {
            sync_all(&files).map_err(|error| failed(&error))?;
        }
        // What is referred to has its name first.
        files.into_iter().try_for_each(Temporary::keep).map_err(|error| failed(&error))?;
    }
    for dir in dirs.into_iter().filter(|_| synced) {
        match sync_dir(&dir) {
            // `git gc` has packed all that was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(|error| Error::io(dir.display(), &error))?,
        }
    }
    Ok(())
}

/// The directory and the file of an object.
fn place(top: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (fan, rest) = name.split_at_checked(2).unwrap_or((name, ""));
    let dir = top.join(fan);
    let path = dir.join(rest);
    (dir, path)
}

/// Whether an object is a file already, which is as good as new then: `git gc` removes what nobody refers to once it is old. In a pack
/// it does not count: `git repack -d` may drop what nobody refers to together with the old pack, at any time.
fn is_there(path: &Path) -> bool {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

/// Waits until all of them are on the disk.
fn sync_all(files: &[Temporary]) -> io::Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let others: Vec<_> = others.iter().map(|other| scope.spawn(|| other.file.sync_all())).collect();
        let mut done = first.file.sync_all();
        for other in others {
            done = done.and(other.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed"))));
        }
        done
    })
}

/// Times that a directory is made which somebody else removes.
const TRIES: u32 = 100;

/// An object under a name that `git gc` knows, and removes when its program died. Removed when it is dropped.
struct Temporary {
    file: File,
    path: PathBuf,
    name: PathBuf,
    kept: bool,
}

impl Temporary {
    fn new(dir: &Path, name: PathBuf, object: &Object, dirs: &mut BTreeSet<PathBuf>) -> io::Result<Temporary> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let own = format!("tmp_obj_{}_{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
        let path = dir.join(own);
        let mut tries = 0;
        let file = loop {
            match File::create_new(&path) {
                // `git gc` removes it again while it is empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    fs::create_dir_all(dir)?;
                    dirs.extend(dir.parent().map(Path::to_owned));
                }
                other => break other?,
            }
        };
        let mut temporary = Temporary { file, path, name, kept: false };
        temporary.fill(object)?;
        Ok(temporary)
    }

    fn fill(&mut self, object: &Object) -> io::Result<()> {
        let mut deflate = gix::zlib::stream::deflate::Write::new(&self.file, gix::zlib::Compression::BEST_SPEED);
        deflate.write_all(&gix::objs::encode::loose_header(object.kind.as_git(), object.data.len() as u64))?;
        deflate.write_all(&object.data)?;
        // Ends the stream.
        deflate.flush()?;
        let mut mode = self.file.metadata()?.permissions();
        mode.set_readonly(true);
        self.file.set_permissions(mode)
    }

    fn keep(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.name)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody knows it; what cannot be removed either is for `git gc`.
            let _ = fs::remove_file(&self.path);
        }
    }
}
