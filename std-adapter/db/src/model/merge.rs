//! Three trees into one: what each side changed, unless both changed the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::model::entry_name::check_name;
use crate::model::history;
use crate::model::object::{EntryMode, TreeEntries, TreeEntry};
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Name, NewObjects, Tree, TreeDir, TreeNode, join, split};
use crate::{Error, Id, Result};

/// What a merge made.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The tree. A path that could not be merged has a file that says why.
    pub tree: Tree,
    /// The paths that could not be merged, in the order of their bytes.
    pub conflicts: Vec<Conflict>,
}

/// A path that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Where.
    pub path: Vec<u8>,
    /// How they differ.
    pub kind: ConflictKind,
}

/// How the two sides of a conflict differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// A file on one side, a directory on the other.
    FileAndDir,
    /// One side removed what the other changed.
    RemovedAndChanged,
    /// Both made it, not in the same way.
    MadeTwice,
    /// Both changed it, not in the same way.
    ChangedTwice,
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConflictKind::FileAndDir => "TreeFile vs dir",
            ConflictKind::RemovedAndChanged => "option: add/del",
            ConflictKind::MadeTwice => "default: add/add and no common ancestor",
            ConflictKind::ChangedTwice => "Changed on both branches",
        })
    }
}

/// A merge that a branch does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// At least one.
    pub conflicts: Vec<Conflict>,
    /// How the branch moved while the transaction was open.
    pub moved: String,
}

/// Paths that are named in the text of an error reply.
const MAX_LISTED_PATHS: usize = 3;
/// Bytes of an explanation.
const MAX_EXPLANATION_BYTES: usize = 64 * 1024;

impl Conflicts {
    /// A line for each path, as far as there is room, and one for the branch.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = format!("{}\n", self.moved);
        for (count, conflict) in self.conflicts.iter().enumerate() {
            if text.len() > MAX_EXPLANATION_BYTES {
                text += &format!("and {} more\n", self.conflicts.len() - count);
                break;
            }
            text += &format!("Merge conflict: {}: {}\n", conflict.kind, printable(&conflict.path));
        }
        text
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut paths: Vec<_> =
            self.conflicts.iter().map(|conflict| printable(&conflict.path)).collect();
        let more = paths.len().saturating_sub(MAX_LISTED_PATHS);
        paths.truncate(MAX_LISTED_PATHS);
        let kind =
            self.conflicts.first().map(|conflict| conflict.kind.to_string()).unwrap_or_default();
        write!(f, "{kind}: {}", paths.join(", "))?;
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// A path in one line.
fn printable(path: &[u8]) -> String {
    let plain = |char: char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    };
    String::from_utf8_lossy(path).chars().map(plain).collect()
}

/// Merges `ours` and `theirs`, which both came from `base`. Directories that are the same on both
/// are not looked into, and those in which nothing is left are dropped.
///
/// # Errors
/// [`Error::NotFound`] where one of the trees is not in the store; [`Error::InvalidName`] where
/// `theirs` brings a name that Git refuses.
pub fn merge(objects: &ObjectCache, base: &Tree, ours: &Tree, theirs: &Tree) -> Result<Merged> {
    merged_by(Names::Checked, objects, base, ours, theirs)
}

/// Whether names that come in are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Checked,
    /// Of a base, which nobody commits.
    Any,
}

fn merged_by(
    names: Names,
    objects: &ObjectCache,
    base: &Tree,
    ours: &Tree,
    theirs: &Tree,
) -> Result<Merged> {
    let merged = Merged { tree: ours.clone(), conflicts: Vec::new() };
    let mut merge = Merge { objects, names, merged, left: Vec::new() };
    merge.dirs(Vec::new(), base.top(), ours.top(), theirs.top())?;
    // No recursion: a client or a repository may have any number of directories in each other.
    while let Some((path, dirs)) = merge.left.pop() {
        merge.names(&path, &dirs)?;
    }
    merge.merged.conflicts.sort();
    Ok(merge.merged)
}

struct Merge<'o> {
    objects: &'o ObjectCache,
    names: Names,
    /// Our tree, with what is done already.
    merged: Merged,
    /// Directories to be looked into.
    left: Vec<(Vec<u8>, Dirs)>,
}

/// Base, ours, theirs.
type Dirs = [TreeDir; 3];

/// A file or submodule, as far as a merge tells one from another.
type FileId = (EntryMode, Id);

