//! The state of the fake: accounts, tokens, apps and repositories.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::faults::Faults;
use super::limits::Limits;
use super::log::Log;
use super::oauth::{Code, OauthApp};
use super::outbox::Outbox;
use super::repo::Repo;
use super::urls::Urls;

/// The maximum number of objects of each kind. These limits prevent a client in an endless loop
/// from using up all memory.
pub(crate) mod most {
    pub(crate) const REPOS: usize = 1_000;
    pub(crate) const REFS: usize = 50_000;
    pub(crate) const COMMITS: usize = 200_000;
    pub(crate) const PULLS: usize = 20_000;
    pub(crate) const COMMENTS: usize = 50_000;
    pub(crate) const RUNS: usize = 50_000;
    pub(crate) const TOKENS: usize = 10_000;
}

/// A user or an organization.
#[derive(Clone, Debug)]
pub struct User {
    /// The account's id.
    pub id: u64,
    /// The account's name.
    pub login: String,
}

/// A token that belongs to a person or an installation.
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
    /// The RSA public key, in PKCS#1 format.
    pub(crate) key: Vec<u8>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// The URL and secret of the app's own webhook.
    pub(crate) hook: Option<(String, String)>,
    pub(crate) created: i64,
}

/// An app that an account has installed.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    pub(crate) id: u64,
    pub(crate) app: u64,
    pub(crate) account: String,
    /// The ids of the selected repositories, or `None` for all of the account's repositories.
    pub(crate) repos: Option<BTreeSet<u64>>,
    pub(crate) created: i64,
}

/// OAuth apps, and the people who use them.
#[derive(Default)]
pub(crate) struct Oauth {
    /// The apps, keyed by client id.
    pub(crate) apps: BTreeMap<String, OauthApp>,
    pub(crate) codes: HashMap<String, Code>,
    /// The person who is signed in to GitHub.
    pub(crate) signed_in: Option<String>,
    /// Pairs of an organization and one of its members, in lower case.
    pub(crate) public_members: BTreeSet<(String, String)>,
}

/// The entire state of the fake.
pub(crate) struct World {
    pub(crate) urls: Urls,
    pub(crate) skew: i64,
    next_id: u64,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) apps: BTreeMap<u64, App>,
    pub(crate) oauth: Oauth,
    pub(crate) installations: BTreeMap<u64, Installation>,
    pub(crate) repos: BTreeMap<u64, Repo>,
    /// Maps the current and former full names of repositories, in lower case, to repository ids.
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
            oauth: Oauth::default(),
            installations: BTreeMap::new(),
            repos: BTreeMap::new(),
            names: HashMap::new(),
            limits: Limits::default(),
            faults: Faults::default(),
            log: Log::default(),
            outbox: Outbox::default(),
        }
    }

    /// Returns the time in seconds since the Unix epoch, plus the time by which tests have moved
    /// the clock forward.
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

    /// Returns the repository that has or used to have the given name.
    pub(crate) fn find(&self, owner: &str, name: &str) -> Option<&Repo> {
        self.names.get(&format!("{owner}/{name}").to_lowercase()).and_then(|id| self.repos.get(id))
    }
}
