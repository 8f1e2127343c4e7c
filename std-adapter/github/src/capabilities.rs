//! The operations that a bridge may perform, written as text such as `*:r,status[ci/datakit]:x`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::ElementId;

/// An operation on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Own the resource. When the bridge starts, it updates GitHub to match the branch. This
    /// operation implies the other two.
    Exclusive,
    /// Read from GitHub.
    Read,
    /// Write to GitHub.
    Write,
}

impl Op {
    /// All operations, in the order in which they are printed.
    pub const ALL: [Op; 3] = [Op::Exclusive, Op::Read, Op::Write];

    /// Returns `x`, `r` or `w`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Op::Exclusive => 'x',
            Op::Read => 'r',
            Op::Write => 'w',
        }
    }
}

/// A set of operations. A set that contains [`Op::Exclusive`] also contains the other two
/// operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Ops {
    exclusive: bool,
    read: bool,
    write: bool,
}

impl Ops {
    /// Returns whether the set contains an operation.
    #[must_use]
    pub fn contains(self, op: Op) -> bool {
        match op {
            Op::Exclusive => self.exclusive,
            Op::Read => self.read,
            Op::Write => self.write,
        }
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Ops::default()
    }

    fn parse(text: &str) -> Option<Ops> {
        let ops: Option<Vec<Op>> = text
            .chars()
            .map(|letter| Op::ALL.into_iter().find(|op| op.letter() == letter))
            .collect();
        Some(ops?.into_iter().collect())
    }
}

impl FromIterator<Op> for Ops {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Ops {
        ops.into_iter().fold(Ops::default(), |ops, op| Ops {
            exclusive: ops.exclusive || op == Op::Exclusive,
            read: ops.read || op != Op::Write,
            write: ops.write || op != Op::Read,
        })
    }
}

impl fmt::Display for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops = Op::ALL.into_iter().filter(|op| self.contains(*op));
        f.pad(&ops.map(Op::letter).collect::<String>())
    }
}

/// A kind of object to which operations apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Repositories. The prefix is empty, `USER` or `USER/REPO`.
    Repo(Prefix),
    /// Pull requests.
    Pr,
    /// Commits. Reading statuses requires permission to read commits.
    Commit,
    /// Statuses whose context begins with the given prefix.
    Status(Prefix),
    /// Branches and tags.
    Ref,
    /// Webhooks.
    Webhook,
}

/// The leading components of a name. Every name begins with the empty prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Prefix(Vec<String>);

impl Prefix {
    /// Parses components separated by slashes. Returns `None` if a component is empty or the text
    /// contains a bracket.
    #[must_use]
    pub fn parse(text: &str) -> Option<Prefix> {
        let components: Vec<String> = text.split('/').map(str::to_owned).collect();
        let valid = !text.contains(['[', ']']) && components.iter().all(|name| !name.is_empty());
        valid.then_some(Prefix(components))
    }

    /// Returns whether a name with these components begins with the prefix.
    fn matches<'n>(&self, mut components: impl Iterator<Item = &'n str>) -> bool {
        self.0.iter().all(|name| components.next() == Some(name))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "[{}]", self.0.join("/")) }
    }
}

impl Resource {
    fn parse(text: &str) -> Option<Resource> {
        let (kind, prefix) = match text.split_once('[') {
            Some((kind, rest)) => (kind, Some(Prefix::parse(rest.strip_suffix(']')?)?)),
            None => (text, None),
        };
        match (kind, prefix) {
            ("repo", prefix) if prefix.as_ref().is_none_or(|prefix| prefix.0.len() <= 2) => {
                Some(Resource::Repo(prefix.unwrap_or_default()))
            }
            ("status", prefix) => Some(Resource::Status(prefix.unwrap_or_default())),
            ("pr", None) => Some(Resource::Pr),
            ("commit", None) => Some(Resource::Commit),
            ("ref", None) => Some(Resource::Ref),
            ("webhook", None) => Some(Resource::Webhook),
            _ => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Repo(prefix) => write!(f, "repo{prefix}"),
            Resource::Pr => f.write_str("pr"),
            Resource::Commit => f.write_str("commit"),
            Resource::Status(prefix) => write!(f, "status{prefix}"),
            Resource::Ref => f.write_str("ref"),
            Resource::Webhook => f.write_str("webhook"),
        }
    }
}

