//! Read access to the files in a tree.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datakit_client::ByteString;
use datakit_client::db::{self, Content, EntryKind, Path, Result, Stat, TreeOps};

use crate::model::tree::{FileContent, Tree, TreeDir, TreeFile, TreeNode};
use crate::object::EntryMode;
use crate::transaction::MergeInputs;
use crate::{Database, Error, Id, Transaction};

/// A readable tree in a [`DirectDb`](super::DirectDb).
#[derive(Clone)]
pub struct DirectTree {
    database: Database,
    root: Root,
}

/// The location of a tree's root.
#[derive(Clone)]
enum Root {
    Node(TreeNode),
    Commit(Id),
    /// The tree has no root, because the given id is invalid.
    Absent,
    Transaction(Arc<Transaction>, Side),
}

/// A tree that belongs to a transaction.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Current,
    /// An input to the last merge.
    Merged(fn(&MergeInputs) -> &Tree),
}

/// Joins the components of a path with slashes.
pub(super) fn join(path: &Path) -> Vec<u8> {
    path.names().map(ByteString::as_bytes).collect::<Vec<_>>().join(&b'/')
}

impl DirectTree {
    pub(super) fn of_node(database: &Database, node: TreeNode) -> DirectTree {
        DirectTree { database: database.clone(), root: Root::Node(node) }
    }

    pub(super) fn of_commit(database: &Database, id: Id) -> DirectTree {
        DirectTree { database: database.clone(), root: Root::Commit(id) }
    }

    pub(super) fn of_transaction(
        database: &Database,
        transaction: &Arc<Transaction>,
        side: Side,
    ) -> DirectTree {
        let root = Root::Transaction(transaction.clone(), side);
        DirectTree { database: database.clone(), root }
    }

    /// Returns the tree with the given id. The id has the same form as in a `tree.live` file.
    pub(super) fn named(database: &Database, id: &[u8]) -> DirectTree {
        DirectTree {
            database: database.clone(),
            root: parse_node(id.trim_ascii()).map_or(Root::Absent, Root::Node),
        }
    }

    fn root(&self) -> Result<TreeNode> {
        let objects = self.database.objects();
        match &self.root {
            Root::Node(node) => {
                // Check that the object exists, because the caller may have supplied any id.
                match node {
                    TreeNode::Dir(TreeDir::Stored(id)) => {
                        objects.tree(*id).map(drop).map_err(Error::of_named)?;
                    }
                    TreeNode::File(TreeFile { content: FileContent::Stored(id), .. }) => {
                        objects.blob_length(*id).map(drop).map_err(Error::of_named)?;
                    }
                    _ => {}
                }
                Ok(node.clone())
            }
            Root::Commit(id) => {
                let tree = objects.named_commit(*id)?.tree;
                Ok(TreeNode::Dir(TreeDir::Stored(tree)))
            }
            Root::Absent => Err(db::Error::NotFound),
            Root::Transaction(transaction, side) => {
                if !transaction.is_open() {
                    return Err(db::Error::TransactionEnded);
                }
                let tree = match side {
                    Side::Current => transaction.tree()?,
                    Side::Merged(side) => {
                        side(&transaction.merged()?.ok_or(Error::NotFound)?).clone()
                    }
                };
                Ok(TreeNode::Dir(tree.top().clone()))
            }
        }
    }

    /// Returns the file or directory at a path. Reads a transaction's tree on the calling thread,
    /// because the transaction's directories are usually in memory.
    async fn node(&self, path: &Path) -> Result<TreeNode> {
        let (tree, path) = (self.clone(), join(path));
        let find = move |_: &Database| Ok(tree.find(&path));
        match self.root {
            Root::Transaction(..) => find(&self.database)?,
            _ => self.database.run(find).await?,
        }
    }

    fn find(&self, path: &[u8]) -> Result<TreeNode> {
        let node = match self.root()? {
            TreeNode::Dir(top) => Tree::of(top).get(self.database.objects(), path)?,
            root if path.is_empty() => root,
            _ => return Err(db::Error::NotDirectory),
        };
        match node {
            // Hide submodules, because their content is in another repository.
            TreeNode::Submodule(_) => Err(db::Error::NotFound),
            node => Ok(node),
        }
    }

