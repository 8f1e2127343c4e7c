//! What other programs do to the branches.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::db::store::Watching;

/// One change of a branch is several of files.
const GATHER: Duration = Duration::from_millis(5);

/// Looks without being told: where the system does not tell, and for what it may have lost.
const LOOK: Duration = Duration::from_millis(500);

/// Watches `refs/heads` and `packed-refs` until it is dropped.
pub(super) struct Watcher {
    /// Ends the thread when it goes.
    _alive: Sender<()>,
    _told: Option<RecommendedWatcher>,
}

impl Watching for Watcher {}

impl Watcher {
    pub(super) fn new(dir: &Path, changed: Box<dyn Fn() + Send + Sync>) -> Watcher {
        let (alive, events) = channel();
        let told = tell(dir, alive.clone());
        if let Err(error) = &told {
            tracing::warn!("{} is looked at twice a second: {error}", dir.display());
        }
        std::thread::spawn(move || follow(&events, &*changed));
        // The system's side has a clone of the sender, which goes with it.
        Watcher { _alive: alive, _told: told.ok() }
    }
}

fn tell(dir: &Path, events: Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reads are events, too: a look at a branch would be the reason for the next.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // Who does not listen any more is about to drop this.
            let _ = events.send(());
        }
    })?;
    watcher.watch(&dir.join("refs").join("heads"), RecursiveMode::Recursive)?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn follow(events: &Receiver<()>, changed: &dyn Fn()) {
    loop {
        match events.recv_timeout(LOOK) {
            Ok(()) => std::thread::sleep(GATHER),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while events.try_recv().is_ok() {}
        changed();
    }
}
