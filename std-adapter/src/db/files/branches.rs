//! `/branch`: a directory for each branch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datakit_core::vfs::{Create, Error, Name, New, Result};

use super::branch::{BranchDir, Slot};
use crate::db::{BranchName, Database};
use crate::locked;
use crate::tree::{Directory, Entry, Wait, ready};

/// All branches of the repository, and those that were made on this connection and have no commit yet.
pub(super) struct Branches {
    database: Database,
    known: Mutex<BTreeMap<BranchName, Known>>,
}

/// A branch that somebody on this connection has looked at.
struct Known {
    entry: Entry,
    slot: Arc<Slot>,
    /// It is there also without a commit.
    made: bool,
}

impl Branches {
    pub(super) fn new(database: &Database) -> Branches {
        Branches { database: database.clone(), known: Mutex::default() }
    }

    /// The one directory of a branch, and whether it was made here.
    fn entry(&self, branch: &BranchName, make: bool) -> Result<(Entry, bool)> {
        let mut known = locked::lock(&self.known);
        if let Some(known) = known.get_mut(branch) {
            known.made |= make;
            return Ok((known.entry.clone(), known.made));
        }
        let slot = Arc::new(Slot::new(&self.database, self.database.branch(branch)?));
        let entry = Entry::dir(escape(branch.as_bytes()), BranchDir::new(slot.clone()));
        known.insert(branch.clone(), Known { entry: entry.clone(), slot, made: make });
        Ok((entry, make))
    }

    fn move_to(&self, old: &BranchName, new: &BranchName) -> Result<()> {
        let slot = match locked::lock(&self.known).get(old) {
            Some(known) => known.slot.clone(),
            None => return Err(Error::NotFound),
        };
        let (from, to) = (slot.branch(), self.database.branch(new)?);
        self.database.rename(&from, &to)?;
        slot.set_branch(to);
        let mut known = locked::lock(&self.known);
        if let Some(moved) = known.remove(old) {
            known.insert(new.clone(), moved);
        }
        Ok(())
    }
}

impl Directory for Branches {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        Box::pin(async move {
            let heads = self.database.run(Database::heads).await?;
            let mut names: Vec<_> = heads.into_iter().map(|(name, _)| name).collect();
            let known = locked::lock(&self.known);
            names.extend(known.iter().filter(|(_, known)| known.made).map(|(name, _)| name.clone()));
            drop(known);
            names.sort();
            names.dedup();
            names.iter().map(|name| Ok(self.entry(name, false)?.0)).collect()
        })
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let branch = BranchName::new(unescape(name.as_bytes())).map_err(|_| Error::NotFound)?;
            let made = locked::lock(&self.known).get(&branch).is_some_and(|known| known.made);
            if !made && self.database.objects().store().head(&branch)?.is_none() {
                return Err(Error::NotFound);
            }
            Ok(self.entry(&branch, false)?.0)
        })())
    }

    /// Also of one that is there, which clients count on.
    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> Wait<'a, Entry> {
        ready((|| {
            if create.new != New::Dir {
                return Err(Error::OnlyDirectories);
            }
            Ok(self.entry(&BranchName::new(unescape(name.as_bytes()))?, true)?.0)
        })())
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> Wait<'a, ()> {
        ready((|| {
            let old = BranchName::new(unescape(&child.name()))?;
            let new = BranchName::new(unescape(name.as_bytes()))?;
            if old == new { Ok(()) } else { self.move_to(&old, &new) }
        })())
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> Wait<'a, ()> {
        locked::lock(&self.known).retain(|_, known| !known.entry.is(child));
        ready(Ok(()))
    }
}

/// A branch name as one name of a directory: a slash, which no kernel lets through, is `%2F`, and a percent sign `%25`.
fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'/' => escaped.extend(b"%2F"),
            b'%' => escaped.extend(b"%25"),
            other => escaped.push(*other),
        }
    }
    escaped
}

/// The branch of a name; a client that may send a slash need not escape it.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut rest = name;
    let mut plain = Vec::with_capacity(name.len());
    while let Some((first, behind)) = rest.split_first() {
        (plain, rest) = match rest {
            [b'%', b'2', b'F' | b'f', behind @ ..] => (pushed(plain, b'/'), behind),
            [b'%', b'2', b'5', behind @ ..] => (pushed(plain, b'%'), behind),
            _ => (pushed(plain, *first), behind),
        };
    }
    plain
}

fn pushed(mut to: Vec<u8>, byte: u8) -> Vec<u8> {
    to.push(byte);
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_escaped_and_back() {
        for (plain, escaped) in [("a/b", "a%2Fb"), ("100%", "100%25"), ("%2F", "%252F"), ("master", "master")] {
            assert_eq!(escape(plain.as_bytes()), escaped.as_bytes());
            assert_eq!(unescape(escaped.as_bytes()), plain.as_bytes());
        }
        assert_eq!(unescape(b"a/b%2fc%"), b"a/b/c%");
    }
}
