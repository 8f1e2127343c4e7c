//! Counts logins for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The login counts since the server was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginCounts {
    /// Successful logins with a password.
    pub local_ok: u64,
    /// Rejected logins with a password.
    pub local_rejected: u64,
    /// Successful logins through GitHub.
    pub github_ok: u64,
    /// Rejected logins through GitHub.
    pub github_rejected: u64,
}

#[derive(Debug, Default)]
pub(super) struct LoginCounters {
    local: LoginCounter,
    github: LoginCounter,
}

/// The numbers of successful and rejected logins.
#[derive(Debug, Default)]
struct LoginCounter {
    ok: AtomicU64,
    rejected: AtomicU64,
}

impl LoginCounter {
    fn add(&self, ok: bool) {
        let counter = if ok { &self.ok } else { &self.rejected };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl LoginCounters {
    /// Counts a login with a password.
    pub(super) fn add_local(&self, ok: bool) {
        self.local.add(ok);
    }

    /// Counts a login through GitHub.
    pub(super) fn add_github(&self, ok: bool) {
        self.github.add(ok);
    }

    pub(super) fn get(&self) -> LoginCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoginCounts {
            local_ok: load(&self.local.ok),
            local_rejected: load(&self.local.rejected),
            github_ok: load(&self.github.ok),
            github_rejected: load(&self.github.rejected),
        }
    }
}