/// The operations that are allowed for each resource.
///
/// The text form is a list of `RESOURCE:OPS`, separated by commas. RESOURCE is `*` (the default),
/// `repo`, `repo[USER/REPO]`, `pr`, `commit`, `status`, `status[CONTEXT]`, `ref` or `webhook`. OPS
/// consists of any of the letters `r` (read from GitHub), `w` (write to GitHub) and `x` (the branch
/// owns the resource; implies `r` and `w`), and may be empty. If multiple prefixes match, the
/// longest one applies. Resources that are not listed have the default operations. If there is no
/// default, no operations are allowed on unlisted resources.
///
/// ```
/// # use datakit_github::Capabilities;
/// # use datakit_github::capabilities::Op;
/// # use datakit_github::{Commit, ElementId, Hash, StatusId};
/// let capabilities: Capabilities = "*:r,status[ci/datakit]:x".parse()?;
/// assert_eq!(capabilities.to_string(), "*:r,status[ci/datakit]:xrw");
///
/// let commit = Commit { repo: "me/x".parse()?, hash: Hash::parse("0".repeat(40))? };
/// let status = |context: &str| {
///     Ok::<_, datakit_github::InvalidName>(ElementId::from(StatusId {
///         commit: commit.clone(),
///         context: context.parse()?,
///     }))
/// };
/// assert!(capabilities.allow(Op::Write, &status("ci/datakit/build")?));
/// assert!(!capabilities.allow(Op::Write, &status("ci/datakit2")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    default: Ops,
    others: BTreeMap<Resource, Ops>,
}

impl Capabilities {
    /// Returns capabilities that allow the given operations on every resource.
    #[must_use]
    pub fn all(ops: Ops) -> Capabilities {
        Capabilities { default: ops, others: BTreeMap::new() }
    }

    /// Sets the operations for a resource.
    #[must_use]
    pub fn with(mut self, resource: Resource, ops: Ops) -> Capabilities {
        self.others.insert(resource, ops);
        self
    }

    /// Returns whether an operation is allowed for a metadata element, such as a status. Reading a
    /// status also requires permission to read commits.
    #[must_use]
    pub fn allow(&self, op: Op, id: &ElementId) -> bool {
        let ops = match id {
            ElementId::Repo(repo) => self.longest(|resource| match resource {
                Resource::Repo(prefix) => Some(prefix)
                    .filter(|prefix| prefix.matches([repo.user(), repo.name()].into_iter())),
                _ => None,
            }),
            ElementId::Pr(_) => self.ops(&Resource::Pr),
            ElementId::Commit(_) => self.ops(&Resource::Commit),
            ElementId::Ref(_) => self.ops(&Resource::Ref),
            ElementId::Status(status) => {
                let ops = self.longest(|resource| match resource {
                    Resource::Status(prefix) => {
                        Some(prefix).filter(|prefix| prefix.matches(status.context.components()))
                    }
                    _ => None,
                });
                if op == Op::Read && !self.ops(&Resource::Commit).contains(Op::Read) {
                    return false;
                }
                ops
            }
        };
        ops.contains(op)
    }

    /// Returns whether an operation is allowed for webhooks.
    #[must_use]
    pub fn allow_webhook(&self, op: Op) -> bool {
        self.ops(&Resource::Webhook).contains(op)
    }

    fn ops(&self, resource: &Resource) -> Ops {
        self.others.get(resource).copied().unwrap_or(self.default)
    }

    /// Returns the operations allowed for the matching resource with the longest prefix.
    fn longest<'c>(&'c self, matching: impl Fn(&'c Resource) -> Option<&'c Prefix>) -> Ops {
        let matches =
            self.others.iter().filter_map(|(resource, ops)| Some((matching(resource)?, ops)));
        let longest = matches.max_by_key(|(prefix, _)| prefix.0.len());
        longest.map_or(self.default, |(_, ops)| *ops)
    }
}

/// The error returned when text does not describe valid capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCapabilities {
    /// An entry has no colon.
    MissingColon(String),
    /// The text before the colon is not a resource.
    Resource(String),
    /// The text after the colon contains a letter other than `r`, `w` and `x`.
    Ops(String),
}

impl fmt::Display for InvalidCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidCapabilities::MissingColon(text) => write!(f, "{text}: missing ':'"),
            InvalidCapabilities::Resource(text) => write!(f, "{text}: invalid resource"),
            InvalidCapabilities::Ops(text) => write!(f, "{text}: invalid capacities"),
        }
    }
}

impl std::error::Error for InvalidCapabilities {}

impl FromStr for Capabilities {
    type Err = InvalidCapabilities;

    fn from_str(text: &str) -> Result<Capabilities, InvalidCapabilities> {
        let mut capabilities = Capabilities::default();
        for entry in entries(text) {
            let (resource, ops) = entry
                .rsplit_once(':')
                .filter(|(_, ops)| !ops.contains(']'))
                .ok_or_else(|| InvalidCapabilities::MissingColon(entry.to_owned()))?;
            let parsed = Ops::parse(ops).ok_or_else(|| InvalidCapabilities::Ops(ops.to_owned()));
            if resource == "*" {
                capabilities.default = parsed?;
            } else {
                let resource = Resource::parse(resource)
                    .ok_or_else(|| InvalidCapabilities::Resource(resource.to_owned()))?;
                capabilities.others.insert(resource, parsed?);
            }
        }
        Ok(capabilities)
    }
}

