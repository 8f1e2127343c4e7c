//! The files that represent the elements of a snapshot, such as pull requests and statuses.

use std::collections::{BTreeMap, BTreeSet};

use datakit_client::ByteString;
use datakit_client::db::Path;

use crate::context::{STATE, STATUS_FILES};
use crate::layout::{self, HEAD, Location, locate, number_of, path};
use crate::{
    BranchContent, Comment, Description, DirtyId, Element, ElementId, Hash, Pr, PrId, PrState, Ref,
    Repo, Snapshot, Status, StatusId, StatusState, Text,
};

/// The contents of files, keyed by path.
pub type Files = BTreeMap<Path, Vec<u8>>;

/// Returns the files of a snapshot. A commit without statuses is not represented by any file.
#[must_use]
pub fn print(snapshot: &Snapshot) -> Files {
    let elements: Vec<Element> = snapshot.elements().collect();
    let files = elements.iter().flat_map(files_of);
    files.filter_map(|(path, content)| Some((path, content?))).collect()
}

/// Returns the files of a pull request, status, ref or other element. The content is `None` for a
/// file that must not exist.
pub(crate) fn files_of(element: &Element) -> Vec<(Path, Option<Vec<u8>>)> {
    let dir = layout::dir(&element.id());
    let file = |name: &str, content: Option<Vec<u8>>| (dir.clone().concat(&path([name])), content);
    match element {
        Element::Repo(repo) => vec![(layout::monitor(repo), Some(Vec::new()))],
        Element::Commit(_) => Vec::new(),
        Element::Ref(reference) => vec![file(HEAD, line(&reference.head.to_string()))],
        Element::Status(status) => vec![
            file(STATE, line(status.state.as_str())),
            file("description", status.description.as_deref().and_then(line)),
            file("target_url", status.target_url.as_deref().and_then(line)),
        ],
        Element::Pr(pr) => {
            let mut files = vec![
                file(HEAD, line(&pr.head.to_string())),
                file(STATE, line(pr.state.as_str())),
                file("title", line(&pr.title)),
                file("owner", line(&pr.owner)),
                file("base", line(&pr.base)),
            ];
            for (index, comment) in pr.comments.iter().enumerate() {
                files.extend(files_of_comment(&comment_dir(&pr.id, index), comment));
            }
            files
        }
    }
}

/// Returns the paths of the files that may represent a metadata element. The files that represent
/// comments on a pull request are not included.
pub(crate) fn paths_of(id: &ElementId) -> Vec<Path> {
    let file = |name: &&str| layout::dir(id).concat(&path([name]));
    match id {
        ElementId::Repo(repo) => vec![layout::monitor(repo)],
        ElementId::Commit(_) => Vec::new(),
        ElementId::Ref(_) => vec![file(&HEAD)],
        ElementId::Status(_) => STATUS_FILES.iter().map(file).collect(),
        ElementId::Pr(_) => [HEAD, STATE, "title", "owner", "base"].iter().map(file).collect(),
    }
}

/// Returns the directory that contains a pull request's comments.
pub(crate) fn comments_dir(pr: &PrId) -> Path {
    layout::pr(pr).concat(&path(["comments"]))
}

fn comment_dir(pr: &PrId, index: usize) -> Path {
    comments_dir(pr).concat(&path([index.to_string()]))
}

fn files_of_comment(dir: &Path, comment: &Comment) -> [(Path, Option<Vec<u8>>); 3] {
    let file = |name: &str, content| (dir.clone().concat(&path([name])), content);
    [
        file("id", line(&comment.id.to_string())),
        file("user", line(&comment.user)),
        file("body", Some(comment.body.clone().into_bytes())),
    ]
}

#[allow(clippy::unnecessary_wraps, reason = "all callers need an option")]
fn line(text: &str) -> Option<Vec<u8>> {
    Some(format!("{text}\n").into_bytes())
}

/// The objects represented by files in the branch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Parsed {
    /// All elements, including those of repositories that are not monitored.
    pub all: Snapshot,
    /// The repositories with a `.monitor` file.
    pub monitored: BTreeSet<Repo>,
    /// The `.dirty` files.
    pub dirty: BTreeSet<DirtyId>,
}

