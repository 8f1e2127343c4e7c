//! Targets: the pull requests, branches and tags that the CI tests.

use std::fmt;
use std::str::FromStr;

use datakit_github::{Commit, ElementId, PrId, PrState, RefId, RefName, Repo, Snapshot};

/// A pull request, branch or tag.
///
/// ```
/// # use datakit_ci::Target;
/// for text in ["me/app/prs/7", "me/app/heads/fix/c++", "me/app/tags/v1.0"] {
///     assert_eq!(text.parse::<Target>()?.to_string(), text);
/// }
/// assert_eq!(
///     "me/app/7".parse::<Target>().unwrap_err().to_string(),
///     "invalid target \"me/app/7\": expected USER/REPO/prs/N, USER/REPO/heads/NAME or \
///      USER/REPO/tags/NAME"
/// );
/// # Ok::<(), datakit_ci::InvalidTarget>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A pull request.
    Pr(PrId),
    /// A branch or tag.
    Ref(RefId),
}

impl Target {
    /// Returns the repository.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        match self {
            Target::Pr(id) => &id.repo,
            Target::Ref(id) => &id.repo,
        }
    }

    /// Returns the target with the given id in the metadata branch, or `None` if the id belongs to
    /// something other than a target, such as a status.
    pub(crate) fn of(element: &ElementId) -> Option<Target> {
        match element {
            ElementId::Pr(id) => Some(Target::Pr(id.clone())),
            ElementId::Ref(id) => Some(Target::Ref(id.clone())),
            _ => None,
        }
    }

    /// Returns the id of the target in the metadata branch.
    #[must_use]
    pub fn element(&self) -> ElementId {
        match self {
            Target::Pr(id) => id.clone().into(),
            Target::Ref(id) => id.clone().into(),
        }
    }

    /// Returns the commit to test, or `None` if the target does not exist or is a closed pull
    /// request.
    #[must_use]
    pub fn head(&self, snapshot: &Snapshot) -> Option<Commit> {
        match self {
            Target::Pr(id) => {
                let pr = snapshot.prs().get(id)?;
                (pr.state == PrState::Open).then(|| pr.commit())
            }
            Target::Ref(id) => Some(snapshot.refs().get(id)?.commit()),
        }
    }

    /// Returns the title of a pull request, or `None` for a branch or tag.
    #[must_use]
    pub fn title(&self, snapshot: &Snapshot) -> Option<String> {
        let Target::Pr(id) = self else { return None };
        Some(snapshot.prs().get(id)?.title.to_string())
    }

    /// Returns all open pull requests, branches and tags of a repository.
    pub fn all_of<'s>(
        snapshot: &'s Snapshot,
        repo: &'s Repo,
    ) -> impl Iterator<Item = Target> + use<'s> {
        let prs = snapshot.prs_of(repo).filter(|pr| pr.state == PrState::Open);
        let prs = prs.map(|pr| Target::Pr(pr.id.clone()));
        prs.chain(snapshot.refs_of(repo).map(|reference| Target::Ref(reference.id.clone())))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Pr(id) => write!(f, "{}/prs/{}", id.repo, id.number),
            Target::Ref(id) => write!(f, "{}/{}", id.repo, id.name),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Target, InvalidTarget> {
        let invalid = |reason: String| InvalidTarget { text: text.to_owned(), reason };
        let mut parts = text.splitn(3, '/');
        let (Some(user), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid(EXPECTED.to_owned()));
        };
        let repo = Repo::new(user, name).map_err(|error| invalid(error.to_string()))?;
        if let Some(number) = rest.strip_prefix("prs/") {
            let number = number
                .parse()
                .map_err(|_| invalid(format!("`{number}` is not a pull request number")))?;
            return Ok(Target::Pr(PrId { repo, number }));
        }
        if !rest.starts_with("heads/") && !rest.starts_with("tags/") {
            return Err(invalid(EXPECTED.to_owned()));
        }
        let name = RefName::parse(rest).map_err(|error| invalid(error.to_string()))?;
        Ok(Target::Ref(RefId { repo, name }))
    }
}

const EXPECTED: &str = "expected USER/REPO/prs/N, USER/REPO/heads/NAME or USER/REPO/tags/NAME";

/// The error returned if a string is not a valid target name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidTarget {
    /// The text.
    pub text: String,
    /// The rule that the string violates.
    pub reason: String,
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid target {:?}: {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidTarget {}
