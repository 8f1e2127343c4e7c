//! Whether an object is in the repository now.
//!
//! A handle of gix reads from packs that it once found, also when `git gc` has removed them since.
//! So there is a handle for this question alone, which is dropped when a directory of packs has
//! changed.

use parking_lot::Mutex;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gix::hash::Kind::Sha1;
use gix::objs::Exists;

use super::loose::Loose;
use super::repacked;
use crate::model::object::object_id;
use crate::{Error, Id, Result};

/// A directory that was changed so lately may change again without another time: clocks of file
/// systems tick some milliseconds apart.
const TICK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Presence(Mutex<Option<Known>>);

struct Known {
    handle: gix::odb::Handle,
    dirs: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Presence {
    /// Whether the repository with these objects has one of that name, in a file of its own or in a
    /// pack.
    pub(super) fn holds(&self, objects: &Path, loose: &Loose, id: Id) -> Result<bool> {
        if self.finds(objects, loose, id)? {
            return Ok(true);
        }
        let found =
            repacked::look(objects, |handle| Ok(handle.exists(&object_id(id)).then_some(())));
        Ok(found?.is_some())
    }

    fn finds(&self, objects: &Path, loose: &Loose, id: Id) -> Result<bool> {
        if loose.holds(id) {
            return Ok(true);
        }
        let failed =
            |error: io::Error| Error::io(format_args!("objects in {}", objects.display()), &error);
        let mut known = self.0.lock();
        if known.as_ref().is_none_or(|known| !known.is_fresh()) {
            *known = Some(Known::new(objects).map_err(failed)?);
        }
        Ok(known.as_ref().is_some_and(|known| known.handle.exists(&object_id(id))))
    }
}

impl Known {
    fn new(objects: &Path) -> io::Result<Known> {
        let handle = gix::odb::at(objects, Sha1)?;
        let mut all = handle.store_ref().alternate_db_paths().map_err(io::Error::other)?;
        all.push(objects.to_owned());
        // Read before anything is looked up: what changes from now on is seen.
        let dirs = all
            .iter()
            .map(|dir| dir.join("pack"))
            .map(|dir| (dir.clone(), changed(&dir)))
            .collect();
        Ok(Known { handle, dirs })
    }

    fn is_fresh(&self) -> bool {
        let now = SystemTime::now();
        self.dirs.iter().all(|(dir, then)| {
            let settled =
                then.is_none_or(|then| now.duration_since(then).is_ok_and(|age| age > TICK));
            settled && changed(dir) == *then
        })
    }
}

fn changed(dir: &Path) -> Option<SystemTime> {
    fs::metadata(dir).and_then(|found| found.modified()).ok()
}
