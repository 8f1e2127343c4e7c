//! Looks up objects reliably even while other programs repack or remove objects.
//!
//! A gix object store caches information about the packs on disk. Outdated information can cause
//! two kinds of errors:
//!
//! - If a repack moves an object during a lookup, gix may not find the object at all. If gix fails
//!   to open an index, it never tries to open it again. Therefore, after an unsuccessful lookup,
//!   [`retry_while_repacking`] tries again with a new store until the list of packs stays the same
//!   during a lookup. The name of a pack is a hash of its content, so the list changes whenever an
//!   object is moved to another pack.
//! - gix continues to read from a pack after `git gc` has removed the pack. Therefore,
//!   [`ExistenceCache`] opens a new store whenever a pack directory or a list of alternates has
//!   changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gix_hash::Kind::Sha1;
use gix_object::Exists;
use gix_odb::Handle;
use parking_lot::Mutex;

use super::loose_writer::LooseWriter;
use crate::model::object::object_id;
use crate::{Error, Id, Result};

/// The maximum number of attempts to find an object while the packs are changing. A repack takes at
/// least tens of milliseconds, which is enough time for several attempts.
const MAX_LOOKUPS: u32 = 64;

/// The minimum age at which a modification time is reliable enough to detect changes. A more recent
/// modification time is unreliable: the file system's clock ticks only every few milliseconds, so a
/// second change within the same tick leaves the modification time unchanged.
const CLOCK_TICK: Duration = Duration::from_secs(1);

/// Calls `lookup` with a new store for the `objects` directory. Repeats the call if `lookup` finds
/// nothing and the list of packs has changed during the lookup.
///
/// # Errors
/// Returns the error from the last lookup, or [`Error::Store`] if `objects` cannot be read.
pub(super) fn retry_while_repacking<T>(
    objects: &Path,
    mut lookup: impl FnMut(&Handle) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let failed = |error: io::Error| read_error(objects, error);
    let mut before = list_packs(objects).map_err(failed)?;
    for _ in 1..MAX_LOOKUPS {
        let found = lookup(&gix_odb::at(objects, Sha1).map_err(failed)?);
        if matches!(found, Ok(Some(_))) {
            return found;
        }
        let after = list_packs(objects).map_err(failed)?;
        if after == before {
            return found;
        }
        before = after;
    }
    lookup(&gix_odb::at(objects, Sha1).map_err(failed)?)
}

/// Returns the paths of all pack indices, including those in alternates.
fn list_packs(objects: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut packs = BTreeSet::new();
    for store in object_dirs(&gix_odb::at(objects, Sha1)?, objects)? {
        let entries = match fs::read_dir(store.join("pack")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "idx")
                || path.ends_with("multi-pack-index")
            {
                packs.insert(path);
            }
        }
    }
    Ok(packs)
}

/// Returns `objects` and the paths of the alternate object directories.
fn object_dirs(handle: &Handle, objects: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dirs = handle.store_ref().alternate_db_paths().map_err(io::Error::other)?;
    dirs.push(objects.to_owned());
    Ok(dirs)
}

fn read_error(objects: &Path, error: io::Error) -> Error {
    Error::io(format_args!("objects in {}", objects.display()), error)
}

/// Checks whether objects currently exist, using an object store that is reopened whenever the
/// files on disk have changed.
#[derive(Default)]
pub(super) struct ExistenceCache(Mutex<Option<OpenStore>>);

struct OpenStore {
    handle: Handle,
    /// The pack directories and the files that list alternates, with their modification times.
    watched: Vec<(PathBuf, Option<SystemTime>)>,
}

impl ExistenceCache {
    /// Checks whether the `objects` directory contains an object, either loose or in a pack.
    pub(super) fn exists(&self, objects: &Path, loose: &LooseWriter, id: Id) -> Result<bool> {
        if loose.exists(id) || self.find(objects, id)? {
            return Ok(true);
        }
        let found = retry_while_repacking(objects, |handle| {
            Ok(handle.exists(&object_id(id)).then_some(()))
        });
        Ok(found?.is_some())
    }

    fn find(&self, objects: &Path, id: Id) -> Result<bool> {
        let mut cached = self.0.lock();
        if cached.as_ref().is_none_or(|store| !store.is_current()) {
            let opened = OpenStore::new(objects).map_err(|error| read_error(objects, error))?;
            *cached = Some(opened);
        }
        Ok(cached.as_ref().is_some_and(|store| store.handle.exists(&object_id(id))))
    }
}

impl OpenStore {
    fn new(objects: &Path) -> io::Result<OpenStore> {
        let handle = gix_odb::at(objects, Sha1)?;
        // Read the modification times before the first lookup, so that all later changes are
        // detected.
        let watched = object_dirs(&handle, objects)?
            .iter()
            .flat_map(|dir| [dir.join("pack"), dir.join("info/alternates")])
            .map(|path| (path.clone(), modified(&path)))
            .collect();
        Ok(OpenStore { handle, watched })
    }

    fn is_current(&self) -> bool {
        let now = SystemTime::now();
        self.watched.iter().all(|(path, then)| {
            let trusted =
                then.is_none_or(|then| now.duration_since(then).is_ok_and(|age| age > CLOCK_TICK));
            trusted && modified(path) == *then
        })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}
