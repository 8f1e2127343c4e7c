//! Operations that create, link, remove and rename files. Each operation is synchronous and holds
//! the namespace lock.

use std::sync::{Arc, Weak};

use datakit_core::vfs::{Create, Error, Name, Result};

use super::Scratch;
use super::inode::{Dentry, Entries, Inode};
use crate::budget::Budget;

impl Scratch {
    pub(super) fn create_now(
        &self,
        dir: &Dentry,
        name: Name<'_>,
        create: &Create<'_>,
    ) -> Result<Dentry> {
        let _guard = self.0.namespace_lock.lock();
        if with_entries(dir, |entries| entries.get(name.as_bytes()).is_some())? {
            return Err(Error::Exists);
        }
        let inode = Inode::new(create, &self.0.budget)?;
        let dentry = self.new_dentry(inode, name)?;
        dentry.add_to(dir);
        Ok(dentry)
    }

    pub(super) fn link_now(&self, dentry: &Dentry, dir: &Dentry, name: Name<'_>) -> Result<()> {
        if dentry.inode().is_dir() {
            return Err(Error::NotPermitted);
        }
        let _guard = self.0.namespace_lock.lock();
        // Creating a link to a removed file must not restore the file.
        if !dentry.inode().has_name() {
            return Err(Error::NotFound);
        }
        if with_entries(dir, |entries| entries.get(name.as_bytes()).is_some())? {
            return Err(Error::Exists);
        }
        self.new_dentry(dentry.inode().clone(), name)?.add_to(dir);
        Ok(())
    }

    pub(super) fn remove_now(&self, dentry: &Dentry) -> Result<()> {
        let _guard = self.0.namespace_lock.lock();
        let parent = self.parent_of(dentry)?;
        dentry.remove_from(&parent)
    }

    pub(super) fn rename_now(&self, dentry: &Dentry, dir: &Dentry, name: Name<'_>) -> Result<()> {
        let _guard = self.0.namespace_lock.lock();
        let from = self.parent_of(dentry)?;
        let replaced = with_entries(dir, |entries| entries.get(name.as_bytes()).cloned())?;
        if dentry.inode().is_dir() && dentry.contains(dir) {
            return Err(Error::Invalid.with_message("a directory cannot be moved below itself"));
        }
        // Like rename(2), do nothing if both names refer to the same file.
        if replaced.as_ref().is_some_and(|replaced| Arc::ptr_eq(replaced.inode(), dentry.inode())) {
            return Ok(());
        }
        dentry.charge_longer_name(name)?;
        let result = dentry.move_to(&from, dir, name, replaced);
        dentry.charge_name();
        result
    }

    fn new_dentry(&self, inode: Arc<Inode>, name: Name<'_>) -> Result<Dentry> {
        let name = name.as_bytes();
        Ok(Dentry::new(inode, name, self.0.budget.reserve_item(name.len())?))
    }

    /// Returns the directory that contains `dentry`.
    fn parent_of(&self, dentry: &Dentry) -> Result<Dentry> {
        match dentry.parent() {
            Some(parent) => Ok(parent),
            None if Arc::ptr_eq(&dentry.0, &self.0.root.0) => Err(Error::Busy),
            None => Err(Error::NotFound),
        }
    }
}

impl Dentry {
    /// Moves the dentry from the `from` directory to `dir`, renames it to `name`, and removes
    /// `replaced`.
    fn move_to(
        &self,
        from: &Dentry,
        dir: &Dentry,
        name: Name<'_>,
        replaced: Option<Dentry>,
    ) -> Result<()> {
        if let Some(replaced) = replaced {
            match (self.inode().is_dir(), replaced.inode().is_dir()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => replaced.remove_from(dir)?,
            }
        }
        let cookie = self.detach_from(from)?;
        self.inode().touch_ctime();
        {
            let location = &mut *self.0.location.lock();
            (location.parent, location.name) = (Arc::downgrade(&dir.0), name.as_bytes().into());
        }
        // An entry that remains in its directory keeps its cookie. If each rename assigned a new
        // cookie, a client listing the directory might never reach the end.
        let cookie = Arc::ptr_eq(&from.0, &dir.0).then_some(cookie);
        self.insert_into(dir, cookie);
        Ok(())
    }

    /// Reserves memory for the current name or for `name`, whichever is longer.
    fn charge_longer_name(&self, name: Name<'_>) -> Result<()> {
        let location = &mut *self.0.location.lock();
        let bytes = location.name.len().max(name.as_bytes().len());
        location.reservation.resize(Budget::item_cost(bytes))
    }

    /// Adjusts the reservation to the length of the current name.
    fn charge_name(&self) {
        let location = &mut *self.0.location.lock();
        // Resizing cannot fail, because at this point the reservation is never smaller than
        // required.
        let _ = location.reservation.resize(Budget::item_cost(location.name.len()));
    }

    /// Adds a new name to `dir`.
    fn add_to(&self, dir: &Dentry) {
        self.0.location.lock().parent = Arc::downgrade(&dir.0);
        self.inode().add_link();
        self.insert_into(dir, None);
    }

    fn insert_into(&self, dir: &Dentry, cookie: Option<u64>) {
        let Ok(entries) = dir.inode().entries() else { return };
        let mut entries = entries.write();
        match cookie {
            Some(cookie) => entries.insert_at(cookie, self.name(), self.clone()),
            None => entries.insert(self.name(), self.clone()),
        }
        drop(entries);
        dir.inode().content_changed();
    }

    /// Removes the name from `dir` permanently. Fails if the name refers to a non-empty directory.
    fn remove_from(&self, dir: &Dentry) -> Result<()> {
        if let Ok(entries) = self.inode().entries() {
            let mut entries = entries.write();
            if !entries.is_empty() {
                return Err(Error::NotEmpty);
            }
            entries.is_removed = true;
        }
        self.inode().remove_link();
        self.detach_from(dir)?;
        self.0.location.lock().parent = Weak::new();
        Ok(())
    }

    /// Removes the entry from `dir` and returns its cookie.
    fn detach_from(&self, dir: &Dentry) -> Result<u64> {
        let cookie = dir.inode().entries()?.write().remove(&self.name()).ok_or(Error::NotFound)?;
        dir.inode().content_changed();
        Ok(cookie)
    }
}

/// Passes the entries of `dir` to `with`. Fails if the directory has been removed.
fn with_entries<R>(dir: &Dentry, with: impl FnOnce(&Entries) -> R) -> Result<R> {
    let entries = dir.inode().entries()?.read();
    if entries.is_removed { Err(Error::NotFound) } else { Ok(with(&entries)) }
}