    async fn bytes(&self, file: &TreeFile) -> Result<Vec<u8>> {
        let bytes = match &file.content {
            FileContent::Stored(id) => self.database.blob(*id).await?,
            pending => pending.bytes(self.database.objects())?,
        };
        Ok(bytes.to_vec())
    }

    async fn list(&self, dir: &TreeDir) -> Result<Vec<ByteString>> {
        let dir = dir.clone();
        let mut names: Vec<ByteString> = Vec::new();
        let list = move |database: &Database| {
            dir.each(database.objects(), |name, node| {
                if !matches!(node, TreeNode::Submodule(_)) {
                    names.push(ByteString::from(&**name));
                }
            })?;
            Ok(names)
        };
        Ok(self.database.run(list).await?)
    }
}

/// Parses `D-HASH`, `F-HASH`, `X-HASH` or `L-HASH`.
fn parse_node(id: &[u8]) -> Option<TreeNode> {
    let (letter, hash) = id.split_at_checked(2)?;
    let id = Id::parse(hash).ok()?;
    let mode = match letter {
        b"D-" => return Some(TreeNode::Dir(TreeDir::Stored(id))),
        b"F-" => EntryMode::Normal,
        b"X-" => EntryMode::Exec,
        b"L-" => EntryMode::Link,
        _ => return None,
    };
    Some(TreeNode::File(TreeFile { mode, content: FileContent::Stored(id) }))
}

impl TreeOps for DirectTree {
    async fn read(&self, path: &Path) -> Result<Content> {
        Ok(match self.node(path).await? {
            TreeNode::Dir(dir) => Content::Dir(self.list(&dir).await?),
            TreeNode::File(file) if file.mode == EntryMode::Link => {
                Content::Link(ByteString::from(&*self.bytes(&file).await?))
            }
            TreeNode::File(file) => Content::File(self.bytes(&file).await?),
            TreeNode::Submodule(_) => return Err(db::Error::NotFound),
        })
    }

    async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        match self.node(path).await? {
            TreeNode::File(file) if file.mode != EntryMode::Link => self.bytes(&file).await,
            _ => Err(db::Error::NotFile),
        }
    }

    async fn read_file_range(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
        let file = match self.node(path).await? {
            TreeNode::File(file) if file.mode != EntryMode::Link => file,
            _ => return Err(db::Error::NotFile),
        };
        let bytes = match &file.content {
            FileContent::Stored(id) => self.database.blob(*id).await?,
            pending => pending.bytes(self.database.objects())?,
        };
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let end = start.saturating_add(length).min(bytes.len());
        Ok(bytes.get(start..end).unwrap_or_default().to_vec())
    }

    async fn read_dir(&self, path: &Path) -> Result<Vec<ByteString>> {
        match self.node(path).await? {
            TreeNode::Dir(dir) => self.list(&dir).await,
            _ => Err(db::Error::NotDirectory),
        }
    }

    async fn read_link(&self, path: &Path) -> Result<ByteString> {
        match self.node(path).await? {
            TreeNode::File(file) if file.mode == EntryMode::Link => {
                Ok(ByteString::from(&*self.bytes(&file).await?))
            }
            _ => Err(db::Error::NotSymlink),
        }
    }

    async fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        let file = match self.node(path).await {
            Ok(TreeNode::File(file)) => file,
            Ok(_) => return Ok(Some(Stat { kind: EntryKind::Dir, size: 0 })),
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = match file.mode {
            EntryMode::Link => EntryKind::Link,
            EntryMode::Exec => EntryKind::Exec,
            _ => EntryKind::File,
        };
        let length = move |database: &Database| file.content.length(database.objects());
        Ok(Some(Stat { kind, size: self.database.run(length).await? }))
    }
}

impl Debug for DirectTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DirectTree");
        match &self.root {
            Root::Commit(id) => shown.field("commit", id),
            Root::Transaction(transaction, _) => shown.field("transaction", transaction),
            Root::Node(_) | Root::Absent => &mut shown,
        };
        shown.finish_non_exhaustive()
    }
}
