//! What a store waits for.

use std::fs::File;
use std::io;
use std::thread;

/// What is on the disk when a commit is acknowledged. Whichever it is, a process that is killed
/// loses nothing: the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Files and their names: without power, nothing that was acknowledged is lost.
    #[default]
    All,
    /// Files, before they get their names, as `git` does it: without power, the last ones may be
    /// lost, but never half a one.
    Files,
    /// Nothing: without power, the last ones may be lost, and a branch be left that leads to
    /// nothing.
    None,
}

impl Fsync {
    pub(super) fn files(self) -> bool {
        self != Fsync::None
    }

    pub(super) fn names(self) -> bool {
        self == Fsync::All
    }
}

/// Waits until all of them are on the disk, which has several in about the time of one.
pub(super) fn sync_all(files: &[&File]) -> io::Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let apart = |file| {
            thread::Builder::new()
                .spawn_scoped(scope, move || File::sync_all(file))
                .map_err(|_| file)
        };
        let others: Vec<_> = others.iter().copied().map(apart).collect();
        let mut done = first.sync_all();
        for other in others {
            done = done.and(match other {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed")))
                }
                // The system has no more threads: one after the other, then.
                Err(file) => file.sync_all(),
            });
        }
        done
    })
}
