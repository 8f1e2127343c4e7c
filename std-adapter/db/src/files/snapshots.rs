//! The `/snapshots`, `/commits` and `/trees` directories, whose entries are named after hashes and
//! never change.

use std::sync::Arc;

use datakit_core::vfs::{Error, Name, Time};

use super::diff_dir::DiffDir;
use super::hash_text::parse_name;
use super::log::LogFile;
use super::ro::{RoTree, time_of};
use crate::model::commit::Commit;
use crate::model::tree::{FileContent, Tree, TreeFile};
use crate::model::tree_entry::EntryMode;
use crate::{Database, Id};
use datakit_server::inode_numbers;
use datakit_server::tree::{BoxFuture, Directory, Entry, READ_ONLY_DIR_MODE, ReadOnlyText, ready};

fn empty_list() -> BoxFuture<'static, Vec<Entry>> {
    ready(Ok(Vec::new()))
}

/// Creates a read-only file that contains `text`, such as the message of a commit.
fn text(name: &[u8], kind: &str, (id, commit): (Id, &Commit), text: impl AsRef<[u8]>) -> Entry {
    let text = ReadOnlyText::new(text).with_mtime(time_of(commit));
    Entry::file(name, text).with_ino(inode_numbers::hash_of((kind, name, id.as_bytes())))
}

/// The `/snapshots` directory, which contains a directory for each commit.
pub(super) struct Snapshots(Database);

impl Snapshots {
    pub(super) fn new(database: &Database) -> Snapshots {
        Snapshots(database.clone())
    }
}

impl Directory for Snapshots {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        empty_list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            let id = parse_name(name)?;
            let commit = self.0.objects().named_commit(id)?;
            let number = inode_numbers::hash_of(("snapshot", id.as_bytes()));
            let dir = SnapshotDir { database: self.0.clone(), id, commit, number };
            Ok(Entry::dir(name.as_bytes(), dir).with_ino(number))
        })())
    }
}

struct SnapshotDir {
    database: Database,
    id: Id,
    commit: Arc<Commit>,
    number: u64,
}

impl SnapshotDir {
    const NAMES: [&'static [u8]; 6] = [b"diff", b"hash", b"log", b"msg", b"parents", b"ro"];

    fn entry(&self, name: &[u8]) -> Option<Entry> {
        let (tree, about) = (Tree::stored(self.commit.tree), (self.id, &*self.commit));
        let since = time_of(&self.commit);
        Some(match name {
            b"diff" => {
                let diff = DiffDir::new(
                    &self.database,
                    Arc::new(move || Ok((tree.clone(), Some(since)))),
                    self.number,
                );
                Entry::dir(name, diff).with_ino(inode_numbers::hash_of(("diff", self.number)))
            }
            b"hash" => text(name, "snapshot", about, self.id.to_string()),
            b"log" => {
                let (database, id) = (self.database.clone(), self.id);
                let log = LogFile { database, start: Box::new(move || Ok(Some(id))) };
                Entry::file(name, log).with_ino(inode_numbers::hash_of(("log", id.as_bytes())))
            }
            b"msg" => text(name, "snapshot", about, &self.commit.message),
            b"parents" => {
                let lines: String =
                    self.commit.parents.iter().map(|parent| format!("{parent}\n")).collect();
                text(name, "snapshot", about, lines)
            }
            b"ro" => RoTree::fixed(&self.database, &tree, self.number).since(since).top("ro"),
            _ => return None,
        })
    }
}

impl Directory for SnapshotDir {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn mtime(&self) -> Option<Time> {
        Some(time_of(&self.commit))
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(Self::NAMES.iter().filter_map(|name| self.entry(name)).collect()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(self.entry(name.as_bytes()).ok_or(Error::NotFound))
    }
}

/// The `/commits` directory, which contains a JSON file for each commit.
pub(super) struct Commits(Database);

impl Commits {
    pub(super) fn new(database: &Database) -> Commits {
        Commits(database.clone())
    }
}

impl Directory for Commits {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        empty_list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            let id = parse_name(name)?;
            let commit = self.0.objects().named_commit(id)?;
            let parents: Vec<_> = commit.parents.iter().map(Id::to_string).collect();
            let json = serde_json::json!({
                "hash": id.to_string(),
                "tree": commit.tree.to_string(),
                "parents": parents,
                "author": commit.author,
                "date": commit.date(),
                "message": String::from_utf8_lossy(&commit.message),
            });
            Ok(text(name.as_bytes(), "commit", (id, &commit), format!("{json:#}\n")))
        })())
    }
}

/// The `/trees` directory, which contains all trees and blobs. The entry names have the same form
/// as the lines in a `tree.live` file.
pub(super) struct Trees(Database);

impl Trees {
    pub(super) fn new(database: &Database) -> Trees {
        Trees(database.clone())
    }

    fn entry(&self, name: &[u8]) -> crate::Result<Entry> {
        let (letter, hash) = name.split_at_checked(2).ok_or(crate::Error::NotFound)?;
        let id = Id::parse(hash).map_err(|_| crate::Error::NotFound)?;
        let objects = self.0.objects();
        let mode = match letter {
            b"D-" => {
                objects.tree(id).map_err(crate::Error::of_named)?;
                let number = inode_numbers::hash_of(("tree", id.as_bytes()));
                let name = str::from_utf8(name).map_err(|_| crate::Error::NotFound)?;
                return Ok(RoTree::fixed(&self.0, &Tree::stored(id), number).top(name));
            }
            b"F-" => EntryMode::Normal,
            b"X-" => EntryMode::Exec,
            b"L-" => EntryMode::Link,
            _ => return Err(crate::Error::NotFound),
        };
        objects.blob_length(id).map_err(crate::Error::of_named)?;
        let file = TreeFile { mode, content: FileContent::Stored(id) };
        Ok(RoTree::file(&self.0, name, file, inode_numbers::hash_of(("blob", name))))
    }
}

impl Directory for Trees {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        empty_list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(self.entry(name.as_bytes()).map_err(Error::from))
    }
}