impl Merge<'_> {
    fn dirs(
        &mut self,
        path: Vec<u8>,
        base: &TreeDir,
        ours: &TreeDir,
        theirs: &TreeDir,
    ) -> Result<()> {
        // Where only one side has the directory nothing below can be a file here and a directory
        // there. Elsewhere it can, also if one side is as it was.
        let one = ours.is_empty() || theirs.is_empty();
        if same(ours, theirs) || one && same(theirs, base) {
            return Ok(());
        }
        if one && same(ours, base) {
            return if theirs.is_empty() {
                self.remove(&path)
            } else {
                self.put(&path, TreeNode::Dir(theirs.clone()))
            };
        }
        self.left.push((path, [base.clone(), ours.clone(), theirs.clone()]));
        Ok(())
    }

    fn names(&mut self, path: &[u8], dirs: &Dirs) -> Result<()> {
        // Each is read once: one of very many names is too large for the cache.
        for (name, [base, ours, theirs]) in
            side_by_side(self.objects, dirs).map_err(|error| error.at(path))?
        {
            self.nodes(join(path, &name), base.as_ref(), ours.as_ref(), theirs.as_ref())?;
        }
        Ok(())
    }

    fn nodes(
        &mut self,
        path: Vec<u8>,
        base: Option<&TreeNode>,
        ours: Option<&TreeNode>,
        theirs: Option<&TreeNode>,
    ) -> Result<()> {
        let empty = TreeDir::empty();
        let base_dir = dir(base).unwrap_or(&empty);
        match (dir(ours), dir(theirs)) {
            (None, None) => self.files(&path, file(base)?, ours, theirs),
            (Some(ours), Some(theirs)) => self.dirs(path, base_dir, ours, theirs),
            (Some(ours), None) if theirs.is_none() => self.dirs(path, base_dir, ours, &empty),
            (None, Some(theirs)) if ours.is_none() => self.dirs(path, base_dir, &empty, theirs),
            _ => self.conflict(path, ConflictKind::FileAndDir),
        }
    }

    fn files(
        &mut self,
        path: &[u8],
        base: Option<FileId>,
        ours: Option<&TreeNode>,
        theirs: Option<&TreeNode>,
    ) -> Result<()> {
        let (our, their) = (file(ours)?, file(theirs)?);
        if our == their || their == base {
            return Ok(());
        }
        if our == base {
            return match theirs {
                Some(theirs) => self.put(path, theirs.clone()),
                None => self.remove(path),
            };
        }
        let kind = match (our, their, base) {
            (None, ..) | (_, None, _) => ConflictKind::RemovedAndChanged,
            (.., None) => ConflictKind::MadeTwice,
            (.., Some(_)) => ConflictKind::ChangedTwice,
        };
        self.conflict(path.to_vec(), kind)
    }

    fn conflict(&mut self, path: Vec<u8>, kind: ConflictKind) -> Result<()> {
        self.put(&path, TreeNode::file(EntryMode::Normal, format!("** Conflict **\n{kind}\n")))?;
        self.merged.conflicts.push(Conflict { path, kind });
        Ok(())
    }

    /// Puts `node` at `path`, in directories that are made if need be.
    fn put(&mut self, path: &[u8], node: TreeNode) -> Result<()> {
        if self.names == Names::Checked {
            check_names(self.objects, split(path).map(|(_, name)| name), &node)?;
        }
        let tree = &mut self.merged.tree;
        let Some((parent, _)) = split(path) else {
            if let TreeNode::Dir(top) = node {
                *tree = Tree::of(top);
            }
            return Ok(());
        };
        if tree.dir(self.objects, parent) == Err(Error::NotFound) {
            tree.make_dirs(self.objects, parent)?;
        }
        tree.put(self.objects, path, node)
    }

    /// Takes out what is at `path`, and the directories that have nothing else.
    fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (tree, mut path) = (&mut self.merged.tree, path);
        while let Some((parent, _)) = split(path) {
            tree.take(self.objects, path)?;
            if !tree.dir(self.objects, parent)?.is_empty() {
                return Ok(());
            }
            path = parent;
        }
        *tree = Tree::of(TreeDir::empty());
        Ok(())
    }
}

/// Refuses what has a name that Git refuses, or has something of such a name in it.
fn check_names(objects: &ObjectCache, name: Option<&[u8]>, node: &TreeNode) -> Result<()> {
    if let Some(name) = name {
        check_name(name, node.mode())?;
    }
    let mut left: Vec<_> = dir(Some(node)).into_iter().cloned().collect();
    while let Some(dir) = left.pop() {
        let mut checked = Ok(());
        dir.each(objects, |name, node| {
            if checked.is_ok() {
                checked = check_name(name, node.mode());
            }
            if let TreeNode::Dir(dir) = node {
                left.push(dir);
            }
        })?;
        checked?;
    }
    Ok(())
}

/// A name, and what it stands for on each side.
pub(crate) type NamedNodes<const N: usize> = (Name, [Option<TreeNode>; N]);

/// The names that do not stand for the same in the last two of these directories, and what each of
/// them has there.
pub(crate) fn side_by_side<const N: usize>(
    objects: &ObjectCache,
    dirs: &[TreeDir; N],
) -> Result<Vec<NamedNodes<N>>> {
    let mut lists = Vec::with_capacity(N);
    for dir in dirs {
        lists.push(match dir {
            TreeDir::Stored(id) => Listed::Stored(objects.tree(*id)?),
            TreeDir::Edited(_) => Listed::Edited(dir.list(objects)?),
        });
    }
    // All are in one order, so that each is gone through once.
    let mut left: Vec<_> = lists.iter().map(|list| list.names().peekable()).collect();
    let mut different = Vec::new();
    while let Some(name) =
        left.iter_mut().filter_map(|list| list.peek().map(|(name, _)| *name)).min()
    {
        let mut sides = [const { None }; N];
        for (side, list) in sides.iter_mut().zip(&mut left) {
            *side = list.next_if(|(there, _)| *there == name).map(|(_, node)| node);
        }
        if let [.., a, b] = sides.as_slice()
            && !a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a.is(b))
            && (a.is_some() || b.is_some())
        {
            different.push((name.clone(), sides.map(|side| side.map(|side| side.node()))));
        }
    }
    Ok(different)
}

