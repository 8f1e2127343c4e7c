//! A database handle that outlives the connection.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use datakit_client::Error as ClientError;
use datakit_client::db::{Database, Error, Result};
use tokio::sync::watch;

/// A database whose connection can be replaced. All clones refer to the same connection.
///
/// Builds continue after the connection is lost, and store their results after the next call to
/// [`connect`](SharedDb::connect). Another server can take over the database if the interruption is
/// too long. To prevent two servers from running the same build, call
/// [`end_builds`](SharedDb::end_builds) before that happens.
///
/// A database that is not connected through a server, such as `DirectDb` in the `datakit-db` crate,
/// can be converted with `into`.
pub struct SharedDb<D> {
    state: Arc<watch::Sender<SharedDbState<D>>>,
}

struct SharedDbState<D> {
    db: Option<D>,
    /// The number of connections so far.
    connections: u64,
    /// The number of calls to `end_builds`.
    ends: u64,
}

impl<D: Database> SharedDb<D> {
    /// Creates a handle without a connection.
    #[must_use]
    pub fn disconnected() -> SharedDb<D> {
        SharedDb::with(SharedDbState { db: None, connections: 0, ends: 0 })
    }

    fn with(state: SharedDbState<D>) -> SharedDb<D> {
        SharedDb { state: Arc::new(watch::Sender::new(state)) }
    }

    /// Switches to a new connection. If an operation failed because the previous connection was
    /// lost, it is repeated.
    pub fn connect(&self, db: D) {
        self.state.send_modify(|state| {
            state.db = Some(db);
            state.connections += 1;
        });
    }

    /// Stops using the connection. Operations wait for the next connection.
    pub fn disconnect(&self) {
        self.state.send_modify(|state| state.db = None);
    }

    /// Ends all builds that are running. They start again once the database is connected again.
    /// Results that have not been stored yet are kept.
    pub fn end_builds(&self) {
        self.state.send_modify(|state| state.ends += 1);
    }

    /// Returns the database, or `None` if it is not connected.
    #[must_use]
    pub fn current(&self) -> Option<D> {
        self.state.borrow().db.clone()
    }

    /// Waits until the database is connected, and returns it.
    pub async fn get(&self) -> D {
        self.connection_after(0).await.0
    }

    /// Performs an operation. If the connection is lost, the operation is repeated on the next
    /// connection, so it could be performed twice.
    ///
    /// # Errors
    /// Returns any error other than a lost connection.
    pub async fn retry<T, F>(&self, operation: impl Fn(D) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut tried = 0;
        loop {
            let (db, number) = self.connection_after(tried).await;
            tokio::select! {
                result = operation(db) => match result {
                    Err(Error::Client(ClientError::Lost(_))) => tried = number,
                    result => return result,
                },
                // A request on a connection that is no longer used might never complete.
                () = self.replaced(number) => {}
            }
        }
    }

    /// Waits for a connection whose number is greater than `number`, and returns it with its
    /// number.
    async fn connection_after(&self, number: u64) -> (D, u64) {
        let mut states = self.state.subscribe();
        loop {
            {
                let state = states.borrow_and_update();
                if let Some(db) = state.db.clone().filter(|_| state.connections > number) {
                    return (db, state.connections);
                }
            }
            // The call cannot fail, because `self` holds the sender.
            let _ = states.changed().await;
        }
    }

    /// Waits until the connection with this number is no longer used.
    async fn replaced(&self, number: u64) {
        let mut states = self.state.subscribe();
        let unused = |state: &SharedDbState<D>| state.db.is_none() || state.connections != number;
        let _ = states.wait_for(unused).await;
    }

    /// Waits for the first call to [`end_builds`](SharedDb::end_builds) after this method has been
    /// called.
    pub(crate) fn builds_ended(&self) -> impl Future<Output = ()> + Send + use<D> {
        let mut states = self.state.subscribe();
        let ends = states.borrow().ends;
        // An error means that no other handle exists, so nothing can end the builds.
        async move {
            if states.wait_for(|state| state.ends != ends).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl<D: Database> From<D> for SharedDb<D> {
    fn from(db: D) -> SharedDb<D> {
        SharedDb::with(SharedDbState { db: Some(db), connections: 1, ends: 0 })
    }
}

impl<D> Clone for SharedDb<D> {
    fn clone(&self) -> SharedDb<D> {
        SharedDb { state: self.state.clone() }
    }
}

impl<D> fmt::Debug for SharedDb<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("SharedDb").field("connected", &state.db.is_some()).finish_non_exhaustive()
    }
}
