//! Everything that the fake knows: accounts, tokens, apps and repositories.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::faults::Faults;
use super::limits::Limits;
use super::log::Log;
use super::outbox::Outbox;
use super::repo::Repo;
use super::urls::Urls;

/// Bounds on the number of objects, so a client in a loop cannot exhaust the memory.
pub(crate) mod most {
    pub(crate) const REPOS: usize = 1_000;
    pub(crate) const REFS: usize = 50_000;
    pub(crate) const COMMITS: usize = 200_000;
    pub(crate) const PULLS: usize = 20_000;
    pub(crate) const COMMENTS: usize = 50_000;
    pub(crate) const RUNS: usize = 50_000;
    pub(crate) const TOKENS: usize = 10_000;
}

/// A user or an organisation.
#[derive(Clone, Debug)]
pub struct User {
    /// The number that GitHub gives to every account.
    pub id: u64,
    /// The name of the account.
    pub login: String,
}

/// A token of a person or of an installation.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) owner: TokenOwner,
    pub(crate) expires: Option<i64>,
    pub(crate) read_only: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum TokenOwner {
    User(String),
    Installation(u64),
}

/// A GitHub App.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) owner: String,
    /// The RSA public key, in the form of PKCS#1.
    pub(crate) key: Vec<u8>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// Where the app's own webhook is, and its secret.
    pub(crate) hook: Option<(String, String)>,
    pub(crate) created: i64,
}

/// An app that an account has installed.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    pub(crate) id: u64,
    pub(crate) app: u64,
    pub(crate) account: String,
    /// The selected repositories, or all of the account.
    pub(crate) repos: Option<BTreeSet<u64>>,
    pub(crate) created: i64,
}

/// The whole state of the fake.
pub(crate) struct World {
    pub(crate) urls: Urls,
    pub(crate) skew: i64,
    next_id: u64,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) apps: BTreeMap<u64, App>,
    pub(crate) installations: BTreeMap<u64, Installation>,
    pub(crate) repos: BTreeMap<u64, Repo>,
    /// The current and the former full names in lower case.
    pub(crate) names: HashMap<String, u64>,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    pub(crate) outbox: Outbox,
}

impl World {
    pub(crate) fn new(urls: Urls) -> Self {
        Self {
            urls,
            skew: 0,
            next_id: 1000,
            users: BTreeMap::new(),
            tokens: HashMap::new(),
            apps: BTreeMap::new(),
            installations: BTreeMap::new(),
            repos: BTreeMap::new(),
            names: HashMap::new(),
            limits: Limits::default(),
            faults: Faults::default(),
            log: Log::default(),
            outbox: Outbox::default(),
        }
    }

    /// The time in seconds since 1970, moved forward by the test.
    pub(crate) fn now(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.skew
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Finds or creates an account.
    pub(crate) fn user(&mut self, login: &str) -> String {
        if !self.users.contains_key(&login.to_lowercase()) {
            let user = User { id: self.id(), login: login.into() };
            self.users.insert(login.to_lowercase(), user);
        }
        self.users[&login.to_lowercase()].login.clone()
    }

    /// The repository that has or had this name.
    pub(crate) fn find(&self, owner: &str, name: &str) -> Option<&Repo> {
        self.names.get(&format!("{owner}/{name}").to_lowercase()).and_then(|id| self.repos.get(id))
    }
}
