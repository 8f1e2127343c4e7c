//! The identities of API callers.

/// An API caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Actor {
    /// A caller without a token.
    Anonymous,
    /// A person, with a flag that is set if the person's token is read-only.
    User(String, bool),
    /// An installation of a GitHub App on an account.
    Installation(u64),
    /// A GitHub App that authenticates with its own token.
    App(u64),
}
