//! Objects as files of their own, on the disk before anybody refers to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;

use gix::Repository;

use crate::db::object::Object;
use crate::db::{Error, Id, Result};

/// Objects whose files are open at a time, and synced at a time: a disk has several of them in about the time of one.
const TOGETHER: usize = 16;

/// Writes those that are not there yet, and makes sure of those that are: who wrote them may not have waited for the disk.
pub(super) fn write(repository: &Repository, synced: bool, objects: &[(Id, Object)]) -> Result<()> {
    let top = repository.objects.store_ref().path();
    let mut dirs = BTreeSet::new();
    for some in objects.chunks(TOGETHER) {
        write_some(top, synced, some, &mut dirs)
            .map_err(|error| Error::io(format_args!("objects in {}", top.display()), &error))?;
    }
    if synced { sync_dirs(&dirs).map_err(|error| Error::io(top.display(), &error)) } else { Ok(()) }
}

/// Writes those that are there no more. What is there was made sure of before.
pub(super) fn write_again(repository: &Repository, synced: bool, objects: &[(Id, Object)]) -> Result<()> {
    let top = repository.objects.store_ref().path();
    let dropped = |(id, _): &&(Id, Object)| find(&place(top, &id.to_string()).1).is_none();
    let dropped: Vec<_> = objects.iter().filter(dropped).cloned().collect();
    write(repository, synced, &dropped)
}

fn write_some(top: &Path, synced: bool, some: &[(Id, Object)], dirs: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let (mut new, mut there) = (Vec::with_capacity(some.len()), Vec::new());
    for (id, object) in some {
        let (dir, path) = place(top, &id.to_string());
        match find(&path) {
            Some(file) => there.push(file),
            None => new.push(Temporary::new(&dir, path, object, dirs)?),
        }
        dirs.insert(dir);
    }
    if synced {
        sync_all(&new.iter().map(|new| &new.file).chain(&there).collect::<Vec<_>>())?;
    }
    // What is referred to has its name first.
    new.into_iter().try_for_each(Temporary::keep)
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

/// The directory and the file of an object.
fn place(top: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (fan, rest) = name.split_at_checked(2).unwrap_or((name, ""));
    let dir = top.join(fan);
    let path = dir.join(rest);
    (dir, path)
}

/// An object that is a file already, which is as good as new then: `git gc` removes what nobody refers to once it is old. In a pack it
/// does not count: `git repack -d` may drop what nobody refers to together with the old pack, at any time.
fn find(path: &Path) -> Option<File> {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now()).map(|()| file)).ok()
}

/// Waits until all of them are on the disk.
fn sync_all(files: &[&File]) -> io::Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let others: Vec<_> = others.iter().map(|other| scope.spawn(|| other.sync_all())).collect();
        let mut done = first.sync_all();
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
