//! Creates terms whose values are read from the metadata branch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use datakit_github::{
    Commit, Context, Diff, Element, ElementId, OversizedFile, Ref, Snapshot, Status, StatusId,
    StatusState,
};
use parking_lot::Mutex;

use crate::Target;
use crate::term::{Input, Outcome, Term};

/// The current content of the metadata branch, as term inputs.
///
/// When a new snapshot is set, only the terms that depend on a changed pull request, branch or
/// status become stale, which means that they have to be evaluated again.
///
/// ```
/// use datakit_ci::{Metadata, Target};
/// use datakit_ci::term::Outcome;
/// # use datakit_github::{Hash, Ref, RefId, Snapshot};
/// let metadata = Metadata::new();
/// let target: Target = "me/app/heads/master".parse()?;
/// let head = metadata.head(&target).map(|commit| commit.hash.to_string());
/// assert_eq!(
///     head.evaluate().outcome,
///     Outcome::failure("Target me/app/heads/master does not exist")
/// );
/// # let Target::Ref(id) = target else { unreachable!() };
/// # let hash = "83a4d0f4dd5f8ab15c73bd53adb3ea0dd1fc5b3e";
/// # let mut snapshot = Snapshot::new();
/// # snapshot.insert(Ref { id, head: Hash::parse(hash)? });
/// metadata.update(snapshot);
/// assert_eq!(head.evaluate().outcome, Outcome::Success(hash.to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Metadata {
    state: Mutex<MetadataState>,
}

#[derive(Default)]
struct MetadataState {
    snapshot: Arc<Snapshot>,
    /// The elements with a file that is too large. Their terms fail.
    oversized: BTreeMap<ElementId, OversizedFile>,
    /// The inputs for the metadata elements (pull requests, branches and so on) that terms depend
    /// on.
    inputs: HashMap<ElementId, Input<Option<Element>>>,
    /// For each commit that terms depend on, whether the commit is the head of a branch or tag.
    heads: HashMap<Commit, Input<bool>>,
    /// The number of inputs at which unused ones are removed.
    inputs_max: usize,
}

impl MetadataState {
    /// Returns the current value of an element's term.
    fn outcome(&self, id: &ElementId) -> Outcome<Option<Element>> {
        match self.oversized.get(id) {
            Some(file) => Outcome::failure(file.to_string()),
            None => Outcome::Success(self.snapshot.get(id)),
        }
    }

    /// Removes unused inputs, but only after the number of inputs has doubled, because checking
    /// every input takes time.
    fn remove_unused(&mut self) {
        if self.inputs.len() > self.inputs_max {
            self.inputs.retain(|_, input| input.is_used());
            self.inputs_max = self.inputs.len().saturating_mul(2);
        }
    }

    /// Updates [`heads`](MetadataState::heads) after a branch or tag has changed.
    fn update_heads(&mut self) {
        self.heads.retain(|_, input| input.is_used());
        if self.heads.is_empty() {
            return;
        }
        let heads: HashSet<Commit> = self.snapshot.refs().values().map(Ref::commit).collect();
        for (commit, input) in &self.heads {
            input.set(Outcome::Success(heads.contains(commit)));
        }
    }
}

impl Metadata {
    /// Creates the inputs for an empty metadata branch.
    #[must_use]
    pub fn new() -> Metadata {
        Metadata::default()
    }

    /// Replaces the snapshot and marks the terms that depend on changed metadata elements as stale.
    /// Returns the difference between the old and the new snapshot.
    pub fn update(&self, snapshot: Snapshot) -> Diff {
        let diff = Diff::between(&snapshot, &self.snapshot());
        self.apply(snapshot, diff)
    }

    /// Same as [`update`](Metadata::update), but compares only the pull requests, refs and statuses
    /// with the given ids. All other metadata elements must be unchanged.
    pub(crate) fn update_changed(&self, snapshot: Snapshot, changed: &BTreeSet<ElementId>) -> Diff {
        let with_contents =
            |id: &ElementId| matches!(id, ElementId::Repo(_) | ElementId::Commit(_));
        if changed.iter().any(with_contents) {
            return self.update(snapshot);
        }
        let old = self.snapshot();
        let (mut updates, mut removals) = (Vec::new(), Vec::new());
        for id in changed {
            match (snapshot.get(id), old.get(id)) {
                (None, Some(_)) => removals.push(id.clone()),
                (Some(new), old) if old.as_ref() != Some(&new) => updates.push(new),
                _ => {}
            }
        }
        self.apply(snapshot, Diff::new(updates, removals))
    }

    /// Replaces the recorded oversized files of all elements for which `is_read` returns `true`
    /// with `oversized`. Returns all recorded oversized files.
    pub(crate) fn set_oversized(
        &self,
        is_read: impl Fn(&ElementId) -> bool,
        oversized: BTreeMap<ElementId, OversizedFile>,
    ) -> BTreeMap<ElementId, OversizedFile> {
        let mut state = self.state.lock();
        let mut changed: BTreeSet<ElementId> = oversized.keys().cloned().collect();
        changed.extend(state.oversized.keys().filter(|id| is_read(id)).cloned());
        state.oversized.retain(|id, _| !is_read(id));
        state.oversized.extend(oversized);
        for id in changed {
            if let Some(input) = state.inputs.get(&id) {
                input.set(state.outcome(&id));
            }
        }
        state.oversized.clone()
    }