impl Parsed {
    /// Parses files. Ignores files that do not represent an object. Omits pull requests, refs and
    /// statuses that lack a required file or have an invalid head.
    #[must_use]
    pub fn new(files: &Files) -> Parsed {
        let mut parsed = Parsed::default();
        let mut prs: BTreeMap<PrId, PrFiles<'_>> = BTreeMap::new();
        let mut statuses: BTreeMap<StatusId, StatusFiles<'_>> = BTreeMap::new();
        for (path, content) in files {
            let names: Vec<ByteString> = path.names().cloned().collect();
            match locate(&names) {
                // The path of a repository's directory has two components. The path of `.monitor`
                // has three components.
                Some(Location::Repo(repo)) if names.len() > 2 => {
                    parsed.all.insert(repo.clone());
                    parsed.monitored.insert(repo);
                }
                Some(Location::Dirty(id)) => drop(parsed.dirty.insert(id)),
                Some(Location::Pr(id, names)) => {
                    prs.entry(id).or_default().add(names, content);
                }
                Some(Location::Status(id, file)) => {
                    statuses.entry(id).or_default().add(file, content);
                }
                Some(Location::Ref(id, file)) if *file == HEAD => {
                    if let Ok(head) = Hash::parse(text(content)) {
                        parsed.all.insert(Ref { id, head });
                    } else {
                        tracing::debug!(ref_id = %id, "ignored a ref with an invalid head");
                    }
                }
                _ => {}
            }
        }
        prs.into_iter()
            .filter_map(|(id, files)| files.parse(id))
            .for_each(|pr| parsed.all.insert(pr));
        let statuses = statuses.into_iter().filter_map(|(id, files)| files.parse(id));
        statuses.for_each(|status| parsed.all.insert(status));
        parsed
    }

    /// Removes everything that belongs to an unmonitored repository, except for the repository's
    /// own `.dirty` file.
    #[must_use]
    pub fn into_content(self) -> BranchContent {
        let Parsed { all: mut snapshot, monitored, mut dirty } = self;
        let others: Vec<ElementId> =
            snapshot.repos().difference(&monitored).cloned().map(ElementId::Repo).collect();
        snapshot.remove(&others);
        dirty.retain(|id| matches!(id, DirtyId::Repo(_)) || monitored.contains(id.repo()));
        BranchContent { snapshot, dirty, oversized: BTreeMap::new() }
    }
}

/// Returns the content as text without leading and trailing white space. Replaces invalid UTF-8
/// with U+FFFD.
fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).trim().to_owned()
}

/// The files of a pull request.
#[derive(Default)]
struct PrFiles<'f> {
    own: BTreeMap<Vec<u8>, &'f [u8]>,
    comments: BTreeMap<u64, BTreeMap<Vec<u8>, &'f [u8]>>,
}

impl<'f> PrFiles<'f> {
    /// Adds the file whose path relative to the pull request's directory is `names`.
    fn add(&mut self, names: &[ByteString], content: &'f [u8]) {
        match names {
            [file] => drop(self.own.insert(file.as_bytes().to_vec(), content)),
            [dir, index, file] if *dir == "comments" => {
                if let Some(index) = number_of(index) {
                    let files = self.comments.entry(index).or_default();
                    files.insert(file.as_bytes().to_vec(), content);
                }
            }
            _ => {}
        }
    }

    fn parse(&self, id: PrId) -> Option<Pr> {
        let own = |name: &str| self.own.get(name.as_bytes()).map(|content| text(content));
        let comments = self.comments.values().filter_map(|files| {
            let file = |name: &str| files.get(name.as_bytes()).copied();
            Some(Comment {
                id: text(file("id")?).parse().ok()?,
                user: text(file("user")?).into(),
                body: String::from_utf8_lossy(file("body").unwrap_or_default()).into_owned(),
            })
        });
        Some(Pr {
            id,
            head: Hash::parse(own(HEAD)?).ok()?,
            state: PrState::parse(&own(STATE)?),
            title: own("title").unwrap_or_default().into(),
            owner: own("owner")?.into(),
            base: own("base").unwrap_or_else(|| Pr::DEFAULT_BASE.to_owned()).into(),
            comments: comments.collect(),
        })
    }
}

