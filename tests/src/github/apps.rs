//! GitHub Apps, their installations, and the installation tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rsa::KeyPair;
use serde_json::json;

use super::actor::Actor;
use super::auth::covers;
use super::call::Call;
use super::json::app::installation as installation_json;
use super::json::{self, time};
use super::pages;
use super::reply::{Answer, Reply};
use super::repo::Repo;
use super::state::{App, Installation, Token, TokenOwner, World, most};

/// The private key of all apps in PKCS#1 format. The key is not secret, because only tests use it.
pub(crate) const KEY: &str = include_str!("app-key.pem");

/// The lifetime of an installation token in seconds.
const LIFE: i64 = 3_600;

/// Returns the public key that corresponds to a private key.
pub(crate) fn public_key(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = KeyPair::from_der(&STANDARD.decode(text).expect("base64")).expect("an RSA key");
    key.public().as_ref().to_vec()
}

/// Returns the calling app. The app must have authenticated with its own token rather than an
/// installation token.
fn caller<'a>(world: &'a World, call: &Call) -> Result<&'a App, Reply> {
    let app = match &call.actor {
        Actor::App(id) => world.apps.get(id),
        _ => None,
    };
    app.ok_or_else(|| Reply::error(401, "A JSON web token could not be decoded"))
}

/// `GET /app`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let mut value = json::app::app(world, &call.urls, app.id);
    let count = world.installations.values().filter(|found| found.app == app.id).count();
    value["installations_count"] = count.into();
    Reply::ok(value)
}

/// `GET /app/installations`.
pub(crate) fn installations(world: &mut World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let found: Vec<_> = world.installations.values().filter(|found| found.app == app.id).collect();
    pages::list(world, call, &found, |found| installation_json(world, &call.urls, app, found))
}

/// `GET /app/installations/{installation_id}`.
pub(crate) fn installation(world: &mut World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let found = own(world, call, app)?;
    Reply::ok(installation_json(world, &call.urls, app, found))
}

fn own<'a>(world: &'a World, call: &Call, app: &App) -> Result<&'a Installation, Reply> {
    let found = world.installations.get(&call.number("installation_id")?);
    found.filter(|found| found.app == app.id).ok_or_else(Reply::not_found)
}

/// `POST /app/installations/{installation_id}/access_tokens`. The new token has all of the app's
/// permissions.
pub(crate) fn access_token(world: &mut World, call: &Call) -> Answer {
    let app = caller(world, call)?;
    let found = own(world, call, app)?;
    let (id, permissions) = (found.id, app.permissions.clone());
    let selection = if found.repos.is_some() { "selected" } else { "all" };
    let expires = world.now() + LIFE;
    let owner = TokenOwner::Installation(id);
    let token = new_token(world, "ghs", Token { owner, expires: Some(expires), read_only: false });
    Ok(Reply::new(
        201,
        Some(json!({
            "token": token, "expires_at": time(expires), "permissions": permissions,
            "repository_selection": selection,
        })),
    ))
}

/// Adds a token and removes expired tokens.
pub(crate) fn new_token(world: &mut World, kind: &str, token: Token) -> String {
    let now = world.now();
    world.tokens.retain(|_, old| old.expires.is_none_or(|end| end > now));
    assert!(world.tokens.len() < most::TOKENS, "more than {} tokens", most::TOKENS);
    let text = format!("{kind}_{:036}", world.id());
    world.tokens.insert(text.clone(), token);
    text
}

/// `GET /installation/repositories`.
pub(crate) fn repositories(world: &mut World, call: &Call) -> Answer {
    let Actor::Installation(id) = call.actor else {
        let (status, message) = match call.actor {
            Actor::Anonymous => (401, "Requires authentication"),
            _ => (
                403,
                "You must authenticate with an installation access token in order to list repositories for an installation.",
            ),
        };
        return Err(Reply::error(status, message));
    };
    let repos: Vec<&Repo> = world.repos.values().filter(|repo| covers(world, id, repo)).collect();
    let answer = pages::counted(world, call, "repositories", &repos, |repo| {
        json::repo(world, &call.urls, repo)
    });
    let all = world.installations.get(&id).is_none_or(|found| found.repos.is_none());
    answer.map(|mut reply| {
        if let Some(body) = &mut reply.body {
            body["repository_selection"] = if all { "all" } else { "selected" }.into();
        }
        reply
    })
}
