//! What other programs do to the branches.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{CreateKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::BranchName;
use crate::store::{RefChanges, WatchGuard};

/// One change of a branch is several of files.
const GATHER: Duration = Duration::from_millis(5);

/// Looks at the branches that are followed without being told: where the system does not tell, and
/// for what it may have lost.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at all branches without being told, where the system tells.
const LOOK_AT_ALL: Duration = Duration::from_secs(60);

/// A look takes at most one part in so many of the time: the more branches are followed, the longer
/// it is to the next one.
const SHARE: u32 = 100;

/// Watches `refs/heads` and `packed-refs` until it is dropped.
pub(super) struct Watcher {
    /// Ends the thread when it goes.
    _alive: Sender<RefChanges>,
    _told: Option<RecommendedWatcher>,
}

impl WatchGuard for Watcher {}

impl Watcher {
    pub(super) fn new(dir: &Path, changed: Box<dyn Fn(&RefChanges) + Send + Sync>) -> Watcher {
        let (alive, events) = channel();
        let told = tell(dir, alive.clone());
        if let Err(error) = &told {
            tracing::warn!("{} is looked at twice a second: {error}", dir.display());
        }
        let looks = Looks { changed, all: if told.is_ok() { LOOK_AT_ALL } else { LOOK } };
        std::thread::spawn(move || looks.follow(&events));
        // The system's side has a clone of the sender, which goes with it.
        Watcher { _alive: alive, _told: told.ok() }
    }
}

fn tell(dir: &Path, events: Sender<RefChanges>) -> notify::Result<RecommendedWatcher> {
    let files = Files { heads: dir.join("refs").join("heads"), packed: dir.join("packed-refs") };
    let heads = files.heads.clone();
    let mut watcher = notify::recommended_watcher(move |event| {
        if let Some(seen) = files.seen(event) {
            // A thread that does not listen any more is about to drop this.
            let _ = events.send(seen);
        }
    })?;
    watcher.watch(&heads, RecursiveMode::Recursive)?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Where branches are.
struct Files {
    heads: PathBuf,
    packed: PathBuf,
}

impl Files {
    /// What an event says about the branches; `None` if nothing.
    fn seen(&self, event: notify::Result<Event>) -> Option<RefChanges> {
        let Ok(event) = event else { return Some(RefChanges::Any) };
        match event.kind {
            _ if event.need_rescan() => return Some(RefChanges::Any),
            // Reads are events, too: a look at a branch would be the reason for the next.
            EventKind::Access(_) => return None,
            // Files that were made in a new directory before it was watched have no event.
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => {
                return Some(RefChanges::Any);
            }
            _ => {}
        }
        event.paths.iter().filter_map(|path| self.about(path)).reduce(merged)
    }

    fn about(&self, path: &Path) -> Option<RefChanges> {
        let Ok(name) = path.strip_prefix(&self.heads) else {
            return (path == self.packed).then_some(RefChanges::Any);
        };
        let name = name.as_os_str().as_bytes();
        match BranchName::new(name) {
            Ok(name) => Some(RefChanges::Named([name].into())),
            // The lock of a branch: the branch itself is told of when it moves.
            Err(_) if name.ends_with(b".lock") => None,
            Err(_) => Some(RefChanges::Any),
        }
    }
}

/// Looks at branches when there is news, and from time to time.
struct Looks {
    changed: Box<dyn Fn(&RefChanges) + Send + Sync>,
    /// The time between two looks at all branches.
    all: Duration,
}

impl Looks {
    fn follow(&self, events: &Receiver<RefChanges>) {
        let start = Instant::now();
        let (mut at_all, mut last, mut rest, mut due) =
            (start, start, Duration::ZERO, start + LOOK);
        loop {
            let mut seen = match events.recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                Ok(seen) => seen,
                Err(RecvTimeoutError::Timeout) if at_all.elapsed() >= self.all => RefChanges::Any,
                Err(RecvTimeoutError::Timeout) => RefChanges::Poll,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if seen != RefChanges::Poll {
                std::thread::sleep(GATHER);
            }
            seen = events.try_iter().fold(seen, merged);
            let begun = Instant::now();
            (self.changed)(&seen);
            if let RefChanges::Named(_) = seen {
                // A symbolic branch moves with another: those that were not named are looked at as
                // soon as the share allows it.
                due = last + rest;
                continue;
            }
            (last, rest) = (begun, begun.elapsed().saturating_mul(SHARE).min(LOOK_AT_ALL));
            due = last + rest.max(LOOK);
            if seen == RefChanges::Any {
                at_all = begun;
            }
        }
    }
}

fn merged(one: RefChanges, other: RefChanges) -> RefChanges {
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
    fn events_name_the_branches_that_may_have_moved() {
        let files = Files { heads: "/r/refs/heads".into(), packed: "/r/packed-refs".into() };
        let seen = |kind, paths: &[&str]| {
            let event = Event::new(kind);
            files.seen(Ok(paths.iter().fold(event, |event, path| event.add_path(path.into()))))
        };
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(seen(renamed, &["/r/refs/heads/a.lock", "/r/refs/heads/a"]), named(&["a"]));
        assert_eq!(seen(renamed, &["/r/refs/heads/a", "/r/refs/heads/b/c"]), named(&["a", "b/c"]));
        assert_eq!(seen(written, &["/r/packed-refs"]), Some(RefChanges::Any));
        assert_eq!(
            seen(EventKind::Create(CreateKind::Folder), &["/r/refs/heads/d"]),
            Some(RefChanges::Any)
        );
        assert_eq!(seen(EventKind::Other, &[]), None);
        assert_eq!(
            files.seen(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))),
            Some(RefChanges::Any)
        );
        assert_eq!(files.seen(Err(notify::Error::generic("lost"))), Some(RefChanges::Any));
        for other in ["/r/HEAD", "/r/index.lock", "/r/packed-refs.lock", "/r/refs/heads/a.lock"] {
            assert_eq!(seen(written, &[other]), None, "{other}");
        }
        assert_eq!(seen(EventKind::Access(AccessKind::Any), &["/r/refs/heads/a"]), None);
    }

    #[test]
    fn news_about_one_branch_is_followed_by_a_look_at_all_that_are_followed() {
        let ((tell, events), (looked, looks)) = (channel(), channel());
        let looked = Mutex::new(looked);
        let changed =
            Box::new(move |seen: &RefChanges| looked.lock().send(seen.clone()).unwrap_or_default());
        let thread =
            std::thread::spawn(move || Looks { changed, all: LOOK_AT_ALL }.follow(&events));
        tell.send(named(&["a"]).unwrap()).unwrap();
        assert_eq!(looks.recv().ok(), named(&["a"]));
        assert_eq!(looks.recv(), Ok(RefChanges::Poll));
        drop(tell);
        thread.join().unwrap();
    }
}
