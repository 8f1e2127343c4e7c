//! Writes loose objects and makes each object durable before anything can refer to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use gix_hash::Kind::Sha1;
use gix_object::Write;
use gix_odb::loose::Store;

use super::file_policy::FilePolicy;
use super::fsync::sync_all;
use crate::model::object::{Object, object_id};
use crate::{Error, Id, Result};

/// The maximum number of files that are open and synced at the same time.
const SYNC_BATCH: usize = 16;

/// The name prefix of the staging directories for new objects. `git gc` removes directories with
/// the prefix `tmp_objdir-` after two weeks.
pub(super) const STAGING_PREFIX: &str = "tmp_objdir-datakit-";

/// The maximum number of times that a missing directory is recreated.
const MAX_RETRIES: u32 = 100;

/// A writer of loose objects. Only one thread can use a writer at a time.
///
/// gix does not sync the loose objects that it writes. Therefore, new objects are written to a
/// staging directory, synced, and then renamed to their final names.
pub(super) struct LooseWriter {
    objects: Store,
    staging: Store,
}

/// A file in the staging directory. Dropping the `StagedFile` removes the file unless it has been
/// published.
struct StagedFile {
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl LooseWriter {
    /// Creates a writer for the `objects` directory.
    pub(super) fn new(objects: &Path) -> LooseWriter {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let staging = format!("{STAGING_PREFIX}{}-{number}", std::process::id());
        let staging = Store::at(objects.join(staging), Sha1);
        LooseWriter { objects: Store::at(objects, Sha1), staging }
    }

    /// Writes all missing objects and then syncs both the objects and `files`. Existing objects are
    /// synced too, because the program that wrote them may not have synced them.
    pub(super) fn write(
        &self,
        policy: &FilePolicy,
        objects: &[(Id, Object)],
        files: &[File],
    ) -> Result<()> {
        let failed =
            |error| Error::io(format_args!("objects in {}", self.objects.path().display()), error);
        let mut dirs = BTreeSet::new();
        let (first, last) =
            objects.split_at(objects.len().saturating_sub(1) / SYNC_BATCH * SYNC_BATCH);
        let mut write = |objects: &[_], files: &[_]| {
            self.retry(policy, || self.write_batch(policy, objects, files, &mut dirs))
        };
        for batch in first.chunks(SYNC_BATCH) {
            write(batch, &[]).map_err(failed)?;
        }
        write(last, files).map_err(failed)?;
        if policy.fsync.syncs_dirs() { sync_dirs(&dirs).map_err(failed) } else { Ok(()) }
    }

    /// Returns whether an object is stored as a loose file with a valid header.
    pub(super) fn exists(&self, id: Id) -> bool {
        self.objects.try_header(&object_id(id)).is_ok_and(|found| found.is_some())
    }

    /// Writes missing objects. Existing objects are not synced, because an earlier call to
    /// [`write`](LooseWriter::write) has already synced them.
    pub(super) fn rewrite_missing(
        &self,
        policy: &FilePolicy,
        objects: &[(Id, Object)],
    ) -> Result<()> {
        let is_missing =
            |(id, _): &&(Id, Object)| !self.objects.object_path(&object_id(*id)).exists();
        let missing: Vec<_> = objects.iter().filter(is_missing).cloned().collect();
        self.write(policy, &missing, &[])
    }

    /// Calls `write`, and tries again if it fails because a directory is missing. `git gc` may have
    /// removed the staging directory or an empty object directory, or the staging directory may not
    /// have been created yet.
    fn retry(
        &self,
        policy: &FilePolicy,
        mut write: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..MAX_RETRIES {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    policy.create_dir(self.staging.path())?
                }
                done => return done,
            }
        }
        write()
    }

    /// Writes and syncs objects. Adds to `dirs` the directories that must be synced afterwards.
    fn write_batch(
        &self,
        policy: &FilePolicy,
        objects: &[(Id, Object)],
        files: &[File],
        dirs: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        let mut staged = Vec::with_capacity(objects.len());
        let mut open = Vec::with_capacity(objects.len());
        for (number, (id, object)) in objects.iter().enumerate() {
            let target = self.objects.object_path(&object_id(*id));
            dirs.extend(target.parent().map(Path::to_owned));
            match open_and_touch(&target).filter(|_| self.exists(*id)) {
                Some(file) => open.push(file),
                None => staged.push(self.stage(policy, number, object, target)?),
            }
        }
        if policy.fsync.syncs_files() {
            for file in &staged {
                open.push(File::open(&file.path)?);
            }
            sync_all(&open.iter().chain(files).collect::<Vec<_>>())?;
        }
        // Publish the objects in the given order, because an object must be published after the
        // objects that it refers to.
        staged.iter_mut().try_for_each(|file| self.publish(policy, file, dirs))
    }

    /// Writes an object to the staging directory. The file name is a number, because names derived
    /// from hashes would spread the files over 256 directories.
    fn stage(
        &self,
        policy: &FilePolicy,
        number: usize,
        object: &Object,
        target: PathBuf,
    ) -> io::Result<StagedFile> {
        let id = gix_hash::ObjectId::from_hex(format!("{number:040x}").as_bytes())
            .map_err(io::Error::other)?;
        let written = self.staging.write_buf_with_known_id(object.kind.as_git(), &object.data, id);
        written.map_err(|error| io_cause(&error))?;
        let staged = StagedFile { path: self.staging.object_path(&id), target, published: false };
        policy.apply_to_path(&staged.path)?;
        Ok(staged)
    }

    /// Renames a staged file to its final name.
    fn publish(
        &self,
        policy: &FilePolicy,
        staged: &mut StagedFile,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        match (fs::rename(&staged.path, &staged.target), staged.target.parent()) {
            // The object directory does not exist, because no object has ever been written to it or
            // because `git gc` has packed all of its objects.
            (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
                policy.create_dir(dir)?;
                dirs.insert(self.objects.path().to_owned());
                fs::rename(&staged.path, &staged.target)?;
            }
            (renamed, _) => renamed?,
        }
        staged.published = true;
        Ok(())
    }
}

impl Drop for LooseWriter {
    fn drop(&mut self) {
        // Ignore errors. The directory may never have been created, and `git gc` eventually removes
        // any remaining files.
        let _ = fs::remove_dir_all(self.staging.path());
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes staging directories left behind by killed servers.
pub(super) fn remove_stale_staging(objects: &Path) -> io::Result<()> {
    for entry in fs::read_dir(objects)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Returns the I/O error that caused a gix error. Any other gix error is converted to an I/O error
/// with the same text.
fn io_cause(error: &gix_error::Error) -> io::Error {
    match error.downcast_any_ref::<io::Error>() {
        Some(cause) => io::Error::new(cause.kind(), cause.to_string()),
        None => io::Error::other(error.to_string()),
    }
}

/// Opens an object's loose file and updates its modification time, so that `git gc` does not remove
/// the object before anything refers to it.
///
/// Objects in packs are ignored, because `git repack -d` can remove a pack at any time.
fn open_and_touch(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.set_modified(SystemTime::now()).ok()?;
    Some(file)
}

fn sync_dirs(dirs: &BTreeSet<PathBuf>) -> io::Result<()> {
    let mut open = Vec::with_capacity(dirs.len());
    for dir in dirs {
        match File::open(dir) {
            // The directory no longer exists, because `git gc` has packed all of its objects.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => open.push(opened?),
        }
    }
    open.chunks(SYNC_BATCH).try_for_each(|batch| sync_all(&batch.iter().collect::<Vec<_>>()))
}
