//! The levels of durability, and the functions that sync files and directories to disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

/// A durability level, which determines what data is guaranteed to be on disk when a commit is
/// acknowledged.
///
/// At every level, all data survives if the process is killed, because the kernel already has it.
/// The levels differ in what data a power failure can destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Syncs files and directories. No acknowledged commit is lost in a power failure.
    #[default]
    All,
    /// Like `git`, syncs files before they are renamed to their final names. The latest commits can
    /// be lost in a power failure, but no commit is ever left incomplete.
    Files,
    /// Syncs nothing. After a power failure, the latest commits can be lost, and branches can point
    /// to missing objects.
    None,
}

impl Fsync {
    pub(super) fn syncs_files(self) -> bool {
        self != Fsync::None
    }

    pub(super) fn syncs_dirs(self) -> bool {
        self == Fsync::All
    }
}

/// Syncs files concurrently, with one thread per file. As a result, syncing many files takes about
/// as long as syncing one file.
pub(super) fn sync_all(files: &[&File]) -> io::Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let spawn = |file| {
            thread::Builder::new()
                .spawn_scoped(scope, move || File::sync_all(file))
                .map_err(|_| file)
        };
        let others: Vec<_> = others.iter().copied().map(spawn).collect();
        let mut result = first.sync_all();
        for other in others {
            result = result.and(match other {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
                }
                // If the thread could not be started, sync the file on the current thread.
                Err(file) => file.sync_all(),
            });
        }
        result
    })
}

/// Syncs the entries of a directory to disk.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
