//! Finding an object while another program repacks.
//!
//! A repack moves objects between files and packs while we look. gix then finds an object in
//! neither, and a store of gix that has failed to open an index never opens it again, so that
//! object stays missing. `git` looks again after a miss, and so do we: with a new store, until the
//! packs did not change during the look. Names of packs are hashes of what is in them: an object
//! that moved has changed their list.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use gix::hash::Kind::Sha1;
use gix::odb::Handle;

use crate::{Error, Result};

/// Looks while the packs change. Each takes part of a repack, which takes tens of milliseconds at
/// least.
const LOOKS: u32 = 64;

/// Calls `look` with a new store of `objects`, again as long as it finds nothing and the packs
/// changed meanwhile.
///
/// # Errors
/// The error of the last look; [`Error::Store`] if `objects` cannot be read.
pub(super) fn look<T>(
    objects: &Path,
    mut look: impl FnMut(&Handle) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let failed =
        |error: io::Error| Error::io(format_args!("objects in {}", objects.display()), &error);
    let mut before = packs(objects).map_err(failed)?;
    for _ in 1..LOOKS {
        let found = look(&gix::odb::at(objects, Sha1).map_err(failed)?);
        if matches!(found, Ok(Some(_))) {
            return found;
        }
        let after = packs(objects).map_err(failed)?;
        if after == before {
            return found;
        }
        before = after;
    }
    look(&gix::odb::at(objects, Sha1).map_err(failed)?)
}

/// The indices of packs, those of other repositories that this one uses included.
fn packs(objects: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut stores =
        gix::odb::at(objects, Sha1)?.store_ref().alternate_db_paths().map_err(io::Error::other)?;
    stores.push(objects.to_owned());
    let mut packs = BTreeSet::new();
    for store in stores {
        let entries = match fs::read_dir(store.join("pack")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "idx")
                || path.ends_with("multi-pack-index")
            {
                packs.insert(path.into_os_string());
            }
        }
    }
    Ok(packs)
}
