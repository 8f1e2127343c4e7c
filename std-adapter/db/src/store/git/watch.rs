//! Watches for changes that other programs make to branches.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{CreateKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::BranchName;
use crate::store::{RefChanges, WatchGuard};

/// How long file events are collected before the affected branches are read. A single change to a
/// branch causes several events.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// The minimum time between polls. A poll detects changes that the system has not reported.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The time between polls of all branches if the system reports file changes.
const FULL_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The watcher spends at most 1/`POLL_SHARE` of its time polling, so polls are less frequent if
/// there are many branches.
const POLL_SHARE: u32 = 100;

/// A watcher for `refs/heads` and `packed-refs`. Dropping the `Watcher` stops it.
pub(super) struct Watcher {
    /// The sender for events. When the sender is dropped, the thread exits.
    _sender: Sender<RefChanges>,
    _notifier: Option<RecommendedWatcher>,
}

impl WatchGuard for Watcher {}

impl Watcher {
    /// Starts a thread that calls `changed` when branches may have changed. If the system cannot
    /// report file changes, the thread polls the branches.
    pub(super) fn new(dir: &Path, changed: Box<dyn Fn(&RefChanges) + Send + Sync>) -> Watcher {
        let (sender, events) = channel();
        let notifier = start_notifier(dir, sender.clone());
        if let Err(error) = &notifier {
            tracing::warn!("cannot watch {}, polling it twice a second: {error}", dir.display());
        }
        let full_interval = if notifier.is_ok() { FULL_POLL_INTERVAL } else { POLL_INTERVAL };
        let poller = Poller { changed, full_interval };
        std::thread::spawn(move || poller.run(&events));
        // The notifier holds a clone of the sender, so it must be dropped together with the sender.
        Watcher { _sender: sender, _notifier: notifier.ok() }
    }
}

