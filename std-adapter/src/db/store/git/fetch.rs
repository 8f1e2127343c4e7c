//! Branches of other repositories: `git://`, `ssh://`, `http://`, `https://`, `file://` and paths.

use std::time::{Duration, Instant};

use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::Tags;
use gix::{ObjectId, Repository};

use super::program::Words;
use super::transport;
use crate::db::store::FetchError;
use crate::db::{BranchName, Id};

/// Fetches a branch to `refs/remotes/REMOTE/BRANCH`, from a repository that never says nothing for as long as `patience`.
pub(super) fn fetch(
    repository: &Repository,
    remote: &str,
    url: &str,
    branch: &BranchName,
    patience: Option<Duration>,
) -> Result<Id, FetchError> {
    let spec = format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}");
    // What is fetched is gone with its client; nobody asks for the log of it.
    let mut repository = repository.clone();
    repository.refs.write_reflog = gix::refs::store::WriteReflog::Disable;
    let (words, begun) = (Words::default(), Instant::now());
    let error = match receive(&repository, url, &spec, patience, &words) {
        Ok(found) => return found.map(Id::from).ok_or(FetchError::NoHead),
        Err(error) => error,
    };
    match patience {
        // The system has limits of its own, which may be shorter.
        Some(patience) if transport::silent(&error) && begun.elapsed() >= patience => Err(FetchError::Silent(patience)),
        _ => Err(failed(&error, &words)),
    }
}

/// Fetches by a refspec. Where it leads, if there is such a branch.
fn receive(
    repository: &Repository,
    url: &str,
    spec: &str,
    patience: Option<Duration>,
    words: &Words,
) -> gix::Result<Option<ObjectId>> {
    let from = repository.remote_at(url)?.with_fetch_tags(Tags::None).with_refspecs([spec], Direction::Fetch)?;
    // It fails if that was done before, by whomever: then there is a provider as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, version) = from.sanitized_url_and_version(Direction::Fetch)?;
    let options = transport::options(repository, &url, patience)?;
    let transport = transport::connect(repository, url, version, patience, words)?;
    let mut connection = from.to_connection_with_transport(transport);
    if let Some(options) = options {
        connection.set_transport_options(options);
    }
    // Nobody is there to be asked for a password.
    let connection = connection.with_credentials(|_| Ok(None));
    let prepared = connection.prepare_fetch(Discard, Default::default())?;
    let found = prepared.ref_map().mappings.first().and_then(|mapping| mapping.remote.as_id());
    let Some(found) = found.map(ToOwned::to_owned) else { return Ok(None) };
    // There is nobody who could interrupt it: what waits for the network ends by itself.
    prepared.receive(Discard, &false.into())?;
    Ok(Some(found))
}

/// With all its causes: the last ones say what was in the way.
fn failed(error: &gix::Error, words: &Words) -> FetchError {
    let mut why: Vec<String> = error.iter_errors().map(ToString::to_string).collect();
    why.dedup();
    why.extend(Some(words.text()).filter(|text| !text.is_empty()));
    FetchError::Failed(why.join(": "))
}
