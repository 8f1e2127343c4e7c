//! Checks that the database responds.

use std::convert::Infallible;
use std::time::Duration;

use datakit_ci::SharedDb;
use datakit_client::db::Db;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::AnyError;

/// The last contact with the database.
///
/// Once the last contact is longer ago than the lease timeout, another server may acquire the lease
/// and start this server's builds again. By then, this server has ended all its builds.
pub(super) struct Contact {
    /// The lease timeout.
    limit: Duration,
    state: watch::Sender<ContactState>,
}

#[derive(Clone, Copy)]
struct ContactState {
    /// Whether this server holds the lease on the current connection.
    holds_lease: bool,
    /// The last time at which this server is known to have held the lease.
    last: Option<Instant>,
}

impl Contact {
    pub(super) fn new(limit: Duration) -> Contact {
        Contact {
            limit,
            state: watch::Sender::new(ContactState { holds_lease: false, last: None }),
        }
    }

    /// Records that this server has acquired the lease.
    pub(super) fn acquired(&self) {
        self.state.send_replace(ContactState { holds_lease: true, last: Some(Instant::now()) });
    }

    /// Records that the connection is no longer used.
    pub(super) fn lost(&self) {
        self.state.send_modify(|state| state.holds_lease = false);
    }

    /// Returns `true` if builds may still be running.
    pub(super) fn is_recent(&self) -> bool {
        self.state.borrow().last.is_some_and(|last| last.elapsed() < self.limit)
    }

    /// Sends requests periodically. Returns only if the database does not respond within half of
    /// the lease timeout. The other half leaves time to reconnect before the builds are ended.
    pub(super) async fn probe(&self, db: &Db) -> AnyError {
        let (interval, limit) = (self.limit / 4, self.limit / 2);
        loop {
            let sent = Instant::now();
            match timeout(limit, db.client().stat("branch")).await {
                Ok(Ok(_)) => self.state.send_modify(|state| {
                    if state.holds_lease {
                        state.last = Some(sent);
                    }
                }),
                Ok(Err(error)) => return error.into(),
                Err(_) => return format!("no response within {limit:?}").into(),
            }
            sleep(interval).await;
        }
    }

    /// Ends all builds whenever the time since the last contact reaches the lease timeout.
    pub(super) async fn end_builds(&self, db: &SharedDb<Db>) -> Infallible {
        let mut states = self.state.subscribe();
        loop {
            let last = states.borrow_and_update().last;
            let expired = async {
                match last {
                    Some(last) => sleep_until(last + self.limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => {
                    tracing::warn!("no contact with the database, ending all builds");
                    db.end_builds();
                    // The call cannot fail, because `self` holds the sender.
                    let _ = states.wait_for(|state| state.last != last).await;
                }
                _ = states.changed() => {}
            }
        }
    }
}