fn start_notifier(dir: &Path, events: Sender<RefChanges>) -> notify::Result<RecommendedWatcher> {
    let paths = RefPaths { heads: dir.join("refs").join("heads"), packed: dir.join("packed-refs") };
    let heads = paths.heads.clone();
    let mut watcher = notify::recommended_watcher(move |event| {
        if let Some(changes) = paths.changes(event) {
            // Ignore the error, because sending fails only while the watcher is being dropped.
            let _ = events.send(changes);
        }
    })?;
    watcher.watch(&heads, RecursiveMode::Recursive)?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// The paths of the files and directories in which branches are stored.
struct RefPaths {
    heads: PathBuf,
    packed: PathBuf,
}

impl RefPaths {
    /// Returns the branches that an event may affect, or `None` if it does not affect any branches.
    fn changes(&self, event: notify::Result<Event>) -> Option<RefChanges> {
        let Ok(event) = event else { return Some(RefChanges::Any) };
        match event.kind {
            _ if event.need_rescan() => return Some(RefChanges::Any),
            // Ignore read events, because the watcher reads the branches itself and would otherwise
            // trigger itself in an endless loop.
            EventKind::Access(_) => return None,
            // Report a possible change to every branch, because files may have been created in a
            // new directory before it was watched.
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => {
                return Some(RefChanges::Any);
            }
            _ => {}
        }
        event.paths.iter().filter_map(|path| self.changes_at(path)).reduce(merge)
    }

    fn changes_at(&self, path: &Path) -> Option<RefChanges> {
        let Ok(name) = path.strip_prefix(&self.heads) else {
            return (path == self.packed).then_some(RefChanges::Any);
        };
        let name = name.as_os_str().as_bytes();
        match BranchName::new(name) {
            Ok(name) => Some(RefChanges::Named([name].into())),
            // Ignore lock files, because a change to the branch itself causes a separate event.
            Err(_) if name.ends_with(b".lock") => None,
            Err(_) => Some(RefChanges::Any),
        }
    }
}

/// A poller that calls `changed` after events and at regular intervals.
struct Poller {
    changed: Box<dyn Fn(&RefChanges) + Send + Sync>,
    /// The time between polls of all branches.
    full_interval: Duration,
}

impl Poller {
    /// Calls `changed` after events and at regular intervals until the sender is dropped.
    fn run(&self, events: &Receiver<RefChanges>) {
        let start = Instant::now();
        let (mut last_full, mut last_poll) = (start, start);
        let (mut pause, mut due) = (Duration::ZERO, start + POLL_INTERVAL);
        loop {
            let timeout = due.saturating_duration_since(Instant::now());
            let mut changes = match events.recv_timeout(timeout) {
                Ok(changes) => changes,
                Err(RecvTimeoutError::Timeout) if last_full.elapsed() >= self.full_interval => {
                    RefChanges::Any
                }
                Err(RecvTimeoutError::Timeout) => RefChanges::Poll,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if changes != RefChanges::Poll {
                std::thread::sleep(DEBOUNCE);
            }
            changes = events.try_iter().fold(changes, merge);
            let begin = Instant::now();
            (self.changed)(&changes);
            if let RefChanges::Named(_) = changes {
                // The change also affects symbolic branches that point to the branch, but the event
                // does not name them. Therefore, poll as soon as `POLL_SHARE` permits.
                due = last_poll + pause;
                continue;
            }
            pause = begin.elapsed().saturating_mul(POLL_SHARE).min(FULL_POLL_INTERVAL);
            last_poll = begin;
            due = last_poll + pause.max(POLL_INTERVAL);
            if changes == RefChanges::Any {
                last_full = begin;
            }
        }
    }
}

fn merge(one: RefChanges, other: RefChanges) -> RefChanges {
    match (one, other) {
        (RefChanges::Poll, other) | (other, RefChanges::Poll) => other,
        (RefChanges::Named(mut names), RefChanges::Named(others)) => {
            names.extend(others);
            RefChanges::Named(names)
        }
        (RefChanges::Any, _) | (_, RefChanges::Any) => RefChanges::Any,
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use notify::event::{AccessKind, DataChange, Flag, ModifyKind, RenameMode};

    use super::*;

    fn named(names: &[&str]) -> Option<RefChanges> {
        Some(RefChanges::Named(names.iter().map(|name| BranchName::new(name).unwrap()).collect()))
    }

    #[test]
    fn events_name_the_branches_that_may_have_changed() {
        let ref_paths = RefPaths { heads: "/r/refs/heads".into(), packed: "/r/packed-refs".into() };
        let changes = |kind, paths: &[&str]| {
            let event = Event::new(kind);
            ref_paths
                .changes(Ok(paths.iter().fold(event, |event, path| event.add_path(path.into()))))
        };
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(changes(renamed, &["/r/refs/heads/a.lock", "/r/refs/heads/a"]), named(&["a"]));
        assert_eq!(
            changes(renamed, &["/r/refs/heads/a", "/r/refs/heads/b/c"]),
            named(&["a", "b/c"])
        );
        assert_eq!(changes(written, &["/r/packed-refs"]), Some(RefChanges::Any));
        assert_eq!(
            changes(EventKind::Create(CreateKind::Folder), &["/r/refs/heads/d"]),
            Some(RefChanges::Any)
        );
        assert_eq!(changes(EventKind::Other, &[]), None);
        assert_eq!(
            ref_paths.changes(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))),
            Some(RefChanges::Any)
        );
        assert_eq!(ref_paths.changes(Err(notify::Error::generic("lost"))), Some(RefChanges::Any));
        for other in ["/r/HEAD", "/r/index.lock", "/r/packed-refs.lock", "/r/refs/heads/a.lock"] {
            assert_eq!(changes(written, &[other]), None, "{other}");
        }
        assert_eq!(changes(EventKind::Access(AccessKind::Any), &["/r/refs/heads/a"]), None);
    }

    #[test]
    fn an_event_for_one_branch_is_followed_by_a_poll() {
        let ((sender, events), (calls_sender, calls)) = (channel(), channel());
        let calls_sender = Mutex::new(calls_sender);
        let changed = Box::new(move |changes: &RefChanges| {
            calls_sender.lock().send(changes.clone()).unwrap_or_default()
        });
        let poller = Poller { changed, full_interval: FULL_POLL_INTERVAL };
        let thread = std::thread::spawn(move || poller.run(&events));
        sender.send(named(&["a"]).unwrap()).unwrap();
        assert_eq!(calls.recv().ok(), named(&["a"]));
        assert_eq!(calls.recv(), Ok(RefChanges::Poll));
        drop(sender);
        thread.join().unwrap();
    }
}
