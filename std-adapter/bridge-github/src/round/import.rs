//! Reads repositories from GitHub. Pull requests, refs and statuses that cannot be read keep their
//! old values.

use std::collections::BTreeSet;

use datakit_github::{
    Commit, Element, ElementId, Pr, PrId, PrState, Ref, RefId, Repo, Snapshot, Status,
};

use super::write_back::Mirror;
use crate::events::Mark;
use crate::github::{Api, PagedList, Result};

/// The result of reading a repository.
#[derive(Debug)]
pub(crate) struct Import {
    /// The content of the repository.
    pub(crate) part: Snapshot,
    /// `true` if everything could be read.
    pub(crate) complete: bool,
    /// `true` if the pull requests, the refs or both could be read.
    pub(crate) found_any: bool,
}

/// Reads a whole repository. `old` is the repository's last known content on GitHub, or its content
/// in the branch if the repository has not been read yet.
pub(crate) async fn import(
    api: &impl Api,
    mirror: &Mirror<'_>,
    repo: &Repo,
    old: &Snapshot,
) -> Import {
    let mut part = Snapshot::new();
    part.insert(repo.clone());
    let reads_prs = mirror.reads(&PrId { repo: repo.clone(), number: 0 }.into());
    let prs = if reads_prs { open_prs(api, repo, old).await.map(Some) } else { Ok(None) };
    let mut has_prs = true;
    for pr in or_old(prs, || old.prs_of(repo).cloned().collect(), &mut has_prs) {
        part.insert(pr);
    }
    let reads_refs = mirror.reads(&any_ref(repo));
    let refs = if reads_refs { refs(api, repo, old).await.map(Some) } else { Ok(None) };
    let mut has_refs = true;
    for reference in or_old(refs, || old.refs_of(repo).cloned().collect(), &mut has_refs) {
        part.insert(reference);
    }
    let heads: Vec<Commit> = part.commits().iter().cloned().collect();
    let mut complete = has_prs && has_refs;
    for commit in heads {
        complete &= read_statuses(api, mirror, &commit, old, &mut part).await;
    }
    Import { part, complete, found_any: has_prs || has_refs }
}

/// Returns the id of an arbitrary ref. The same capabilities apply to all refs in a repository.
fn any_ref(repo: &Repo) -> ElementId {
    let name = datakit_github::RefName::new(datakit_github::RefKind::Heads, "x");
    match name {
        Ok(name) => RefId { repo: repo.clone(), name }.into(),
        Err(_) => repo.clone().into(),
    }
}

/// Returns what was read, or the old content if nothing was read.
fn or_old<T>(
    read: Result<Option<Vec<T>>>,
    old: impl FnOnce() -> Vec<T>,
    complete: &mut bool,
) -> Vec<T> {
    match read {
        Ok(Some(new)) => new,
        Ok(None) => old(),
        Err(error) => {
            tracing::warn!(%error, "cannot read from GitHub, keeping the previous values");
            *complete = false;
            old()
        }
    }
}

/// Reads the open pull requests. If a pull request is closed while a multi-page list is being read,
/// another pull request may move from an unread page to one that was already read. Therefore, if
/// the list has multiple pages, known pull requests that are missing from it are read individually.
async fn open_prs(api: &impl Api, repo: &Repo, old: &Snapshot) -> Result<Vec<Pr>> {
    let PagedList { mut items, pages } = api.open_prs(repo).await?;
    if pages > 1 {
        let found: BTreeSet<PrId> = items.iter().map(|pr| pr.id.clone()).collect();
        for known in old.prs_of(repo).filter(|known| !found.contains(&known.id)) {
            items.extend(api.pr(&known.id).await?.filter(|pr| pr.state == PrState::Open));
        }
    }
    Ok(items)
}

/// Reads the branches and tags. As in [`open_prs`], missing refs are read individually if the list
/// has multiple pages.
async fn refs(api: &impl Api, repo: &Repo, old: &Snapshot) -> Result<Vec<Ref>> {
    let PagedList { mut items, pages } = api.refs(repo).await?;
    if pages > 1 {
        let found: BTreeSet<RefId> = items.iter().map(|reference| reference.id.clone()).collect();
        for known in old.refs_of(repo).filter(|known| !found.contains(&known.id)) {
            items.extend(api.reference(&known.id).await?);
        }
    }
    Ok(items)
}

/// Reads the statuses of a commit into `new`. On failure, keeps the old statuses and returns
/// `false`.
async fn read_statuses(
    api: &impl Api,
    mirror: &Mirror<'_>,
    commit: &Commit,
    old: &Snapshot,
    new: &mut Snapshot,
) -> bool {
    let readable = mirror.reads(&commit.clone().into());
    let statuses = if readable { api.statuses(commit).await.map(Some) } else { Ok(None) };
    let old: Vec<Status> = old.statuses_of(commit).cloned().collect();
    let mut complete = true;
    for status in or_old(statuses, || old, &mut complete) {
        if !readable || mirror.reads(&status.id.clone().into()) {
            new.insert(status);
        }
    }
    complete
}

/// Reads the pull request, ref or commit that the mark identifies, and stores it in `github`.
/// Returns `false` if another read is needed later.
pub(crate) async fn reread(
    api: &impl Api,
    mirror: &Mirror<'_>,
    mark: &Mark,
    github: &mut Snapshot,
    datakit: &Snapshot,
) -> bool {
    match mark {
        // Whole repositories are read by `import`.
        Mark::Repo(_) => true,
        Mark::Statuses(commit) => {
            let old = github.clone();
            let statuses = old.statuses_of(commit).map(|status| status.id.clone().into());
            let statuses: Vec<ElementId> = statuses.collect();
            github.remove(&statuses);
            read_statuses(api, mirror, commit, &old, github).await
        }
        Mark::Pr(pr) => {
            let id = pr.clone().into();
            if !mirror.reads(&id) {
                return true;
            }
            let found = api.pr(pr).await.map(|pr| pr.filter(|pr| pr.state == PrState::Open));
            let found = found.map(|pr| pr.map(|pr| (pr.commit(), pr.into())));
            replace(api, mirror, &id, found, github, datakit).await
        }
        Mark::Ref(reference) => {
            let id = reference.clone().into();
            if !mirror.reads(&id) {
                return true;
            }
            let found = api.reference(reference).await;
            let found = found.map(|found| found.map(|found| (found.commit(), found.into())));
            replace(api, mirror, &id, found, github, datakit).await
        }
    }
}

/// Replaces a pull request or ref with the version from GitHub. Also reads the statuses of a new
/// head.
async fn replace(
    api: &impl Api,
    mirror: &Mirror<'_>,
    id: &ElementId,
    found: Result<Option<(Commit, Element)>>,
    github: &mut Snapshot,
    datakit: &Snapshot,
) -> bool {
    match found {
        Ok(Some((head, element))) => {
            let is_new = !github.commits().contains(&head);
            github.insert(element);
            !is_new || read_statuses(api, mirror, &head, datakit, github).await
        }
        Ok(None) => {
            github.remove([id]);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read from GitHub, keeping the previous values");
            false
        }
    }
}