    fn apply(&self, snapshot: Snapshot, diff: Diff) -> Diff {
        let mut state = self.state.lock();
        state.remove_unused();
        state.snapshot = Arc::new(snapshot);
        let changed = diff.updates().map(Element::id).chain(diff.removals().cloned());
        for id in changed {
            if let Some(input) = state.inputs.get(&id) {
                input.set(state.outcome(&id));
            }
        }
        let is_ref = |id: &ElementId| matches!(id, ElementId::Ref(_));
        if diff.updates().any(|element| is_ref(&element.id())) || diff.removals().any(is_ref) {
            state.update_heads();
        }
        diff
    }

    /// Returns the current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.lock().snapshot.clone()
    }

    /// Returns a term for a metadata element, such as a pull request or a status. The value of the
    /// term is `None` while the element does not exist.
    #[must_use]
    pub fn element(&self, id: impl Into<ElementId>) -> Term<Option<Element>> {
        let id = id.into();
        let mut state = self.state.lock();
        let initial = state.outcome(&id);
        let input = state.inputs.entry(id);
        input.or_insert_with_key(|id| Input::new(id.to_string(), initial)).term()
    }

    /// Returns a term for the head commit of a target. The term fails while the target does not
    /// exist.
    #[must_use]
    pub fn head(&self, target: &Target) -> Term<Commit> {
        let missing = format!("Target {target} does not exist");
        let outcome = self.element(target.element()).map(move |element| match element {
            Some(Element::Pr(pr)) => Outcome::Success(pr.commit()),
            Some(Element::Ref(reference)) => Outcome::Success(reference.commit()),
            _ => Outcome::failure(missing.clone()),
        });
        outcome.of_state().label(format!("head of {target}"))
    }

    /// Returns a term whose value is `true` if a commit is the head of a branch or tag in its
    /// repository.
    #[must_use]
    pub fn is_head(&self, commit: &Commit) -> Term<bool> {
        let mut state = self.state.lock();
        let MetadataState { snapshot, heads, .. } = &mut *state;
        let input = heads.entry(commit.clone()).or_insert_with(|| {
            let mut refs = snapshot.refs_of(&commit.repo);
            let is_head = refs.any(|reference| reference.head == commit.hash);
            Input::new(format!("{commit} is a head"), Outcome::Success(is_head))
        });
        input.term()
    }

    /// Returns a term for the status of a commit in a context. The value of the term is `None`
    /// while there is no such status.
    #[must_use]
    pub fn status(&self, commit: Commit, context: &Context) -> Term<Option<Status>> {
        let id = StatusId { commit, context: context.clone() };
        self.element(id).map(|element| match element {
            Some(Element::Status(status)) => Some(status),
            _ => None,
        })
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Metadata").field("inputs", &state.inputs.len()).finish_non_exhaustive()
    }
}

/// Functions that create terms for statuses reported by another CI on the head of a target.
impl Metadata {
    /// Returns a term for the status of the head of `target` in a context. The term is pending
    /// while there is no such status.
    #[must_use]
    pub fn ci_status(self: &Arc<Metadata>, target: &Target, context: &Context) -> Term<Status> {
        let (metadata, context) = (self.clone(), context.clone());
        let missing = format!("Waiting for {context} status to appear");
        let outcome = self.head(target).bind(move |commit| metadata.status(commit, &context));
        let outcome = outcome.map(move |status| match status {
            Some(status) => Outcome::Success(status),
            None => Outcome::pending(missing.clone()),
        });
        outcome.of_state()
    }

    /// Returns a term for the URL in the status of the head of `target`. The value of the term is
    /// `None` if the status has no URL.
    #[must_use]
    pub fn ci_target_url(
        self: &Arc<Metadata>,
        target: &Target,
        context: &Context,
    ) -> Term<Option<String>> {
        self.ci_status(target, context).map(|status| status.target_url.map(|url| url.to_string()))
    }

    /// Returns a term for the URL in a successful status of the head of `target`. The term is
    /// pending until the other CI has finished, and fails if the other CI reports a failure or an
    /// error.
    #[must_use]
    pub fn ci_success_target_url(
        self: &Arc<Metadata>,
        target: &Target,
        context: &Context,
    ) -> Term<String> {
        let context = context.clone();
        let outcome = self.ci_status(target, &context).map(move |status| match status.state {
            StatusState::Pending => Outcome::pending(format!("Waiting for {context} to complete")),
            StatusState::Failure => Outcome::failure(format!("{context} failed")),
            StatusState::Error => Outcome::failure(format!("{context} errored")),
            StatusState::Success => match status.target_url {
                Some(url) => Outcome::Success(url.to_string()),
                None => Outcome::failure(format!("{context} succeeded, but has no URL!")),
            },
        });
        outcome.of_state()
    }
}
