//! Authenticates callers and checks their access rights. Accepts tokens issued to people and
//! installations, and tokens signed by GitHub Apps.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use super::actor::Actor;
use super::reply::Reply;
use super::repo::Repo;
use super::state::{TokenOwner, World};

/// The maximum lifetime of an app's own token in seconds.
const LONGEST: i64 = 600;

/// The maximum difference, in seconds, between the client's clock and the server's clock.
const TOLERANCE: i64 = 60;

impl Actor {
    /// Returns the login that identifies this caller in responses and events.
    pub(crate) fn login(&self, world: &World) -> String {
        let app = match self {
            Actor::User(login, _) => return login.clone(),
            Actor::Anonymous => return "ghost".into(),
            Actor::App(id) => world.apps.get(id),
            Actor::Installation(id) => {
                world.installations.get(id).and_then(|found| world.apps.get(&found.app))
            }
        };
        app.map_or("ghost".into(), |app| format!("{}[bot]", app.slug))
    }
}

/// Identifies the caller. Accepts `token T`, `Bearer T`, and `Basic` with the token as the
/// password.
pub(crate) fn actor(world: &World, headers: &HeaderMap) -> Result<Actor, Reply> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(Actor::Anonymous) };
    let bad = || Reply::error(401, "Bad credentials");
    let (scheme, secret) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(bad)?;
    let secret = match scheme.to_ascii_lowercase().as_str() {
        "token" | "bearer" => secret.trim().to_string(),
        "basic" => password(secret).ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    if secret.split('.').count() == 3 {
        return app(world, &secret).map(Actor::App);
    }
    let token = world.tokens.get(&secret).ok_or_else(bad)?;
    if token.expires.is_some_and(|end| end <= world.now()) {
        return Err(bad());
    }
    Ok(match &token.owner {
        TokenOwner::User(login) => Actor::User(login.clone(), token.read_only),
        TokenOwner::Installation(id) => Actor::Installation(*id),
    })
}

fn password(secret: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(secret.trim()).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_string())
}

/// Verifies the algorithm, signature, issuer, issue time and expiration time of an app token.
fn app(world: &World, token: &str) -> Result<u64, Reply> {
    let undecodable = || Reply::error(401, "A JSON web token could not be decoded");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(undecodable)?;
    let (head, claims) = signed.split_once('.').ok_or_else(undecodable)?;
    let json =
        |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let head = json(head).ok_or_else(undecodable)?;
    let claims = json(claims).ok_or_else(undecodable)?;
    let issuer = match &claims["iss"] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let app = issuer
        .and_then(|id| world.apps.get(&id))
        .ok_or_else(|| Reply::error(401, "'Issuer' claim ('iss') must be an Integer"))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| undecodable())?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.key);
    if head["alg"] != "RS256" || key.verify(signed.as_bytes(), &signature).is_err() {
        return Err(undecodable());
    }
    times(world.now(), &claims).map_err(|message| Reply::error(401, message))?;
    Ok(app.id)
}

fn times(now: i64, claims: &Value) -> Result<(), &'static str> {
    let expires = claims["exp"]
        .as_i64()
        .ok_or("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")?;
    let issued = claims["iat"]
        .as_i64()
        .ok_or("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")?;
    if expires <= now {
        return Err(
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        );
    }
    if expires > now + LONGEST {
        return Err("'Expiration time' claim ('exp') is too far in the future");
    }
    if issued > now + TOLERANCE {
        return Err(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        );
    }
    Ok(())
}

/// Returns whether a repository is visible to a caller.
pub(crate) fn sees(world: &World, actor: &Actor, repo: &Repo) -> bool {
    match actor {
        Actor::Installation(id) if repo.private => covers(world, *id, repo),
        Actor::User(login, _) if repo.private => repo.members.contains(login),
        _ => !repo.private,
    }
}

/// Returns whether an installation has access to a repository.
pub(crate) fn covers(world: &World, installation: u64, repo: &Repo) -> bool {
    world.installations.get(&installation).is_some_and(|found| {
        found.account == repo.owner && found.repos.as_ref().is_none_or(|ids| ids.contains(&repo.id))
    })
}

/// Checks that a caller may read or write one part of a visible repository.
pub(crate) fn allows(
    world: &World,
    actor: &Actor,
    repo: &Repo,
    permission: &str,
    write: bool,
) -> Result<(), Reply> {
    let hidden = permission == "repository_hooks";
    match actor {
        Actor::Installation(id) => installation_allows(world, *id, repo, permission, write),
        Actor::App(_) => Err(Reply::error(401, "A JSON web token could not be decoded")),
        Actor::Anonymous if write => Err(Reply::error(401, "Requires authentication")),
        Actor::Anonymous if hidden => Err(Reply::not_found()),
        Actor::Anonymous => Ok(()),
        Actor::User(_, true) if write => {
            Err(Reply::error(403, "Resource not accessible by personal access token"))
        }
        Actor::User(..) if write && permission == "checks" => {
            Err(Reply::error(403, "You must authenticate via a GitHub App."))
        }
        Actor::User(login, _) if repo.members.contains(login) => Ok(()),
        Actor::User(..) if hidden => Err(Reply::not_found()),
        Actor::User(..) if write => Err(Reply::error(403, "Must have admin rights to Repository.")),
        Actor::User(..) => Ok(()),
    }
}

fn installation_allows(
    world: &World,
    id: u64,
    repo: &Repo,
    permission: &str,
    write: bool,
) -> Result<(), Reply> {
    let app = world.installations.get(&id).and_then(|found| world.apps.get(&found.app));
    let granted =
        |name: &str| app.and_then(|app| app.permissions.get(name)).map_or("", String::as_str);
    // Access to the comments on a pull request requires either `issues` or `pull_requests`.
    let levels = match permission {
        "issues" => [granted("issues"), granted("pull_requests")],
        other => [granted(other), ""],
    };
    let enough = |level: &&str| if write { **level == *"write" } else { !level.is_empty() };
    let public = !write && !repo.private && permission != "repository_hooks";
    let inside = covers(world, id, repo)
        && (levels.iter().any(enough) || permission == "metadata" && !write);
    if inside || public {
        Ok(())
    } else {
        Err(Reply::error(403, "Resource not accessible by integration"))
    }
}
