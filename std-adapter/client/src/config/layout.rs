//! The branches of a configuration.

use crate::db::Path;

/// The branches and the directory that a [`Record`](super::Record) uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) lookup: Vec<String>,
    pub(super) defaults: String,
    pub(super) state: String,
    pub(super) dir: Path,
}

impl Layout {
    /// Returns the default layout. Values are looked up first in the `master` branch and then in
    /// the `defaults` branch. Defaults are written to `defaults`, and the effective values are
    /// written to `state`. In every branch, keys are paths below the `dir` directory.
    #[must_use]
    pub fn new(dir: Path) -> Layout {
        let [master, defaults, state] = ["master", "defaults", "state"].map(str::to_owned);
        Layout { lookup: vec![master, defaults.clone()], defaults, state, dir }
    }

    /// Sets the branches in which values are looked up, in the given order.
    /// [`Record::set`](super::Record::set) writes to the first of these branches.
    #[must_use]
    pub fn lookup<N: Into<String>>(self, branches: impl IntoIterator<Item = N>) -> Layout {
        Layout { lookup: branches.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the branch to which defaults are written.
    #[must_use]
    pub fn defaults(self, branch: impl Into<String>) -> Layout {
        Layout { defaults: branch.into(), ..self }
    }

    /// Sets the branch to which the effective values are written.
    #[must_use]
    pub fn state(self, branch: impl Into<String>) -> Layout {
        Layout { state: branch.into(), ..self }
    }
}
