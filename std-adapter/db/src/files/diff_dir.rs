//! A `diff/` directory, which contains a file for each commit. Each file is named after its
//! commit's hash. The file lists the changes from that commit's tree to the tree of the branch,
//! commit or transaction whose directory contains `diff/`.

use datakit_core::vfs::{Name, Result, Time};

use super::hash_text::parse_name;
use super::ro::TreeSource;
use crate::Database;
use crate::model::diff;
use crate::model::tree::Tree;
use datakit_server::inode_numbers;
use datakit_server::tree::{BoxFuture, Directory, Entry, READ_ONLY_DIR_MODE, ReadOnlyText, ready};

/// A `diff` directory. The directory appears empty, but a lookup of any commit's hash succeeds.
pub(super) struct DiffDir {
    database: Database,
    new: TreeSource,
    number: u64,
}

impl DiffDir {
    pub(super) fn new(database: &Database, new: TreeSource, number: u64) -> DiffDir {
        DiffDir { database: database.clone(), new, number }
    }
}

impl Directory for DiffDir {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn mtime(&self) -> Option<Time> {
        (self.new)().ok()?.1
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(Vec::new()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        Box::pin(async move {
            let (id, (new, since)) = (parse_name(name)?, (self.new)()?);
            // Do not compare large trees on this thread, because a comparison hashes all content
            // that is not stored yet.
            let bytes = new.top().weight().1;
            let lines = self.database.run_sized(bytes, move |database| {
                let old = Tree::stored(database.objects().named_commit(id)?.tree);
                Ok(diff::render(&diff::diff(database.objects(), &old, &new)?))
            });
            let text = ReadOnlyText::new(lines.await?);
            let file = match since {
                Some(since) => text.with_mtime(since),
                None => text,
            };
            let number = inode_numbers::hash_of(("diff", self.number, id.as_bytes()));
            Result::Ok(Entry::file(name.as_bytes(), file).with_ino(number))
        })
    }
}
