//! The callers of the API.

/// The caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Actor {
    /// A caller without a token.
    Anonymous,
    /// A person, and whether the token may only read.
    User(String, bool),
    /// A GitHub App in one account.
    Installation(u64),
    /// A GitHub App that speaks for itself.
    App(u64),
}
