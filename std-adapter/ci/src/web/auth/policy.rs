//! The rules that decide who can read and who can build.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use datakit_github::Repo;

use super::user::{GithubRights, SessionData, User, is_name};

/// A rule that decides which users are allowed to do something.
///
/// ```
/// # use datakit_ci::web::auth::Policy;
/// let text = "user:github:octocat, github_org:acme, can_read_github:acme/app";
/// assert_eq!(text.parse::<Policy>()?.to_string(), text.replace(' ', ""));
/// assert_eq!("everyone".parse(), Ok(Policy::Everyone));
/// # Ok::<(), datakit_ci::web::auth::InvalidPolicy>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Everyone, including visitors who are not logged in.
    Everyone,
    /// The user with the given name. GitHub users are named `github:NAME`.
    User(String),
    /// Public members of a GitHub organization.
    GithubOrg(String),
    /// GitHub users who can read this repository on GitHub.
    CanReadGithub(Repo),
    /// Users who are allowed by at least one of these policies. An empty list allows only the local
    /// user `admin`.
    Any(Vec<Policy>),
}

/// A policy decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Allowed,
    Denied,
    /// The session does not contain the permissions that the policy needs. They are read at the
    /// next login.
    Unknown,
}

/// The organizations and repositories to query on GitHub.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    pub(super) orgs: BTreeSet<String>,
    pub(super) repos: BTreeSet<String>,
}

impl Policy {
    /// Decides whether the policy allows the user of a session. `None` stands for a visitor who is
    /// not logged in.
    pub(super) fn decide(&self, session: Option<&SessionData>) -> Decision {
        match (self, session) {
            (Policy::Everyone, _) => Decision::Allowed,
            (Policy::Any(policies), _) => any(policies.iter().map(|one| one.decide(session))),
            (_, None) => Decision::Denied,
            (_, Some(session)) if session.user.is_admin() => Decision::Allowed,
            (Policy::User(name), Some(session)) => decision(session.user.is(name)),
            (Policy::GithubOrg(_) | Policy::CanReadGithub(_), Some(session)) => {
                self.ask_github(&session.user, &session.rights)
            }
        }
    }

    fn ask_github(&self, user: &User, rights: &GithubRights) -> Decision {
        if user.github_login().is_none() {
            return Decision::Denied;
        }
        let known = match self {
            Policy::GithubOrg(org) => rights.orgs.get(&org.to_ascii_lowercase()),
            Policy::CanReadGithub(repo) => rights.repos.get(&lower(repo)),
            _ => None,
        };
        known.map_or(Decision::Unknown, |allowed| decision(*allowed))
    }

    /// Adds the questions that GitHub must answer before this policy can be evaluated.
    pub(super) fn collect(&self, questions: &mut Questions) {
        match self {
            Policy::Everyone | Policy::User(_) => {}
            Policy::GithubOrg(org) => drop(questions.orgs.insert(org.to_ascii_lowercase())),
            Policy::CanReadGithub(repo) => drop(questions.repos.insert(lower(repo))),
            Policy::Any(policies) => policies.iter().for_each(|one| one.collect(questions)),
        }
    }
}

/// GitHub names are case-insensitive.
fn lower(repo: &Repo) -> String {
    repo.to_string().to_ascii_lowercase()
}

fn decision(allowed: bool) -> Decision {
    if allowed { Decision::Allowed } else { Decision::Denied }
}

/// The result is `Allowed` if any policy allows the action. Otherwise, it is `Unknown` if any
/// decision is `Unknown`, because the missing permission could allow the action.
fn any(decisions: impl Iterator<Item = Decision>) -> Decision {
    decisions.fold(Decision::Denied, |all, one| match (all, one) {
        (Decision::Allowed, _) | (_, Decision::Allowed) => Decision::Allowed,
        (Decision::Unknown, _) | (_, Decision::Unknown) => Decision::Unknown,
        _ => Decision::Denied,
    })
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Everyone => f.write_str("everyone"),
            Policy::User(name) => write!(f, "user:{name}"),
            Policy::GithubOrg(org) => write!(f, "github_org:{org}"),
            Policy::CanReadGithub(repo) => write!(f, "can_read_github:{repo}"),
            Policy::Any(policies) => {
                for (index, policy) in policies.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{policy}")?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    /// Parses a comma-separated list of policies. The result allows everything that at least one of
    /// the policies allows.
    fn from_str(text: &str) -> Result<Policy, InvalidPolicy> {
        let parts: Result<Vec<Policy>, _> =
            text.split(',').map(|part| parse(part.trim())).collect();
        let mut parts = parts?;
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => Ok(only),
            (_, last) => Ok(Policy::Any(parts.into_iter().chain(last).collect())),
        }
    }
}

