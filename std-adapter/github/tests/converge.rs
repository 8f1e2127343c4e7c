//! Checks that the bridges' synchronization converges after random changes on both sides.

#![allow(clippy::unwrap_used)]

use datakit_github::capabilities::Op;
use datakit_github::{
    Capabilities, Commit, Context, Diff, Element, ElementId, Hash, Ref, RefId, Repo, Snapshot,
    Status, StatusId, StatusState,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The contents of a source and of the branch.
#[derive(Debug, Clone, Default)]
struct Sides {
    source: Snapshot,
    branch: Snapshot,
}

impl Sides {
    /// Performs one synchronization round: pushes the changes allowed by `capabilities` from the
    /// branch to the source, and then updates the branch from the source.
    fn round(&mut self, capabilities: &Capabilities) -> usize {
        let mut push = Diff::between(&self.branch, &self.source);
        // A push never creates or removes a repository.
        push.retain(|id, _| !matches!(id, ElementId::Repo(_)) && capabilities.allow(Op::Write, id));
        self.source = push.apply(std::mem::take(&mut self.source)).prune();
        let pull = Diff::between(&self.source, &self.branch);
        self.branch = pull.apply(std::mem::take(&mut self.branch));
        push.updates().len() + push.removals().len() + pull.updates().len() + pull.removals().len()
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Insert(Element),
    Remove(ElementId),
    Round,
}

fn element() -> impl Strategy<Value = Element> {
    let repo = select(vec!["a/b", "a/c"]).prop_map(|repo| repo.parse::<Repo>().unwrap());
    let hash = select(vec!["0", "1", "2"]).prop_map(|digit| Hash::parse(digit.repeat(40)).unwrap());
    let name = select(vec!["heads/x", "heads/x+y", "tags/x"]);
    let context = select(vec!["a", "a/b", "c"]);
    let state = select(StatusState::ALL.to_vec());
    (repo, hash, name, context, state, any::<bool>()).prop_map(
        |(repo, head, name, context, state, is_ref)| {
            if is_ref {
                Element::Ref(Ref { id: RefId { repo, name: name.parse().unwrap() }, head })
            } else {
                let commit = Commit { repo, hash: head };
                let id = StatusId { commit, context: Context::new(context).unwrap() };
                Element::Status(Status { id, state, description: None, target_url: None })
            }
        },
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => element().prop_map(Edit::Insert),
        2 => element().prop_map(|element| Edit::Remove(element.id())),
        1 => Just(Edit::Round),
    ]
}

fn apply(edit: &Edit, to: &mut Snapshot) {
    match edit {
        Edit::Insert(element) => to.insert(element.clone()),
        Edit::Remove(id) => to.remove([id]),
        Edit::Round => {}
    }
}

proptest! {
    #[test]
    fn both_sides_converge(
        edits in vec((edit(), any::<bool>()), 0..40),
        capabilities in select(vec!["*:r", "*:rw", "*:r,ref:rw", "*:r,status[a]:rw", "*:x"]),
    ) {
        let capabilities: Capabilities = capabilities.parse().unwrap();
        let mut sides = Sides::default();
        for (edit, on_source) in &edits {
            match (edit, on_source) {
                (Edit::Round, _) => drop(sides.round(&capabilities)),
                (edit, true) => apply(edit, &mut sides.source),
                (edit, false) => apply(edit, &mut sides.branch),
            }
        }
        sides.round(&capabilities);
        prop_assert_eq!(&sides.branch, &sides.source);
        // After both sides have converged, another round changes nothing.
        let before = sides.clone();
        prop_assert_eq!(sides.round(&capabilities), 0);
        prop_assert_eq!(sides.branch, before.branch);
    }

    #[test]
    fn a_source_that_is_only_read_never_changes(
        source in vec(element(), 0..10),
        branch in vec(element(), 0..10),
    ) {
        let source: Snapshot = source.into_iter().collect();
        let mut sides = Sides { source: source.clone(), branch: branch.into_iter().collect() };
        sides.round(&"*:r".parse().unwrap());
        prop_assert_eq!(sides.source, source.prune());
    }

    #[test]
    fn a_source_that_the_branch_owns_becomes_the_branch(
        source in vec(element(), 0..10),
        branch in vec(element(), 0..10),
    ) {
        let branch: Snapshot = branch.into_iter().collect();
        let mut sides =
            Sides { source: source.into_iter().collect(), branch: branch.clone() };
        sides.round(&"*:x".parse().unwrap());
        let wanted = branch.prune();
        prop_assert_eq!(sides.source.refs(), wanted.refs());
        prop_assert_eq!(sides.source.statuses(), wanted.statuses());
    }
}
