//! Changes of names: create, remove, rename, link. Each runs under one lock and is over before it
//! returns.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Create, Error, Name, Result};

use super::node::{Entries, Node};
use super::{Dentry, Inode, Place, Scratch};
use crate::budget::Budget;

impl Scratch {
    pub(super) fn create_now(
        &self,
        dir: &Inode,
        name: Name<'_>,
        create: &Create<'_>,
    ) -> Result<Inode> {
        let _changes = self.0.changes.lock();
        if living(dir, |entries| entries.get(name.as_bytes()).is_some())? {
            return Err(Error::Exists);
        }
        let made =
            Inode::new(Node::new(create, &self.0.space)?, name.as_bytes(), &self.0.space, false)?;
        made.put(dir);
        Ok(made)
    }

    pub(super) fn link_now(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        if inode.node().is_dir() {
            return Err(Error::NotPermitted);
        }
        let _changes = self.0.changes.lock();
        // A name for what has none would bring back what was removed.
        if !inode.node().has_name() {
            return Err(Error::NotFound);
        }
        if living(dir, |entries| entries.get(name.as_bytes()).is_some())? {
            return Err(Error::Exists);
        }
        Inode::new(inode.node().clone(), name.as_bytes(), &self.0.space, false)?.put(dir);
        Ok(())
    }

    pub(super) fn remove_now(&self, inode: &Inode) -> Result<()> {
        let _changes = self.0.changes.lock();
        let parent = self.parent_of(inode)?;
        inode.bury()?;
        inode.take(&parent)?;
        inode.0.place.lock().parent = Weak::new();
        Ok(())
    }

    pub(super) fn rename_now(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        let _changes = self.0.changes.lock();
        let from = self.parent_of(inode)?;
        let replaced = living(dir, |entries| entries.get(name.as_bytes()).cloned())?;
        if inode.node().is_dir() && inode.is_above(dir) {
            return Err(Error::Invalid.with_message("a directory cannot be moved below itself"));
        }
        // Two names of one file: both stay (`rename(2)`).
        if replaced.as_ref().is_some_and(|replaced| Arc::ptr_eq(replaced.node(), inode.node())) {
            return Ok(());
        }
        inode.charge(name)?;
        let done = inode.move_to(&from, dir, name, replaced);
        inode.charge_name();
        done
    }

    /// The directory that has `inode`, which must be in the tree.
    fn parent_of(&self, inode: &Inode) -> Result<Inode> {
        match inode.parent() {
            Some(parent) => Ok(parent),
            None if Arc::ptr_eq(&inode.0, &self.0.root.0) => Err(Error::Busy),
            None => Err(Error::NotFound),
        }
    }
}

impl Inode {
    /// Gives it another name, in place of what is `replaced`.
    fn move_to(
        &self,
        from: &Inode,
        dir: &Inode,
        name: Name<'_>,
        replaced: Option<Inode>,
    ) -> Result<()> {
        if let Some(replaced) = replaced {
            match (self.node().is_dir(), replaced.node().is_dir()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => replaced.bury()?,
            }
            replaced.take(dir)?;
            replaced.0.place.lock().parent = Weak::new();
        }
        let place = self.take(from)?;
        self.node().touched();
        {
            let place = &mut *self.0.place.lock();
            (place.parent, place.name) = (Arc::downgrade(&dir.0), name.as_bytes().into());
        }
        // A listing that runs over its own renames must come to an end: the place in the order
        // stays.
        let place = Arc::ptr_eq(&from.0, &dir.0).then_some(place);
        self.put_at(dir, place);
        Ok(())
    }

    /// A name that is in no directory yet.
    pub(super) fn new(
        node: Arc<Node>,
        name: &[u8],
        space: &Arc<Budget>,
        free: bool,
    ) -> Result<Inode> {
        let grant =
            if free { space.empty_reservation() } else { space.reserve_item(name.len())? };
        let place = Mutex::new(Place { parent: Weak::new(), name: name.into(), grant });
        Ok(Inode(Arc::new(Dentry { node, place })))
    }

    /// Charges for what is the longer one of its name and `name`, which it may get.
    fn charge(&self, name: Name<'_>) -> Result<()> {
        let place = &mut *self.0.place.lock();
        place.grant.resize(Budget::item_cost(place.name.len().max(name.as_bytes().len())))
    }

    /// Charges for the name that it has.
    fn charge_name(&self) {
        let place = &mut *self.0.place.lock();
        // No more than it was charged for already, which is always granted.
        let _ = place.grant.resize(Budget::item_cost(place.name.len()));
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    pub(super) fn name(&self) -> Arc<[u8]> {
        self.0.place.lock().name.clone()
    }

    /// Where it is; `None` for the root and for what has been removed.
    pub(super) fn parent(&self) -> Option<Inode> {
        self.0.place.lock().parent.upgrade().map(Inode)
    }

    fn is_above(&self, dir: &Inode) -> bool {
        std::iter::successors(Some(dir.clone()), Inode::parent)
            .any(|above| Arc::ptr_eq(&above.0, &self.0))
    }

    /// Enters it in `dir` under its name.
    fn put(&self, dir: &Inode) {
        self.0.place.lock().parent = Arc::downgrade(&dir.0);
        self.node().linked();
        self.put_at(dir, None);
    }

    fn put_at(&self, dir: &Inode, place: Option<u64>) {
        let Ok(entries) = dir.node().entries() else { return };
        let mut entries = entries.write();
        match place {
            Some(number) => entries.insert_at(number, self.name(), self.clone()),
            None => entries.insert(self.name(), self.clone()),
        }
        drop(entries);
        dir.node().changed();
    }

    /// Takes it out of `dir`: the place it had.
    fn take(&self, dir: &Inode) -> Result<u64> {
        let place = dir.node().entries()?.write().remove(&self.name()).ok_or(Error::NotFound)?;
        dir.node().changed();
        Ok(place)
    }

    /// One name less; a directory, which must be empty, takes no names any more.
    fn bury(&self) -> Result<()> {
        if let Ok(entries) = self.node().entries() {
            let mut entries = entries.write();
            if !entries.is_empty() {
                return Err(Error::NotEmpty);
            }
            entries.dead = true;
        }
        self.node().unlinked();
        Ok(())
    }
}

/// What `ask` says of the names of `dir`, which must still be in the tree.
fn living<R>(dir: &Inode, ask: impl FnOnce(&Entries) -> R) -> Result<R> {
    let entries = dir.node().entries()?.read();
    if entries.dead { Err(Error::NotFound) } else { Ok(ask(&entries)) }
}
