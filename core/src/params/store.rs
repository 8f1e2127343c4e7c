//! The interface to nonvolatile storage for parameter values.

use core::fmt;
use core::ops::Range;

use crate::vfs::{Client, Error, Result};

/// Nonvolatile storage for parameter values.
///
/// Because writing to flash takes time, a store only queues requests. A task processes the requests
/// and calls [`StoreRequest::finish`] for each of them.
pub trait ParamStore: Sync {
    /// Passes a request to the task that accesses the storage. This method does not wait.
    ///
    /// # Errors
    /// Returns [`Error::Busy`], with a message that gives the reason, if the store has no room for
    /// another request. In this case, the request is dropped.
    fn start(&self, request: StoreRequest) -> Result<()>;
}

/// The action that a [`StoreRequest`] requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAction {
    /// Store the current values of the parameters with these ordinals. The ordinal of a parameter
    /// is its position in the order of [`visit_parameters`](super::visit_parameters).
    Save(Range<u16>),
    /// Set all parameters to their stored values.
    Load,
    /// Erase all stored values.
    Erase,
}

/// Receives the outcomes of requests to a store.
pub trait StoreOutcomes: Sync {
    /// Called with the outcome of a request that `client` made. If the request succeeded, the
    /// outcome is one line of text without a newline.
    fn finished(&'static self, client: Client, outcome: Result<&dyn fmt::Display>);
}

/// A request to a [`ParamStore`]. If a request is dropped before it is finished, its outcome is
/// [`Error::Io`], so that no client waits forever.
#[must_use]
pub struct StoreRequest {
    action: StoreAction,
    client: Client,
    outcomes: Option<&'static dyn StoreOutcomes>,
}

impl StoreRequest {
    /// Creates a request from the program itself. Its outcome is not reported.
    pub const fn new(action: StoreAction) -> StoreRequest {
        StoreRequest { action, client: Client::PROGRAM, outcomes: None }
    }

    /// Creates a request from `client`. The outcome is reported to `outcomes`.
    pub const fn by_client(
        action: StoreAction,
        client: Client,
        outcomes: &'static dyn StoreOutcomes,
    ) -> StoreRequest {
        StoreRequest { action, client, outcomes: Some(outcomes) }
    }

    /// Returns the requested action.
    #[must_use]
    pub const fn action(&self) -> &StoreAction {
        &self.action
    }

    /// Returns the client that made the request.
    #[must_use]
    pub const fn client(&self) -> Client {
        self.client
    }

    /// Reports the outcome. If the request succeeded, the outcome must be one line of text without
    /// a newline, for example `saved 3 values`.
    pub fn finish(mut self, outcome: Result<&dyn fmt::Display>) {
        self.report(outcome);
    }

    fn report(&mut self, outcome: Result<&dyn fmt::Display>) {
        if let Some(outcomes) = self.outcomes.take() {
            outcomes.finished(self.client, outcome);
        }
    }
}

impl Drop for StoreRequest {
    fn drop(&mut self) {
        self.report(Err(Error::Io));
    }
}

impl fmt::Debug for StoreRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreRequest { action, client, outcomes: _ } = self;
        f.debug_struct("StoreRequest")
            .field("action", action)
            .field("client", client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::sync::Mutex;

    use super::*;

    struct Log(Mutex<String>);

    impl StoreOutcomes for Log {
        fn finished(&'static self, client: Client, outcome: Result<&dyn fmt::Display>) {
            let outcome = outcome.map_or_else(|error| format!("{error}"), |text| format!("{text}"));
            *self.0.lock().unwrap() += &format!("{} {outcome}\n", client.0);
        }
    }

    #[test]
    fn every_request_has_exactly_one_outcome() {
        static LOG: Log = Log(Mutex::new(String::new()));
        let request = |client| StoreRequest::by_client(StoreAction::Load, Client(client), &LOG);
        request(1).finish(Ok(&"loaded 3 values"));
        request(2).finish(Err(Error::Busy));
        drop(request(3));
        StoreRequest::new(StoreAction::Save(0..3)).finish(Ok(&"saved 3 values"));
        assert_eq!(
            *LOG.0.lock().unwrap(),
            "1 loaded 3 values\n2 Device or resource busy\n3 Input/output error\n"
        );
    }
}