fn parse(text: &str) -> Result<Policy, InvalidPolicy> {
    let invalid = || InvalidPolicy(text.to_owned());
    if text == "everyone" {
        return Ok(Policy::Everyone);
    }
    let (kind, value) = text.split_once(':').ok_or_else(invalid)?;
    match kind {
        "user" if is_name(value.strip_prefix("github:").unwrap_or(value)) => {
            Ok(Policy::User(value.to_owned()))
        }
        "github_org" if is_name(value) => Ok(Policy::GithubOrg(value.to_owned())),
        "can_read_github" => {
            let (user, name) = value.split_once('/').ok_or_else(invalid)?;
            // These names are inserted into the URLs of GitHub API calls.
            let is_part = |part: &str| !matches!(part, "." | "..");
            let repo = Repo::new(user, name).map_err(|_| invalid())?;
            if is_part(user) && is_part(name) {
                Ok(Policy::CanReadGithub(repo))
            } else {
                Err(invalid())
            }
        }
        _ => Err(invalid()),
    }
}

/// The error returned if a string is not a valid policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPolicy(String);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid policy {:?}: expected everyone, user:NAME, user:github:NAME, github_org:ORG \
             or can_read_github:USER/REPO",
            self.0
        )
    }
}

impl std::error::Error for InvalidPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: User, orgs: &[(&str, bool)], repos: &[(&str, bool)]) -> SessionData {
        let map = |list: &[(&str, bool)]| {
            list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let rights = GithubRights { orgs: map(orgs), repos: map(repos) };
        SessionData { user, created: 0, password: None, rights }
    }

    fn policy(text: &str) -> Policy {
        text.parse().unwrap()
    }

    #[test]
    fn visitors_are_allowed_only_by_everyone() {
        assert_eq!(policy("everyone").decide(None), Decision::Allowed);
        for text in ["user:admin", "github_org:a", "can_read_github:a/b", "user:a,user:b"] {
            assert_eq!(policy(text).decide(None), Decision::Denied, "{text}");
        }
        assert_eq!(policy("user:a,everyone").decide(None), Decision::Allowed);
        assert_eq!(Policy::Any(Vec::new()).decide(None), Decision::Denied);
    }

    #[test]
    fn names_are_compared_with_their_kind() {
        let local = session(User::local("alice").unwrap(), &[], &[]);
        let github = session(User::github("Alice").unwrap(), &[], &[]);
        assert_eq!(policy("user:alice").decide(Some(&local)), Decision::Allowed);
        assert_eq!(policy("user:alice").decide(Some(&github)), Decision::Denied);
        assert_eq!(policy("user:github:alice").decide(Some(&github)), Decision::Allowed);
        assert_eq!(policy("user:github:alice").decide(Some(&local)), Decision::Denied);
    }

    #[test]
    fn rights_that_github_was_not_asked_for_are_unknown() {
        let user = session(User::github("bob").unwrap(), &[("acme", true)], &[("a/b", false)]);
        assert_eq!(policy("github_org:Acme").decide(Some(&user)), Decision::Allowed);
        assert_eq!(policy("github_org:other").decide(Some(&user)), Decision::Unknown);
        assert_eq!(policy("can_read_github:A/b").decide(Some(&user)), Decision::Denied);
        let either = policy("github_org:other,can_read_github:a/b");
        assert_eq!(either.decide(Some(&user)), Decision::Unknown);
        let either = policy("github_org:other,github_org:acme");
        assert_eq!(either.decide(Some(&user)), Decision::Allowed);
    }

    #[test]
    fn a_local_user_has_no_github_rights() {
        let user = session(User::local("bob").unwrap(), &[("acme", true)], &[]);
        assert_eq!(policy("github_org:acme").decide(Some(&user)), Decision::Denied);
        let admin = session(User::local("admin").unwrap(), &[], &[]);
        assert_eq!(policy("github_org:acme").decide(Some(&admin)), Decision::Allowed);
    }

    #[test]
    fn the_questions_are_those_of_all_parts() {
        let mut questions = Questions::default();
        policy("github_org:B,can_read_github:X/y,github_org:a,everyone").collect(&mut questions);
        assert_eq!(questions.orgs, ["a", "b"].map(String::from).into());
        assert_eq!(questions.repos, ["x/y"].map(String::from).into());
    }

    #[test]
    fn an_invalid_policy_is_refused_with_the_valid_forms() {
        for text in [
            "",
            "all",
            "user:",
            "user:a b",
            "org:x",
            "github_org:a/b",
            "can_read_github:a",
            "can_read_github:../user",
            "can_read_github:a/..",
            "everyone,",
        ] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
        assert_eq!(
            policy_error("all"),
            "invalid policy \"all\": expected everyone, user:NAME, user:github:NAME, \
             github_org:ORG or can_read_github:USER/REPO"
        );
    }

    fn policy_error(text: &str) -> String {
        text.parse::<Policy>().unwrap_err().to_string()
    }
}
