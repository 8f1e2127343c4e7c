//! Reads snapshots from a database tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use datakit_client::ByteString;
use datakit_client::db::{Content, Error, Path, Result, TreeOps};
use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};

use crate::layout::{self, DIRTY, Location, MONITOR, path};
use crate::{Changes, DirtyId, ElementId, Files, Parsed, Ref, Repo, Snapshot, files};

/// The maximum size of a file in bytes. Larger files are not read. The longest files that GitHub
/// produces are the comments on pull requests, which can be up to 256 KiB long.
pub const FILE_MAX: u64 = 1 << 20;

/// The number of files that are read or written concurrently. By default, a server processes this
/// many requests concurrently per connection.
pub(crate) const CONCURRENCY: usize = 64;

/// The state of the branch at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BranchContent {
    /// The commits, pull requests, refs and statuses of the monitored repositories.
    pub snapshot: Snapshot,
    /// The `.dirty` files. Includes a repository's `.dirty` file even if the repository is not
    /// monitored.
    pub dirty: BTreeSet<DirtyId>,
    /// The elements with a file that was not read because it is larger than [`FILE_MAX`]. If an
    /// element does not require the file, the element is also part of the snapshot. The state
    /// returned by [`update`] contains only the elements that changed.
    pub oversized: BTreeMap<ElementId, OversizedFile>,
}

/// A file that was not read because it is larger than [`FILE_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OversizedFile {
    /// The path.
    pub path: Path,
    /// The size in bytes.
    pub size: u64,
}

impl fmt::Display for OversizedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OversizedFile { path, size } = self;
        write!(f, "the metadata file {path} has {size} bytes; the limit is {FILE_MAX}")
    }
}

/// The files found by [`read_files`].
#[derive(Default)]
struct Found {
    files: Files,
    oversized: BTreeMap<ElementId, OversizedFile>,
}

impl Found {
    fn extend(&mut self, other: Found) {
        self.files.extend(other.files);
        self.oversized.extend(other.oversized);
    }

    fn add_oversized(&mut self, file: OversizedFile) {
        tracing::warn!("{file}; it is ignored");
        let names: Vec<_> = file.path.names().cloned().collect();
        if let Some(id) = layout::locate(&names).and_then(Location::element) {
            self.oversized.insert(id, file);
        }
    }
}

/// Reads the state of the branch from a tree. Only monitored repositories are read in full.
///
/// # Errors
/// Returns the first error that the database reports, for example if the connection is lost.
pub async fn read<T: TreeOps>(tree: &T) -> Result<BranchContent> {
    let mut users = Vec::new();
    for user in tree.read_dir(&Path::ROOT).await? {
        users.push(read_repos(tree, user));
    }
    let repos: Vec<Vec<Repo>> = stream::iter(users).buffered(CONCURRENCY).try_collect().await?;
    let repos: Vec<Repo> = repos.into_iter().flatten().collect();
    let marks = repos
        .iter()
        .flat_map(|repo| [MONITOR, DIRTY].map(|mark| layout::repo(repo).concat(&path([mark]))));
    let mut found = read_files(tree, marks.collect()).await?;
    let monitored = Parsed::new(&found.files).monitored;
    found.extend(read_files(tree, monitored.iter().flat_map(contents).collect()).await?);
    let content = Parsed::new(&found.files).into_content();
    Ok(BranchContent { oversized: found.oversized, ..content })
}

