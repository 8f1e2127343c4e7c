//! Keeps the recent moves of a branch (changes to its head) for readers of the reflog.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::Id;

/// The maximum number of branch updates by which a reader may lag behind. A reader that falls
/// further behind receives [`Lagged`].
const LOG_CAPACITY: usize = 4096;

/// The recent moves of a branch. An empty log allocates no memory.
#[derive(Default)]
pub(super) struct MoveLog(Arc<MoveLogInner>);

#[derive(Default)]
struct MoveLogInner {
    moves: Mutex<Moves>,
    pushed: Notify,
}

#[derive(Default)]
struct Moves {
    /// The sequence number of the oldest branch update in the log.
    first: u64,
    kept: VecDeque<Option<Id>>,
}

/// A reader that receives every update made to the branch after the reader was created.
pub(crate) struct MoveLogReader {
    log: Arc<MoveLogInner>,
    next: u64,
}

/// The error returned if the log has dropped an update that the reader has not yet received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lagged;

impl MoveLog {
    pub(super) fn push_move(&self, head: Option<Id>) {
        // Only readers hold clones. If there are no readers, discard all updates.
        if Arc::strong_count(&self.0) > 1 { self.0.push_move(head) } else { self.0.clear() }
    }

    pub(super) fn reader(&self) -> MoveLogReader {
        let next = self.0.moves.lock().end();
        MoveLogReader { log: self.0.clone(), next }
    }
}

impl MoveLogInner {
    fn push_move(&self, head: Option<Id>) {
        let mut moves = self.moves.lock();
        if moves.kept.len() >= LOG_CAPACITY {
            moves.kept.pop_front();
            moves.first = moves.first.saturating_add(1);
        }
        moves.kept.push_back(head);
        drop(moves);
        self.pushed.notify_waiters();
    }

    fn clear(&self) {
        let mut moves = self.moves.lock();
        moves.first = moves.end();
        moves.kept = VecDeque::new();
    }
}

impl Moves {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64)
    }

    /// Returns the branch update with this sequence number, or `None` if it has not happened yet.
    fn get(&self, number: u64) -> Result<Option<Option<Id>>, Lagged> {
        let index = number.checked_sub(self.first).ok_or(Lagged)?;
        Ok(usize::try_from(index).ok().and_then(|index| self.kept.get(index)).copied())
    }
}

impl MoveLogReader {
    /// Waits for the next update to the branch.
    ///
    /// # Cancel safety
    /// No update is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Id>, Lagged> {
        loop {
            // Subscribe before reading, so that an update pushed after the read is not missed.
            let pushed = self.log.pushed.notified();
            let found = self.log.moves.lock().get(self.next)?;
            match found {
                Some(head) => {
                    self.next = self.next.saturating_add(1);
                    return Ok(head);
                }
                None => pushed.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_get_every_move_or_lag() {
        let log = MoveLog::default();
        log.push_move(None);
        let (mut reader, mut slow) = (log.reader(), log.reader());
        let heads = [Some(Id::EMPTY_TREE), None, Some(Id::EMPTY_TREE)];
        for head in heads {
            log.push_move(head);
        }
        for head in heads {
            assert_eq!(reader.next().await, Ok(head));
        }
        (0..LOG_CAPACITY - heads.len() + 1).for_each(|_| log.push_move(None));
        assert_eq!((reader.next().await, slow.next().await), (Ok(None), Err(Lagged)));
    }

    #[test]
    fn log_without_readers_keeps_nothing() {
        let log = MoveLog::default();
        let reader = log.reader();
        (0..10).for_each(|_| log.push_move(None));
        assert_eq!(reader.log.moves.lock().kept.len(), 10);
        drop(reader);
        log.push_move(None);
        assert_eq!(log.0.moves.lock().kept.capacity(), 0);
    }
}
