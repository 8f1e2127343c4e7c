//! Fetches a branch from another repository.

use datakit_client::db::{BackendError, Error, Result};
use datakit_server::inode_numbers;

use crate::remote::fetch::CancelOnDrop;
use crate::remote::sanitize::sanitize_url;
use crate::remote::{CancelFlag, FetchError};
use crate::{BranchName, Database, Id};

/// Fetches `branch` from the repository at `url` and returns its head. Dropping the future cancels
/// the fetch.
pub(super) async fn fetch(database: &Database, url: &str, branch: &str) -> Result<Id> {
    let url = url.trim().to_owned();
    if url.is_empty() {
        return Err(backend("error: remote url is not defined".to_owned()));
    }
    let shown = sanitize_url(&url);
    let refused = |why: &str| backend(format!("error: cannot fetch {shown}: {why}"));
    if let Err(why) = database.schemes().check(&url) {
        return Err(refused(&sanitize_url(&why.to_string())));
    }
    let branch = BranchName::new(branch)?;
    let name = format!("datakit-{}-{}", std::process::id(), inode_numbers::next());
    let cancel = CancelFlag::default();
    let _cancel_on_drop = CancelOnDrop(cancel.clone());
    let in_flight = database.in_flight();
    let fetched = database.run_remote(move |database| {
        // Make [`db::Database::close`] wait until the fetch has finished. A cancelled fetch
        // finishes quickly.
        let _in_flight = in_flight;
        let store = database.store();
        let fetched = store.fetch_cancellable(&name, &url, &branch, &cancel);
        store.forget_remote(&name)?;
        Ok(fetched)
    });
    match fetched.await? {
        Ok(head) => Ok(head),
        Err(FetchError::NoSuchBranch) => Err(backend("error: no head to fetch".to_owned())),
        Err(FetchError::Store(error)) => Err(error.into()),
        Err(other) => Err(refused(&other.to_string())),
    }
}

fn backend(text: String) -> Error {
    Error::Backend(BackendError::new(text))
}
