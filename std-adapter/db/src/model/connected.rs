//! Finds the objects that must be written again before a branch may refer to a commit. The command
//! `git rev-list --objects COMMIT --not --all` lists the same objects.
//!
//! Git keeps the objects that are reachable from a ref. Git may prune any other object at any time.
//! Examples are objects of a removed branch, objects written by a merge, and old objects that a
//! transaction reuses. The search therefore skips the objects that refs reach, and looks up all
//! others in the store rather than in a cache. Writing the found objects again makes `git gc` treat
//! them as new.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::object::{Commit, EntryMode, Object, ObjectKind};
use crate::model::object_cache::ObjectCache;
use crate::model::tree::NewObjects;
use crate::model::tree_text::{RawEntry, order_of, raw_entries};
use crate::{Error, Fault, Id, Result};

/// If no more than this many objects are found, all of them are written again, even if a rename
/// merely moved them within the tree.
const RENAME_SEARCH_MIN: usize = 64;

/// Objects in memory, by hash.
pub(crate) type AtHand<'b> = HashMap<Id, &'b Object>;

/// Returns the objects that no ref reaches, dependencies first. The caller must write these objects
/// before moving a branch from `head` to a commit of `tree` with these `parents`. The result
/// excludes the objects in `new`, which the caller writes afterwards. `kept` contains other objects
/// that are still in memory.
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
    /// Objects that no ref reaches, dependencies last.
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

    /// Finds the ancestors of `tips` that no ref reaches, along with the objects of their trees.
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

    /// Finds the objects of `tree` that no tree in `others` contains. The store must contain all
    /// objects of the trees in `others`.
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
                // Trees are sorted, so one pass is enough. If a tree is damaged and not sorted,
                // more of its entries than necessary are looked up in the store.
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

    /// Returns the encoded tree.
    fn data(&self, tree: Id) -> Result<Arc<[u8]>> {
        match self.new.get(&tree).or_else(|| self.kept.get(&tree)) {
            Some(object) => Ok(object.data.clone()),
            None => self.objects.tree_data(tree),
        }
    }

    /// Leaves out objects that `trees` contain at other paths, for example because a large
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

    /// Reads the found objects from the store.
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
        // Reverse the order, so that dependencies come first.
        self.found.iter().rev().map(object).collect()
    }
}

/// The state of a commit in the walk.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Whether a ref reaches the commit.
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
        // An error means that the root is a tag or a damaged ref. The objects reachable from such a
        // root are looked up in the store instead.
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
