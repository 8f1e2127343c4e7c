//! That all a commit needs is in the store, and stays there: as
//! `git rev-list --objects COMMIT --not --all` finds it out.
//!
//! What a branch leads to is there and stays. Anything else may have been pruned since it was read,
//! or may be pruned before a branch leads to it: objects of a transaction that were in the store
//! already, those that a merge has written, a branch that was removed. So a commit is compared with
//! what branches lead to, and what is left is looked up in the store, not in a cache, and written
//! again, which makes it new for `git gc`.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::object::{Commit, EntryMode, Object, ObjectKind};
use crate::model::object_cache::ObjectCache;
use crate::model::tree::NewObjects;
use crate::model::tree_text::{RawEntry, order_of, raw_entries};
use crate::{Error, Fault, Id, Result};

/// So many objects are read and written again rather than looked for in the rest of the tree, where
/// a rename may have them from.
const RENAME_SEARCH_MIN: usize = 64;

/// What is about to be written, or was written and is still at hand.
pub(crate) type AtHand<'b> = HashMap<Id, &'b Object>;

/// What has to be written before a commit of `tree` with these parents, which is to come to a
/// branch at `head`: objects that no branch leads to, those that are needed by others first. `new`
/// are objects that will be written behind them.
///
/// # Errors
/// [`Error::NotFound`] for a parent that is not there, [`Error::Broken`] for anything else that is
/// not.
pub(crate) fn gather(
    objects: &ObjectCache,
    head: Option<Id>,
    parents: &[Id],
    tree: Id,
    new: &[(Id, Object)],
    kept: &[(Id, Object)],
) -> Result<NewObjects> {
    let new: AtHand<'_> = new.iter().map(|(id, object)| (*id, object)).collect();
    let kept: AtHand<'_> = kept.iter().map(|(id, object)| (*id, object)).collect();
    let mut search = Search { objects, new, kept, seen: HashSet::new(), found: Vec::new() };
    for parent in parents {
        search.check_named(*parent)?;
    }
    if !objects.store().is_shared() {
        return Ok(NewObjects::new());
    }
    search.commits(head, parents)?;
    let trees = parents
        .iter()
        .map(|parent| Ok(objects.commit(*parent)?.tree))
        .collect::<Result<Vec<_>>>()?;
    search.tree(tree, trees.clone())?;
    search.leave_out(&trees)?;
    search.batch()
}

/// The same for a commit that is in the store.
///
/// # Errors
/// Those of [`gather`]; [`Error::NotFound`] for the commit itself.
pub(crate) fn gather_commit(
    objects: &ObjectCache,
    head: Option<Id>,
    commit: Id,
) -> Result<NewObjects> {
    let (new, kept) = (AtHand::new(), AtHand::new());
    let mut search = Search { objects, new, kept, seen: HashSet::new(), found: Vec::new() };
    search.check_named(commit)?;
    if !objects.store().is_shared() {
        return Ok(NewObjects::new());
    }
    search.commits(head, &[commit])?;
    search.batch()
}

struct Search<'a> {
    objects: &'a ObjectCache,
    new: AtHand<'a>,
    kept: AtHand<'a>,
    seen: HashSet<Id>,
    /// What no branch leads to, those that need others first.
    found: Vec<Found>,
}

struct Found {
    id: Id,
    kind: ObjectKind,
    path: Vec<u8>,
}