/// The files of a status.
#[derive(Default)]
struct StatusFiles<'f> {
    state: Option<&'f [u8]>,
    description: Option<&'f [u8]>,
    target_url: Option<&'f [u8]>,
}

impl<'f> StatusFiles<'f> {
    fn add(&mut self, file: &ByteString, content: &'f [u8]) {
        match file.as_bytes() {
            b"state" => self.state = Some(content),
            b"description" => self.description = Some(content),
            _ => self.target_url = Some(content),
        }
    }

    fn parse(&self, id: StatusId) -> Option<Status> {
        Some(Status {
            id,
            state: StatusState::parse(&text(self.state?)),
            description: self.description.map(|content| Description::from(&*text(content))),
            target_url: self.target_url.map(|content| Text::from(text(content))),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies::stored_snapshot;

    proptest! {
        #[test]
        fn parsing_inverts_printing(snapshot in stored_snapshot()) {
            let files = print(&snapshot);
            let parsed = Parsed::new(&files);
            prop_assert_eq!(&parsed.all, &snapshot);
            prop_assert_eq!(&parsed.monitored, snapshot.repos());
            prop_assert_eq!(print(&parsed.into_content().snapshot), files);
        }
    }

    fn parse(files: &[(&str, &str)]) -> Parsed {
        let files = files
            .iter()
            .map(|(path, content)| (path.parse().unwrap(), content.as_bytes().to_vec()));
        Parsed::new(&files.collect())
    }

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn incomplete_elements_do_not_exist() {
        let commit = format!("a/b/commit/{HASH}/status");
        let parsed = parse(&[
            ("a/b/.monitor", ""),
            ("a/b/pr/1/head", HASH),
            ("a/b/pr/1/state", "open"),
            ("a/b/pr/2/head", "abc"),
            ("a/b/pr/2/state", "open"),
            ("a/b/pr/2/owner", "me"),
            ("a/b/ref/heads/x/other", HASH),
            ("a/b/ref/heads/y/head", "not a hash"),
            (&format!("{commit}/x/description"), "text"),
        ]);
        let repo: Repo = "a/b".parse().unwrap();
        assert_eq!(parsed.into_content().snapshot, [repo].into_iter().collect());
    }

    #[test]
    fn values_have_defaults() {
        let parsed = parse(&[
            ("a/b/pr/3/head", HASH),
            ("a/b/pr/3/state", " merged\n"),
            ("a/b/pr/3/owner", " me\n"),
            ("a/b/pr/3/comments/0/id", "0\n"),
            ("a/b/pr/3/comments/0/user", "me\n"),
            ("a/b/pr/3/comments/0/body", " verbatim\n\n"),
            ("a/b/pr/3/comments/1/id", "x"),
            ("a/b/pr/3/comments/1/user", "me"),
            ("a/b/pr/3/comments/2/id", "4"),
            ("a/b/pr/3/comments/10/id", "12"),
            ("a/b/pr/3/comments/10/user", "you"),
            (&format!("a/b/commit/{HASH}/status/x/state"), "unknown"),
        ]);
        let pr = parsed.all.prs().values().next().unwrap();
        assert_eq!(
            (pr.state, &*pr.title, &*pr.owner, &*pr.base),
            (PrState::Closed, "", "me", "master")
        );
        let comments: Vec<_> = pr
            .comments
            .iter()
            .map(|comment| (comment.id, &*comment.user, &*comment.body))
            .collect();
        assert_eq!(comments, [(0, "me", " verbatim\n\n"), (12, "you", "")]);
        let status = parsed.all.statuses().values().next().unwrap();
        assert_eq!((status.state, &status.description), (StatusState::Failure, &None));
        // The state is empty because the repository is not monitored.
        assert_eq!(parsed.into_content(), BranchContent::default());
    }

    #[test]
    fn only_repositories_can_be_dirty_without_being_monitored() {
        let parsed = parse(&[
            ("a/b/.dirty", ""),
            ("a/b/pr/1/.dirty", ""),
            ("c/d/.monitor", ""),
            ("c/d/ref/heads/x/.dirty", ""),
        ]);
        let dirty: Vec<String> =
            parsed.into_content().dirty.iter().map(|id| layout::dirty(id).to_string()).collect();
        assert_eq!(dirty, ["a/b/.dirty", "c/d/ref/heads/x/.dirty"]);
    }
}
