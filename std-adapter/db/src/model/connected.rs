//! Finds the objects that must be written to the store again before a branch can refer to a commit.
//! The `git rev-list --objects COMMIT --not --all` command lists the same objects.
//!
//! Git keeps the objects that are reachable from a ref, but may prune any other object at any time.
//! For example, Git may prune an object that belonged to a removed branch or was written by a
//! merge, or an old object that a transaction reuses. The search therefore skips objects that are
//! reachable from a ref, and looks up all other objects in the store rather than in a cache.
//! Objects that are written again appear to be new, so `git gc` does not prune them.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::commit::Commit;

use crate::model::object::{Object, ObjectKind};

use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree_entry::EntryMode;
use crate::model::tree_entry::order_of;
use crate::model::tree_text::{RawEntry, raw_entries};
use crate::{Error, Fault, Id, Result};

/// The maximum number of objects to rewrite directly. If there are more, objects that were merely
/// moved within the tree are excluded first.
const RENAME_SEARCH_MIN: usize = 64;

/// Objects in memory, keyed by hash.
pub(crate) type AtHand<'b> = HashMap<Id, &'b Object>;

/// Returns the objects that must be rewritten before a branch is moved from `head` to a commit with
/// this `tree` and these `parents`. Each object comes after the objects that it refers to. The
/// result does not include the objects in `new`, which the caller must write afterwards. `kept`
/// contains additional objects that are still in memory and need not be read from the store.
///
/// # Errors
/// Returns [`Error::NotFound`] if a parent does not exist. Returns [`Error::Broken`] if another
/// object is missing or cannot be read.
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

/// Like [`gather`], but for a commit that is already in the store.
///
/// # Errors
/// Returns [`Error::NotFound`] if the commit does not exist. Returns [`Error::Broken`] if another
/// object is missing or cannot be read.
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
    /// The objects found so far, which are not reachable from any ref. Each object comes before the
    /// objects that it refers to.
    found: Vec<FoundObject>,
}

struct FoundObject {
    id: Id,
    kind: ObjectKind,
    path: Vec<u8>,
}

impl Search<'_> {
    fn check_named(&self, id: Id) -> Result<()> {
        if self.objects.store().exists(id)? { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Finds the ancestors of `tips` that are not reachable from any ref, and the objects in their
    /// trees.
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
            self.found.push(FoundObject { id, kind: ObjectKind::Commit, path: Vec::new() });
            let mut before = Vec::new();
            for parent in commit.parents.iter().filter(|_| !shallow.contains(&id)) {
                before.push(self.objects.commit(*parent)?.tree);
            }
            self.tree(commit.tree, before)?;
        }
        Ok(())
    }

    /// Finds the objects in `tree` that are not in any of the trees in `others`. All objects in
    /// those other trees must be in the store.
    fn tree(&mut self, tree: Id, others: Vec<Id>) -> Result<()> {
        let mut left = Vec::new();
        self.reach(Vec::new(), tree, others, &mut left);
        // Use a loop instead of recursion, because directories may be nested to any depth.
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
            self.found.push(FoundObject { id: tree, kind: ObjectKind::Tree, path: path.clone() });
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
                // The entries of a tree are sorted, so a single pass is enough. If a damaged tree
                // is not sorted, more entries than necessary are looked up in the store.
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
                        self.found.push(FoundObject { id, kind: ObjectKind::Blob, path });
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the encoded content of a tree.
    fn data(&self, tree: Id) -> Result<Arc<[u8]>> {
        match self.new.get(&tree).or_else(|| self.kept.get(&tree)) {
            Some(object) => Ok(object.data.clone()),
            None => self.objects.tree_data(tree),
        }
    }

    /// Removes objects that also occur in `trees` at other paths, for example because a large
    /// directory was renamed.
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

    /// Returns the objects found so far, reading them from the store if necessary.
    fn batch(&self) -> Result<NewObjects> {
        let object = |FoundObject { id, kind, path }: &FoundObject| {
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
        // Reverse the order so that each object comes after the objects that it refers to.
        self.found.iter().rev().map(object).collect()
    }
}

/// The state of a commit during the search.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Whether the commit is reachable from a ref.
    reached: bool,
    done: bool,
}

/// Returns the ancestors of `tips` that are not reachable from `roots`, newest first. If commit
/// times are wrong, the result may include some reachable commits.
fn unreached(
    objects: &ObjectCache,
    shallow: &HashSet<Id>,
    tips: &[Id],
    roots: &[Id],
) -> Result<Vec<(Id, Arc<Commit>)>> {
    let mut seen: HashMap<Id, Seen> = HashMap::new();
    let mut queue = BinaryHeap::new();
    for root in roots {
        // Ignore the error, because it means that the root is a tag or a damaged ref. Objects that
        // are reachable only from such a root are looked up in the store instead of being skipped.
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
