//! Branches of other repositories: `git://`, `ssh://`, `http://`, `https://`, `file://` and paths.

use std::sync::atomic::AtomicBool;

use gix::Repository;
use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::Tags;

use crate::db::store::FetchError;
use crate::db::{BranchName, Id};

/// Fetches a branch to `refs/remotes/REMOTE/BRANCH`.
pub(super) fn fetch(repository: &Repository, remote: &str, url: &str, branch: &BranchName) -> Result<Id, FetchError> {
    let spec = format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}");
    let stop = AtomicBool::new(false);
    let from = repository.remote_at(url).map_err(failed)?.with_fetch_tags(Tags::None);
    let from = from.with_refspecs([spec.as_str()], Direction::Fetch).map_err(failed)?;
    // It fails if that was done before, by whomever: then there is a provider as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connection = from.connect(Direction::Fetch).map_err(failed)?;
    // Nobody is there to be asked for a password.
    let connection = connection.with_credentials(|_| Ok(None));
    let prepared = connection.prepare_fetch(Discard, Default::default()).map_err(failed)?;
    let found = prepared.ref_map().mappings.first().and_then(|mapping| mapping.remote.as_id());
    let found = found.ok_or(FetchError::NoHead)?.to_owned();
    prepared.receive(Discard, &stop).map_err(failed)?;
    Ok(found.into())
}

/// With all its causes: the last ones say what was in the way.
fn failed(error: gix::Error) -> FetchError {
    let mut why: Vec<String> = error.iter_errors().map(ToString::to_string).collect();
    why.dedup();
    FetchError::Failed(why.join(": "))
}
