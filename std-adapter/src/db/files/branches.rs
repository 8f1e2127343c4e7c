//! `/branch`: a directory for each branch.

use std::sync::Arc;

use datakit_core::vfs::{Create, Error, Name, New, Result};

use super::branch_table::BranchTable;
use super::quota::Quota;
use crate::db::{self, BranchName, Database};
use crate::tree::{Directory, Entry, READ_ONLY_DIRECTORY, Wait, ready};

/// All branches of the repository, and those that were made on this connection and have no commit
/// yet.
pub(super) struct Branches(Arc<BranchTable>);

impl Branches {
    pub(super) fn new(database: &Database, quota: &Arc<Quota>) -> Branches {
        Branches(BranchTable::new(database, quota))
    }

    fn move_to(&self, old: &BranchName, new: &BranchName) -> Result<()> {
        let (slot, database) = (self.0.slot(old), self.0.database());
        database.rename(&slot.branch(), &database.branch(new))?;
        self.0.renamed(&slot, new);
        Ok(())
    }
}

/// The directory of a branch.
fn entry(table: &Arc<BranchTable>, branch: &BranchName) -> Entry {
    table.slot(branch).dir(shown)
}

/// A branch in a listing: its name and number. The files are made when it is looked up.
struct Listed {
    table: Arc<BranchTable>,
    branch: BranchName,
}

impl Listed {
    fn entry(table: &Arc<BranchTable>, branch: BranchName) -> Entry {
        let (name, number) = (shown(&branch), table.number(&branch));
        Entry::dir_of(name, number, Listed { table: table.clone(), branch })
    }
}

impl Directory for Listed {
    fn mode(&self) -> u32 {
        READ_ONLY_DIRECTORY
    }

    fn list(&self) -> Wait<'_, Vec<Entry>> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.list().await })
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.lookup(name).await })
    }

    fn remove(&self) -> Wait<'_, ()> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.remove().await })
    }
}

impl Directory for Branches {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        Box::pin(async move {
            let heads = self.0.database().run(Database::heads).await?;
            let mut names: Vec<_> = heads.into_iter().map(|(name, _)| name).collect();
            names.extend(self.0.made());
            names.sort();
            names.dedup();
            Ok(names.into_iter().map(|name| Listed::entry(&self.0, name)).collect())
        })
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let branch = BranchName::new(unescape(name.as_bytes())).map_err(|_| Error::NotFound)?;
            if !self.0.is_made(&branch)
                && self.0.database().objects().store().head(&branch)?.is_none()
            {
                return Err(Error::NotFound);
            }
            Ok(entry(&self.0, &branch))
        })())
    }

    /// Also of one that is there, which clients count on.
    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> Wait<'a, Entry> {
        ready((|| {
            if create.new != New::Dir {
                return Err(Error::OnlyDirectories);
            }
            let branch = BranchName::new(unescape(name.as_bytes()))?;
            if let Some(other) = self.0.database().objects().store().in_the_way(&branch)? {
                return Err(db::Error::InTheWay { branch: branch.to_string(), other }.into());
            }
            self.0.make(&branch)?;
            Ok(entry(&self.0, &branch))
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
        ready((|| {
            self.0.removed(&BranchName::new(unescape(&child.name()))?);
            Ok(())
        })())
    }
}

/// The name of the directory of a branch.
fn shown(branch: &BranchName) -> Arc<[u8]> {
    match branch.as_bytes().iter().any(|byte| matches!(byte, b'/' | b'%')) {
        true => escape(branch.as_bytes()).into(),
        false => branch.shared(),
    }
}

/// A branch name as one name of a directory: a slash, which no kernel lets through, is `%2F`, and a
/// percent sign `%25`.
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
        for (plain, escaped) in
            [("a/b", "a%2Fb"), ("100%", "100%25"), ("%2F", "%252F"), ("master", "master")]
        {
            assert_eq!(escape(plain.as_bytes()), escaped.as_bytes());
            assert_eq!(unescape(escaped.as_bytes()), plain.as_bytes());
        }
        assert_eq!(unescape(b"a/b%2fc%"), b"a/b/c%");
    }
}