/// Returns the repositories in a user's directory, or no repositories if the path is not a
/// directory.
async fn read_repos<T: TreeOps>(tree: &T, user: ByteString) -> Result<Vec<Repo>> {
    let names = match tree.read_dir(&path([&user])).await {
        Ok(names) => names,
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = names.iter().filter_map(|name| name.to_str());
    Ok(names.filter_map(|name| Repo::new(user.to_str()?, name).ok()).collect())
}

/// Returns the directories that contain a repository's data.
fn contents(repo: &Repo) -> impl Iterator<Item = Path> {
    let dirs = [&["pr"][..], &["commit"], &["ref", "heads"], &["ref", "tags"]];
    dirs.into_iter().map(|names| layout::repo(repo).concat(&path(names)))
}

/// Reads the branches and tags of a repository. The repository does not have to be monitored.
///
/// # Errors
/// Returns the first error that the database reports, for example if the connection is lost.
pub async fn read_refs<T: TreeOps>(tree: &T, repo: &Repo) -> Result<Vec<Ref>> {
    let dir = layout::repo(repo).concat(&path(["ref"]));
    let parsed = Parsed::new(&read_files(tree, vec![dir]).await?.files);
    Ok(parsed.all.refs().values().cloned().collect())
}

/// Reads the state of the branch, but fetches only the metadata elements that changed since `old`
/// was read. Returns the same result as [`read`], except that [`BranchContent::dirty`] contains
/// only the `.dirty` files that were added since `old` was read.
///
/// `changes` must contain the changes between the commit from which `old` was read and the commit
/// to which `tree` belongs.
///
/// # Errors
/// Returns the first error that the database reports, for example if the connection is lost.
pub async fn update<T: TreeOps>(
    old: &Snapshot,
    tree: &T,
    changes: &Changes,
) -> Result<BranchContent> {
    // Read everything in these repositories, because their `.monitor` files may have changed.
    let reread: BTreeSet<&Repo> = changes.ids.iter().filter_map(as_repo).collect();
    let marks = reread.iter().map(|repo| layout::monitor(repo));
    let mut found = read_files(tree, marks.collect()).await?;
    let mut monitored = Parsed::new(&found.files).monitored;
    let mut roots: Vec<Path> = monitored.iter().flat_map(contents).collect();
    let stays = |repo: &Repo| old.repos().contains(repo) && !reread.contains(repo);
    let changed = changes.ids.iter().filter(|id| stays(id.repo()));
    roots.extend(changed.clone().flat_map(roots_of));
    found.extend(read_files(tree, roots).await?);

    let mut snapshot = old.clone();
    snapshot.remove(&changes.ids);
    let parsed = Parsed::new(&found.files);
    snapshot.extend(parsed.all);
    let touched: BTreeSet<&Repo> = changed.map(ElementId::repo).collect();
    touched.into_iter().for_each(|repo| snapshot.remove_bare_commits(repo));

    monitored.extend(old.repos().iter().filter(|repo| stays(repo)).cloned());
    let dirty = changes.dirty.iter().cloned().chain(parsed.dirty);
    let known = |id: &DirtyId| matches!(id, DirtyId::Repo(_)) || monitored.contains(id.repo());
    let dirty = dirty.filter(known).collect();
    Ok(BranchContent { snapshot, dirty, oversized: found.oversized })
}

fn as_repo(id: &ElementId) -> Option<&Repo> {
    match id {
        ElementId::Repo(repo) => Some(repo),
        _ => None,
    }
}

/// Returns the files and directories that represent a metadata element.
fn roots_of(id: &ElementId) -> Vec<Path> {
    match id {
        ElementId::Pr(_) | ElementId::Commit(_) => vec![layout::dir(id)],
        // List the files separately, because their directory may also contain other refs and
        // statuses.
        ElementId::Ref(_) | ElementId::Status(_) | ElementId::Repo(_) => files::paths_of(id),
    }
}

/// Reads files and (recursively) directories, using many concurrent requests. Omits paths that do
/// not exist.
async fn read_files<T: TreeOps>(tree: &T, mut waiting: Vec<Path>) -> Result<Found> {
    let mut running = FuturesUnordered::new();
    let mut found = Found::default();
    loop {
        while running.len() < CONCURRENCY
            && let Some(path) = waiting.pop()
        {
            running.push(read_entry(tree, path));
        }
        let Some(entry) = running.next().await else { return Ok(found) };
        match entry? {
            (path, Some(Entry::Content(Content::File(content)))) => {
                found.files.insert(path, content);
            }
            (path, Some(Entry::Oversized(size))) => {
                found.add_oversized(OversizedFile { path, size });
            }
            (dir, Some(Entry::Content(Content::Dir(names)))) => {
                for name in names {
                    waiting.push(dir.clone().join(name)?);
                }
            }
            (_, Some(Entry::Content(Content::Link(_))) | None) => {}
        }
    }
}

/// An entry of the tree.
enum Entry {
    Content(Content),
    /// The size of a file that is larger than [`FILE_MAX`].
    Oversized(u64),
}

/// Reads a single entry. The result is `None` if the entry does not exist.
async fn read_entry<T: TreeOps>(tree: &T, path: Path) -> Result<(Path, Option<Entry>)> {
    match tree.read_up_to(&path, FILE_MAX).await {
        Ok(content) => Ok((path, Some(Entry::Content(content)))),
        Err(Error::FileTooLong { size, .. }) => Ok((path, Some(Entry::Oversized(size)))),
        Err(error) if error.is_absent() => Ok((path, None)),
        Err(error) => Err(error),
    }
}