/// The names of a directory.
enum Listed {
    Stored(Arc<TreeEntries>),
    Edited(Vec<(Name, TreeNode)>),
}

/// What a name stands for, not taken out of its list.
enum Side<'l> {
    Entry(&'l TreeEntry),
    Node(&'l TreeNode),
}

impl Listed {
    /// In the order of their bytes.
    fn names(&self) -> Box<dyn Iterator<Item = (&Name, Side<'_>)> + '_> {
        match self {
            Listed::Stored(entries) => Box::new(
                entries.by_name().into_iter().map(|entry| (&entry.name, Side::Entry(entry))),
            ),
            Listed::Edited(nodes) => {
                Box::new(nodes.iter().map(|(name, node)| (name, Side::Node(node))))
            }
        }
    }
}

impl Side<'_> {
    /// Whether both are the same without a look into them.
    fn is(&self, other: &Side<'_>) -> bool {
        match (self, other) {
            (Side::Entry(a), Side::Entry(b)) => (a.mode, a.id) == (b.mode, b.id),
            _ => false,
        }
    }

    fn node(&self) -> TreeNode {
        match self {
            Side::Entry(entry) => TreeNode::of(entry),
            Side::Node(node) => (*node).clone(),
        }
    }
}

pub(crate) fn dir(node: Option<&TreeNode>) -> Option<&TreeDir> {
    match node {
        Some(TreeNode::Dir(dir)) => Some(dir),
        _ => None,
    }
}

fn file(node: Option<&TreeNode>) -> Result<Option<FileId>> {
    Ok(match node {
        Some(TreeNode::File(file)) => Some((file.mode, file.content.id()?)),
        Some(TreeNode::Submodule(id)) => Some((EntryMode::Submodule, *id)),
        Some(TreeNode::Dir(_)) | None => None,
    })
}

/// Whether two directories are known to be the same without a look into them.
pub(crate) fn same(a: &TreeDir, b: &TreeDir) -> bool {
    match (a, b) {
        (TreeDir::Stored(a), TreeDir::Stored(b)) => a == b,
        (TreeDir::Edited(a), TreeDir::Edited(b)) if Arc::ptr_eq(a, b) => true,
        _ => a.is_empty() && b.is_empty(),
    }
}

/// Times that bases of bases are merged; a history that crosses more often than that is merged with
/// the newest base there.
const MAX_BASE_MERGES: usize = 32;

/// The tree that two commits came from: of their one lowest common ancestor, or a merge of all of
/// them. `None` if they have nothing in common.
///
/// # Errors
/// [`Error::NotFound`] if one of the two is not there.
pub fn base_tree(objects: &ObjectCache, a: Id, b: Id) -> Result<Option<Tree>> {
    let bases = history::merge_bases(objects, a, b)?;
    Bases { objects, crossings: MAX_BASE_MERGES, done: HashMap::new() }.merged(bases)
}

struct Bases<'o> {
    objects: &'o ObjectCache,
    crossings: usize,
    /// What was merged already: where three branches cross, the same bases are met again and again.
    done: HashMap<Vec<Id>, Tree>,
}

impl Bases<'_> {
    /// One tree of commits of which none came from another.
    fn merged(&mut self, bases: Vec<Id>) -> Result<Option<Tree>> {
        let Some((first, others)) = bases.split_first() else { return Ok(None) };
        if let Some(tree) = self.done.get(&bases) {
            return Ok(Some(tree.clone()));
        }
        let mut merged = self.tree(*first)?;
        if others.is_empty() || self.crossings == 0 {
            return Ok(Some(merged));
        }
        self.crossings -= 1;
        for (count, other) in (1..).zip(others) {
            // Of the base with all that was merged before, not only of the first.
            let before = bases.get(..count).unwrap_or_default();
            let below = history::merge_bases_of(self.objects, before, &[*other])?;
            let below = self.merged(below)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
            // What cannot be merged there is a file that says so, which neither side has: it is a
            // conflict here, too, where both differ.
            let other = self.tree(*other)?;
            merged = merged_by(Names::Any, self.objects, &below, &merged, &other)?.tree;
        }
        // Written, so that directories are known by their names again.
        let mut batch = NewObjects::new();
        let merged = Tree::stored(merged.write(&mut batch)?);
        self.objects.store().write(&batch)?;
        self.done.insert(bases, merged.clone());
        Ok(Some(merged))
    }

    fn tree(&self, commit: Id) -> Result<Tree> {
        Ok(Tree::stored(self.objects.commit(commit)?.tree))
    }
}

#[cfg(test)]
mod tests;