/// Splits a list at commas outside brackets and trims white space around the entries.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    let mut in_brackets = false;
    let entries = text.split(move |letter| {
        in_brackets = letter == '[' || in_brackets && letter != ']';
        letter == ',' && !in_brackets
    });
    let is_empty = text.trim().is_empty();
    entries.map(str::trim).filter(move |_| !is_empty)
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = (!self.default.is_empty()).then(|| format!("*:{}", self.default));
        let others = self.others.iter().map(|(resource, ops)| format!("{resource}:{ops}"));
        let entries: Vec<String> = default.into_iter().chain(others).collect();
        f.pad(&entries.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::{Commit, Context, Hash, PrId, RefId, Repo, StatusId};

    fn capabilities() -> impl Strategy<Value = Capabilities> {
        let ops = || subsequence(Op::ALL.to_vec(), 0..=3).prop_map(Ops::from_iter);
        let resources = [
            "repo",
            "repo[a]",
            "repo[a/b]",
            "pr",
            "commit",
            "status",
            "status[x]",
            "status[x/y]",
            "status[a, b:c]",
            "ref",
            "webhook",
        ];
        let resource = select(resources.map(|text| Resource::parse(text).unwrap()).to_vec());
        let others = proptest::collection::btree_map(resource, ops(), 0..6);
        (ops(), others).prop_map(|(default, others)| Capabilities { default, others })
    }

    proptest! {
        #[test]
        fn parsing_inverts_printing(capabilities in capabilities()) {
            let text = capabilities.to_string();
            prop_assert_eq!(text.parse(), Ok(capabilities), "{}", text);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-z*:,/\\[\\] ]*") {
            if let Ok(capabilities) = text.parse::<Capabilities>() {
                prop_assert_eq!(capabilities.to_string().parse(), Ok(capabilities));
            }
        }
    }

    fn allowed(capabilities: &str, id: &ElementId) -> String {
        let capabilities: Capabilities = capabilities.parse().unwrap();
        let ops = Op::ALL.into_iter().filter(|op| capabilities.allow(*op, id));
        ops.map(Op::letter).collect()
    }

    #[test]
    fn the_longest_prefix_decides() {
        let repo: Repo = "a/b".parse().unwrap();
        for (text, ops) in [
            ("", ""),
            ("*:r", "r"),
            ("*:rw,repo:r", "r"),
            ("repo[a]:r,repo:w", "r"),
            ("repo[a/b]:,repo[a]:r,repo:w", ""),
            ("repo[b]:r,repo:w", "w"),
            ("repo[a/c]:rw", ""),
            ("*:x", "xrw"),
            ("*:r,*:w", "w"),
        ] {
            assert_eq!(allowed(text, &repo.clone().into()), ops, "{text}");
        }
        let commit = Commit { repo, hash: Hash::parse("0".repeat(40)).unwrap() };
        let status =
            |context| StatusId { commit: commit.clone(), context: Context::new(context).unwrap() };
        for (text, context, ops) in [
            ("*:rw,status:r", "x", "r"),
            ("*:rw,status[x/y]:x,status[x]:r", "x/y/z", "xrw"),
            ("*:rw,status[x/y]:x,status[x]:r", "x/z", "r"),
            ("*:rw,status[x/y]:x,status[x]:r", "xy", "rw"),
            ("status:rw", "x", "w"),
            ("status:rw,commit:r", "x", "rw"),
        ] {
            assert_eq!(allowed(text, &status(context).into()), ops, "{text} {context}");
        }
    }

    #[test]
    fn each_kind_has_its_own_entry() {
        let repo: Repo = "a/b".parse().unwrap();
        let pr = PrId { repo: repo.clone(), number: 1 };
        let reference = RefId { repo, name: "tags/x".parse().unwrap() };
        let text = "*:r,pr:rw,ref:x,webhook:w";
        assert_eq!(allowed(text, &pr.into()), "rw");
        assert_eq!(allowed(text, &reference.into()), "xrw");
        let capabilities: Capabilities = text.parse().unwrap();
        assert!(capabilities.allow_webhook(Op::Write) && !capabilities.allow_webhook(Op::Read));
        assert!(Capabilities::all([Op::Read].into_iter().collect()).allow_webhook(Op::Read));
    }

    #[test]
    fn errors_quote_the_text() {
        for (text, error) in [
            ("pr", "pr: missing ':'"),
            ("*:rw,pr", "pr: missing ':'"),
            ("*:rw,", ": missing ':'"),
            ("status[a:b]", "status[a:b]: missing ':'"),
            ("prs:r", "prs: invalid resource"),
            ("pr[a/b]:r", "pr[a/b]: invalid resource"),
            ("repo[a/b/c]:r", "repo[a/b/c]: invalid resource"),
            ("status[]:r", "status[]: invalid resource"),
            ("status[a:r", "status[a: invalid resource"),
            ("*:rq", "rq: invalid capacities"),
        ] {
            assert_eq!(text.parse::<Capabilities>().unwrap_err().to_string(), error, "{text}");
        }
    }
}