impl Search<'_> {
    fn check_named(&self, id: Id) -> Result<()> {
        if self.objects.store().exists(id)? { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Finds the commits that lead to these and to which no branch leads, with their trees.
    fn commits(&mut self, head: Option<Id>, tips: &[Id]) -> Result<()> {
        if tips.iter().all(|tip| Some(*tip) == head) {
            return Ok(());
        }
        let roots = self.objects.store().roots()?;
        let known: HashSet<Id> = roots.iter().copied().collect();
        let tips: Vec<Id> = tips.iter().copied().filter(|tip| !known.contains(tip)).collect();
        if tips.is_empty() {
            return Ok(());
        }
        let shallow = self.objects.store().shallow_commits()?;
        let commits = unreached(self.objects, &shallow, &tips, &roots)?;
        for (id, commit) in commits {
            self.found.push(Found { id, kind: ObjectKind::Commit, path: Vec::new() });
            let mut before = Vec::new();
            for parent in commit.parents.iter().filter(|_| !shallow.contains(&id)) {
                before.push(self.objects.commit(*parent)?.tree);
            }
            self.tree(commit.tree, before)?;
        }
        Ok(())
    }

    /// Finds what is in a tree and in none of `others`, which are whole.
    fn tree(&mut self, tree: Id, others: Vec<Id>) -> Result<()> {
        let mut left = Vec::new();
        self.reach(Vec::new(), tree, others, &mut left);
        // No recursion: a repository may have any number of directories in each other.
        while let Some((path, tree, others)) = left.pop() {
            self.entries(&path, tree, &others, &mut left).map_err(|error| error.at(&path))?;
        }
        Ok(())
    }

    fn reach(
        &mut self,
        path: Vec<u8>,
        tree: Id,
        others: Vec<Id>,
        left: &mut Vec<(Vec<u8>, Id, Vec<Id>)>,
    ) {
        if tree == Id::EMPTY_TREE || others.contains(&tree) || !self.seen.insert(tree) {
            return;
        }
        if !self.new.contains_key(&tree) {
            self.found.push(Found { id: tree, kind: ObjectKind::Tree, path: path.clone() });
        }
        left.push((path, tree, others));
    }

    fn entries(
        &mut self,
        path: &[u8],
        tree: Id,
        others: &[Id],
        left: &mut Vec<(Vec<u8>, Id, Vec<Id>)>,
    ) -> Result<()> {
        let data = self.data(tree)?;
        let others =
            others.iter().map(|other| self.objects.tree(*other)).collect::<Result<Vec<_>>>()?;
        let mut places = vec![0usize; others.len()];
        for entry in raw_entries(&data) {
            let RawEntry { name, mode, id } = entry?;
            let mut below = Vec::new();
            let mut same = false;
            for (other, place) in others.iter().zip(&mut places) {
                // Both are in one order, so that each is gone through once; in a tree that is not,
                // entries are only looked up in the store.
                let is_before = |at: usize| {
                    other.get(at).is_some_and(|other| {
                        order_of(
                            (&other.name, other.mode == EntryMode::Dir),
                            (name, mode == EntryMode::Dir),
                        )
                        .is_lt()
                    })
                };
                while is_before(*place) {
                    *place += 1;
                }
                if let Some(there) = other.get(*place).filter(|there| *there.name == *name) {
                    same |= there.id == id;
                    below.extend(Some(there.id).filter(|_| there.mode == EntryMode::Dir));
                }
            }
            if same {
                continue;
            }
            let path = crate::model::tree::join(path, name);
            match mode {
                EntryMode::Dir => self.reach(path, id, below, left),
                EntryMode::Submodule => {}
                EntryMode::Normal | EntryMode::Exec | EntryMode::Link => {
                    if !self.new.contains_key(&id) && self.seen.insert(id) {
                        self.found.push(Found { id, kind: ObjectKind::Blob, path });
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes of a tree.
    fn data(&self, tree: Id) -> Result<Arc<[u8]>> {
        match self.new.get(&tree).or_else(|| self.kept.get(&tree)) {
            Some(object) => Ok(object.data.clone()),
            None => self.objects.tree_data(tree),
        }
    }

    /// Leaves out what is somewhere else in these trees, as after a rename of a large directory.
    fn leave_out(&mut self, trees: &[Id]) -> Result<()> {
        if self.found.len() <= RENAME_SEARCH_MIN {
            return Ok(());
        }
        let (mut there, mut left) = (HashSet::new(), trees.to_vec());
        while let Some(tree) = left.pop() {
            if there.insert(tree) {
                for entry in self.objects.tree(tree)?.iter() {
                    match entry.mode {
                        EntryMode::Dir => left.push(entry.id),
                        _ => drop(there.insert(entry.id)),
                    }
                }
            }
        }
        self.found.retain(|found| !there.contains(&found.id));
        Ok(())
    }

    /// The objects themselves, as the store has them.
    fn batch(&self) -> Result<NewObjects> {
        let object = |Found { id, kind, path }: &Found| {
            let broken = |fault| Error::Broken { id: *id, fault, path: path.clone() };
            if let Some(object) = self.kept.get(id) {
                return Ok((*id, (*object).clone()));
            }
            let store = self.objects.store();
            match store.exists(*id)?.then(|| store.read(*id)) {
                Some(Ok(Some(object))) if object.kind == *kind => Ok((*id, object)),
                Some(Ok(Some(_))) => Err(broken(Fault::OtherKind(*kind))),
                Some(Err(error)) => Err(broken(Fault::Unreadable(Box::new(error)))),
                Some(Ok(None)) | None => Err(broken(Fault::Missing)),
            }
        };
        // What is needed by others comes first.
        self.found.iter().rev().map(object).collect()
    }
}

/// A commit on the way.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// A root leads to it.
    reached: bool,
    done: bool,
}

/// The commits that lead to `tips` and not to `roots`, newest first. With clocks that are wrong,
/// some of the latter as well.
fn unreached(
    objects: &ObjectCache,
    shallow: &HashSet<Id>,
    tips: &[Id],
    roots: &[Id],
) -> Result<Vec<(Id, Arc<Commit>)>> {
    let mut seen: HashMap<Id, Seen> = HashMap::new();
    let mut queue = BinaryHeap::new();
    for root in roots {
        // A tag, or a branch that is broken: what it leads to is looked up.
        if let Ok(commit) = objects.commit(*root) {
            seen.insert(*root, Seen { reached: true, done: false });
            queue.push((commit.time, *root));
        }
    }
    let mut waiting = 0usize;
    for tip in tips {
        if !seen.contains_key(tip) {
            seen.insert(*tip, Seen::default());
            queue.push((objects.commit(*tip)?.time, *tip));
            waiting += 1;
        }
    }
    let mut found = Vec::new();
    while waiting > 0 {
        let Some((_, id)) = queue.pop() else { break };
        let Some(state) = seen.get_mut(&id) else { continue };
        state.done = true;
        let reached = state.reached;
        let commit = match objects.commit(id) {
            Ok(commit) => commit,
            Err(_) if reached => continue,
            Err(error) => return Err(error),
        };
        if !reached {
            waiting -= 1;
            found.push((id, commit.clone()));
        }
        for parent in commit.parents.iter().filter(|_| !shallow.contains(&id)) {
            if let Some(state) = seen.get_mut(parent) {
                waiting -= usize::from(reached && !state.reached && !state.done);
                state.reached |= reached;
                continue;
            }
            match objects.commit(*parent) {
                Ok(known) => queue.push((known.time, *parent)),
                Err(_) if reached => continue,
                Err(error) => return Err(error),
            }
            seen.insert(*parent, Seen { reached, done: false });
            waiting += usize::from(!reached);
        }
    }
    found.retain(|(id, _)| seen.get(id).is_some_and(|state| !state.reached));
    Ok(found)
}
