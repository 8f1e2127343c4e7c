//! Creates and opens repositories.

use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix_config::File;
use gix_fs::Capabilities;
use gix_hash::Kind::Sha1;
use gix_odb::Handle;
use gix_odb::store::init::{Options, Slots};

use super::config;
use crate::{Error, Result};

/// The maximum number of packs. While another program repacks the repository, both the old and the
/// new packs count towards this limit.
const MAX_PACKS: u16 = 4096;

/// A handle to an open repository. Only one thread can use a handle at a time.
///
/// Clones share the settings and the packs, so cloning a handle reads nothing from disk.
#[derive(Clone)]
pub(super) struct Repository {
    dir: PathBuf,
    config: Arc<File>,
    objects: Handle,
}

impl Repository {
    /// Opens the repository whose common Git directory is `dir`.
    ///
    /// Replacement refs (`git replace`) are ignored.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the settings are malformed or `objects` is not a directory.
    pub(super) fn open(dir: &Path) -> Result<Repository> {
        let config = read_config(dir)?;
        let options = Options {
            slots: Slots::Given(MAX_PACKS),
            use_multi_pack_index: config::is_set(&config, "core.multiPackIndex", true),
            ..Options::default()
        };
        let store = gix_odb::Store::at_opts(dir.join("objects"), Sha1, &mut iter::empty(), options)
            .map_err(|error| open_error(dir, error))?;
        let objects = Arc::new(store).to_cache_arc();
        Ok(Repository { dir: dir.to_owned(), config: Arc::new(config), objects })
    }

    /// Returns the common Git directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the settings that the repository had when it was opened.
    pub(super) fn config(&self) -> &File {
        &self.config
    }

    pub(super) fn objects(&self) -> &Handle {
        &self.objects
    }

    pub(super) fn objects_dir(&self) -> &Path {
        self.objects.store_ref().path()
    }

    /// Opens the commit-graph. Returns `None` if it does not exist or if the settings disable it.
    pub(super) fn commit_graph(&self) -> gix_error::Result<Option<gix_commitgraph::Graph>> {
        if !config::is_set(&self.config, "core.commitGraph", true) {
            return Ok(None);
        }
        match gix_commitgraph::at(self.objects_dir().join("info"), Sha1, None) {
            Ok(graph) => Ok(Some(graph)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads the settings of the repository at `dir`.
///
/// # Errors
/// Returns [`Error::Store`] if the settings are malformed.
pub(super) fn read_config(dir: &Path) -> Result<File> {
    config::of_repository(dir).map_err(|error| open_error(dir, error))
}

/// Creates an empty bare repository at `dir` that every version of `git` accepts.
///
/// # Errors
/// Returns [`Error::Io`] if a file or directory cannot be created.
pub(super) fn create(dir: &Path) -> Result<()> {
    write_files(dir).map_err(|error| Error::io(dir.display(), error))
}

fn write_files(dir: &Path) -> io::Result<()> {
    for below in ["info", "objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(dir.join(below))?;
    }
    let write = |name: &str, text: &str| fs::write(dir.join(name), text);
    write("description", "Unnamed repository; edit this file to name the repository.\n")?;
    write("info/exclude", "# Patterns of files that git ignores in this repository\n")?;
    write("config", &new_config(&Capabilities::probe_dir(dir)))?;
    // Write `HEAD` last, because a directory without `HEAD` is not a repository.
    write("HEAD", "ref: refs/heads/master\n")
}

/// Returns the settings for a new repository on a file system with these capabilities.
fn new_config(file_system: &Capabilities) -> String {
    let Capabilities { precompose_unicode, ignore_case, executable_bit, symlink } = file_system;
    format!(
        "[core]\n\
         \trepositoryformatversion = 0\n\
         \tfilemode = {executable_bit}\n\
         \tbare = true\n\
         \tlogallrefupdates = false\n\
         \tsymlinks = {symlink}\n\
         \tignorecase = {ignore_case}\n\
         \tprecomposeunicode = {precompose_unicode}\n"
    )
}

pub(super) fn open_error(
    dir: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::store_from(dir.display(), error)
}
