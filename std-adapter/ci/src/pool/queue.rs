//! The queue of a pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::Notify;

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Jobs that arrive later have larger ids.
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) since: SystemTime,
    pub(super) began: Instant,
    pub(super) granted: Arc<Notify>,
}

/// The waiting jobs. The first project in the list is served next and then moves to the end of the
/// list. Projects without waiting jobs are not in the list.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<(Arc<str>, VecDeque<Waiter>)>);

impl Queue {
    pub(super) fn len_of(&self, project: &str) -> usize {
        self.0.iter().find(|(name, _)| **name == *project).map_or(0, |(_, jobs)| jobs.len())
    }

    pub(super) fn push(&mut self, project: &Arc<str>, waiter: Waiter) {
        match self.0.iter_mut().find(|(name, _)| name == project) {
            Some((_, jobs)) => jobs.push_back(waiter),
            None => self.0.push_back((project.clone(), VecDeque::from([waiter]))),
        }
    }

    /// Removes the job that is next to be served.
    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let (project, mut jobs) = self.0.pop_front()?;
        let next = jobs.pop_front();
        if !jobs.is_empty() {
            self.0.push_back((project, jobs));
        }
        next
    }

    /// Removes a job from the queue. Does nothing if the job is not in the queue.
    pub(super) fn remove(&mut self, project: &str, id: u64) {
        let Some(rank) = self.0.iter().position(|(name, _)| **name == *project) else { return };
        let Some((_, jobs)) = self.0.get_mut(rank) else { return };
        if let Ok(at) = jobs.binary_search_by_key(&id, |job| job.id) {
            jobs.remove(at);
        }
        if jobs.is_empty() {
            self.0.remove(rank);
        }
    }

    /// Returns a job and its position. The job that is next to be served has position 1.
    pub(super) fn find(&self, project: &str, id: u64) -> Option<(usize, &Waiter)> {
        let rank = self.0.iter().position(|(name, _)| **name == *project)?;
        let (_, jobs) = self.0.get(rank)?;
        let at = jobs.binary_search_by_key(&id, |job| job.id).ok()?;
        // In each round, every project is served once, in list order.
        let before: usize = self
            .0
            .iter()
            .enumerate()
            .map(|(other, (_, jobs))| jobs.len().min(if other < rank { at + 1 } else { at }))
            .sum();
        Some((before + 1, jobs.get(at)?))
    }

    /// Returns the jobs in the order in which they are served.
    pub(super) fn in_order(&self) -> Vec<&Waiter> {
        let rounds = self.0.iter().map(|(_, jobs)| jobs.len()).max().unwrap_or(0);
        let round = |at| self.0.iter().filter_map(move |(_, jobs)| jobs.get(at));
        (0..rounds).flat_map(round).collect()
    }
}
