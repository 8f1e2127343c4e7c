//! Watches the head of a branch, every update to the branch, or the value at a path in the branch.

use datakit_client::ByteString;
use datakit_client::db::{Path, PathValue, Result, Watch};
use tokio::sync::watch::Receiver;

use super::commit::DirectCommit;
use super::tree::{DirectTree, join};
use crate::branch::BranchWatch;
use crate::counters::GaugeGuard;
use crate::model::tree::{Tree, TreeDir, TreeFile, TreeNode};
use crate::object::EntryMode;
use crate::{Database, Error, Id};

/// A stream of a branch's heads. Skips heads that are replaced before they can be read.
struct Heads {
    database: Database,
    heads: Receiver<Option<Id>>,
    last: Option<Option<Id>>,
    /// The subscription, which updates `heads` until it is dropped.
    _branch: BranchWatch,
    _counted: GaugeGuard,
}

impl Heads {
    fn new(database: &Database, branch: BranchWatch) -> Heads {
        Heads {
            database: database.clone(),
            heads: branch.head_watch().subscribe(),
            last: None,
            _branch: branch,
            _counted: database.count(|counters| &counters.watches),
        }
    }

    /// Waits for a head that differs from the last one returned. The first call returns
    /// immediately.
    async fn next(&mut self) -> Option<Option<Id>> {
        loop {
            let head = *self.heads.borrow_and_update();
            if self.last != Some(head) {
                self.last = Some(head);
                return Some(head);
            }
            self.heads.changed().await.ok()?;
        }
    }
}

/// Watches the head of a branch.
pub(super) fn heads(database: &Database, branch: BranchWatch) -> Watch<Option<DirectCommit>> {
    Watch::unfold(Heads::new(database, branch), |mut heads| async move {
        let head = heads.next().await?;
        Some((Ok(head.map(|head| DirectCommit::new(&heads.database, head))), heads))
    })
}

/// Watches every update to a branch. The watch ends if the reader falls too far behind.
pub(super) fn moves(database: &Database, branch: BranchWatch) -> Watch<Option<DirectCommit>> {
    let state = (branch.log(), branch, database.clone());
    Watch::unfold(state, |(mut log, branch, database)| async move {
        let head = log.next().await.ok()?;
        let head = head.map(|head| DirectCommit::new(&database, head));
        Some((Ok(head), (log, branch, database)))
    })
}

/// A stream of the values at a path in a branch.
struct PathValues {
    heads: Heads,
    path: Vec<u8>,
    last: Option<Option<(EntryMode, Id)>>,
}

impl PathValues {
    async fn next(&mut self) -> Option<Result<Option<PathValue<DirectTree>>>> {
        loop {
            let head = self.heads.next().await?;
            let path = self.path.clone();
            let find = move |database: &Database| node_at(database, head, &path);
            let node = match self.heads.database.run(find).await {
                Ok(node) => node,
                Err(error) => return Some(Err(error.into())),
            };
            let key = node.as_ref().map(|(mode, id, _)| (*mode, *id));
            if self.last == Some(key) {
                continue;
            }
            self.last = Some(key);
            return Some(match node {
                Some((_, _, node)) => self.value(node).await,
                None => Ok(None),
            });
        }
    }

    async fn value(&self, node: TreeNode) -> Result<Option<PathValue<DirectTree>>> {
        let TreeNode::File(TreeFile { mode, content }) = node else {
            return Ok(Some(PathValue::Dir(DirectTree::of_node(&self.heads.database, node))));
        };
        let bytes = self.heads.database.blob(content.id()?).await?;
        Ok(Some(match mode {
            EntryMode::Link => PathValue::Link(ByteString::from(&*bytes)),
            EntryMode::Exec => PathValue::Exec(bytes.to_vec()),
            _ => PathValue::File(bytes.to_vec()),
        }))
    }
}

/// Returns the mode and hash of the node at a path in a commit, along with the node itself. Returns
/// `None` if there is no file or directory at the path.
fn node_at(
    database: &Database,
    head: Option<Id>,
    path: &[u8],
) -> crate::Result<Option<(EntryMode, Id, TreeNode)>> {
    let objects = database.objects();
    let node = match Tree::of_commit(objects, head)?.get(objects, path) {
        Ok(node) => node,
        Err(Error::NotFound | Error::NotDirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let id = match &node {
        TreeNode::Dir(TreeDir::Stored(id)) => *id,
        TreeNode::File(file) => file.content.id()?,
        TreeNode::Dir(TreeDir::Edited(_)) | TreeNode::Submodule(_) => return Ok(None),
    };
    Ok(Some((node.mode(), id, node)))
}

/// Watches the value at a path.
pub(super) fn values(
    database: &Database,
    branch: BranchWatch,
    path: &Path,
) -> Watch<Option<PathValue<DirectTree>>> {
    let values = PathValues { heads: Heads::new(database, branch), path: join(path), last: None };
    Watch::unfold(values, |mut values| async move {
        let value = values.next().await?;
        Some((value, values))
    })
}
