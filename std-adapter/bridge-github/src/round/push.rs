//! Sends changes made in the branch to GitHub.

use std::collections::BTreeSet;

use datakit_github::capabilities::Op;
use datakit_github::{
    Capabilities, Diff, Element, ElementId, Hash, Pr, PrState, Ref, RefId, Repo, Snapshot, Status,
};

use crate::github::{Api, ApiError, PrChange, Result};

/// A change to make on GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Push {
    /// Change a pull request.
    Pr(PrChange),
    /// Create a ref, or move the ref if it still points to the given commit on GitHub.
    SetRef(Ref, Option<Hash>),
    /// Delete a ref if it still points to the given commit on GitHub.
    DeleteRef(RefId, Hash),
    /// Add a status.
    Status(Status),
}

impl Push {
    /// Returns the id of the pull request, status or ref to change.
    pub(crate) fn id(&self) -> ElementId {
        match self {
            Push::Pr(change) => change.id.clone().into(),
            Push::SetRef(reference, _) => reference.id.clone().into(),
            Push::DeleteRef(id, _) => id.clone().into(),
            Push::Status(status) => status.id.clone().into(),
        }
    }
}

/// The result of sending a change to GitHub.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The call succeeded. Contains the resulting state on GitHub, or `None` if the pull request,
    /// status or ref does not exist there. The state differs from the requested one if another user
    /// has moved the ref.
    Now(Option<Element>),
    /// GitHub rejected the change, so it must be reverted in the branch.
    Refused(ApiError),
    /// The call failed, but GitHub may have made the change.
    Unknown(ApiError),
}

/// Returns the branch changes that must be sent to GitHub. Deletions come first.
///
/// `fresh` contains the repositories that have just been read for the first time. For these
/// repositories, GitHub takes precedence unless the capabilities give precedence to the branch.
pub(crate) fn pushes(
    datakit: &Snapshot,
    synced: &Snapshot,
    github: &Snapshot,
    fresh: &BTreeSet<Repo>,
    capabilities: &Capabilities,
) -> Vec<Push> {
    let mut base = synced.clone();
    for repo in fresh {
        base.remove([&ElementId::Repo(repo.clone())]);
        base.extend(github.of_repo(repo));
    }
    let mut diff = Diff::between(datakit, &base);
    diff.retain(|id, _| {
        let op = if fresh.contains(id.repo()) { Op::Exclusive } else { Op::Write };
        let is_monitored = |snapshot: &Snapshot| snapshot.repos().contains(id.repo());
        let has_setter = matches!(id, ElementId::Pr(_) | ElementId::Ref(_) | ElementId::Status(_));
        if !has_setter || !is_monitored(datakit) || !is_monitored(github) {
            return false;
        }
        let allowed = capabilities.allow(op, id);
        if !allowed && op == Op::Write {
            tracing::info!(%id, "a change in the branch is not allowed by the capabilities");
        }
        allowed
    });
    // If a repository is read for the first time and the branch contains none of its refs, the two
    // have never been synchronized, so users cannot have removed refs from the branch.
    let was_read = |repo: &Repo| !fresh.contains(repo) || datakit.refs_of(repo).next().is_some();
    let removals = diff.removals().filter_map(|id| match id {
        ElementId::Ref(id) if was_read(&id.repo) => {
            github.refs().get(id).map(|found| Push::DeleteRef(id.clone(), found.head))
        }
        // GitHub does not support deleting pull requests or statuses.
        _ => None,
    });
    let updates = diff.updates().filter_map(|element| match element {
        Element::Pr(pr) => pr_change(pr, base.prs().get(&pr.id), github.prs().get(&pr.id)),
        Element::Ref(reference) => {
            let found = github.refs().get(&reference.id).map(|found| found.head);
            let push = Push::SetRef(reference.clone(), found);
            (found != Some(reference.head)).then_some(push)
        }
        Element::Status(status) => {
            let status = without_empty_texts(status.clone());
            let is_new = github.statuses().get(&status.id) != Some(&status);
            is_new.then_some(Push::Status(status))
        }
        _ => None,
    });
    removals.chain(updates).collect()
}

/// Replaces an empty string with `None`, because GitHub does not distinguish an empty string from a
/// missing one.
fn without_empty_texts(mut status: Status) -> Status {
    status.description = status.description.filter(|text| !text.is_empty());
    status.target_url = status.target_url.filter(|text| !text.is_empty());
    status
}

/// Returns the fields that changed in the branch and have different values on GitHub.
fn pr_change(wanted: &Pr, base: Option<&Pr>, github: Option<&Pr>) -> Option<Push> {
    fn changed<T: PartialEq + Clone>(
        field: impl Fn(&Pr) -> &T,
        wanted: &Pr,
        others: [Option<&Pr>; 2],
    ) -> Option<T> {
        let wanted = field(wanted);
        let differs = |other: Option<&Pr>| other.is_none_or(|other| field(other) != wanted);
        others.into_iter().all(differs).then(|| wanted.clone())
    }
    let others = [base, github];
    let state = changed(|pr| &pr.state, wanted, others);
    // A pull request that is not in `github` is not open, so it does not need to be closed.
    let state = state.filter(|state| github.is_some() || *state == PrState::Open);
    let change = PrChange {
        id: wanted.id.clone(),
        title: changed(|pr| &pr.title, wanted, others),
        state,
        base: changed(|pr| &pr.base, wanted, others),
    };
    let is_empty = change.title.is_none() && change.state.is_none() && change.base.is_none();
    (!is_empty).then_some(Push::Pr(change))
}

/// Makes a change on GitHub.
///
/// GitHub's API moves refs unconditionally. Therefore, the ref is read first and changed only if no
/// other user has changed it.
pub(crate) async fn apply(api: &impl Api, push: &Push) -> Outcome {
    let result = match push {
        Push::Pr(change) => set_pr(api, change).await,
        Push::SetRef(reference, expected) => set_ref(api, reference, *expected).await,
        Push::DeleteRef(id, expected) => delete_ref(api, id, *expected).await,
        Push::Status(status) => api.set_status(status).await.map(|()| Some(status.clone().into())),
    };
    match result {
        Ok(element) => Outcome::Now(element),
        Err(error @ ApiError::Refused { .. }) => Outcome::Refused(error),
        Err(error) => Outcome::Unknown(error),
    }
}

async fn set_pr(api: &impl Api, change: &PrChange) -> Result<Option<Element>> {
    match api.set_pr(change).await {
        Ok(pr) => Ok(Some(pr.into())),
        // The repository may be temporarily invisible, or the pull request may not exist.
        Err(ApiError::NotFound { .. }) => Ok(api.pr(&change.id).await?.map(Element::Pr)),
        Err(error) => Err(error),
    }
}

async fn set_ref(api: &impl Api, wanted: &Ref, expected: Option<Hash>) -> Result<Option<Element>> {
    let found = api.reference(&wanted.id).await?;
    let head = found.as_ref().map(|found| found.head);
    if head == Some(wanted.head) || head != expected {
        return Ok(found.map(Element::Ref));
    }
    match head {
        Some(_) => api.move_ref(&wanted.id, wanted.head).await?,
        None => api.create_ref(wanted).await?,
    }
    Ok(Some(wanted.clone().into()))
}

async fn delete_ref(api: &impl Api, id: &RefId, expected: Hash) -> Result<Option<Element>> {
    let found = api.reference(id).await?;
    if found.as_ref().map(|found| found.head) != Some(expected) {
        return Ok(found.map(Element::Ref));
    }
    api.delete_ref(id).await?;
    Ok(None)
}
