//! Objects as files of their own, on the disk before anybody refers to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gix::Repository;

use super::sync_dir;
use crate::db::object::Object;
use crate::db::{Error, Id, Result};

/// Writes those that are not there yet.
pub(super) fn write(repository: &Repository, objects: &[(Id, Object)]) -> Result<()> {
    let top = repository.objects.store_ref().path().to_owned();
    let mut dirs = BTreeSet::new();
    for (id, object) in objects {
        let id = gix::ObjectId::from(*id);
        if repository.objects.exists_without_refresh(&id) {
            continue;
        }
        write_one(&top, &id.to_string(), object, &mut dirs)
            .map_err(|error| Error::io(format_args!("object {id} in {}", top.display()), &error))?;
    }
    for dir in dirs {
        match sync_dir(&dir) {
            // `git gc` has packed all that was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced.map_err(|error| Error::io(dir.display(), &error))?,
        }
    }
    Ok(())
}

/// Times that a directory is made which somebody else removes.
const TRIES: u32 = 100;

fn write_one(top: &Path, name: &str, object: &Object, dirs: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let (fan, rest) = name.split_at_checked(2).unwrap_or((name, ""));
    let dir = top.join(fan);
    // `git gc` knows names of this kind, and removes those of programs that died.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let own = format!("tmp_obj_{}_{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
    let temporary = dir.join(own);
    let mut tries = 0;
    let file = loop {
        match File::create_new(&temporary) {
            // `git gc` removes it again while it is empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                tries += 1;
                fs::create_dir_all(&dir)?;
                dirs.insert(top.to_owned());
            }
            other => break other?,
        }
    };
    let done = fill(file, object).and_then(|()| fs::rename(&temporary, dir.join(rest)));
    if done.is_err() {
        // Nobody knows it; what cannot be removed either is for `git gc`.
        let _ = fs::remove_file(&temporary);
    }
    dirs.insert(dir);
    done
}

fn fill(file: File, object: &Object) -> io::Result<()> {
    let mut deflate = gix::zlib::stream::deflate::Write::new(file, gix::zlib::Compression::BEST_SPEED);
    deflate.write_all(&gix::objs::encode::loose_header(object.kind.as_git(), object.data.len() as u64))?;
    deflate.write_all(&object.data)?;
    // Ends the stream.
    deflate.flush()?;
    let file = deflate.into_inner();
    let mut mode = file.metadata()?.permissions();
    mode.set_readonly(true);
    file.set_permissions(mode)?;
    file.sync_all()
}
