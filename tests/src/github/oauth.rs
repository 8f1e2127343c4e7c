//! OAuth apps, with which people sign in to other websites, and the public members of
//! organizations.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest;
use serde_json::json;

use super::apps;
use super::call::Call;
use super::handle::GitHub;
use super::reply::{Answer, Reply};
use super::server::queries;
use super::state::{Token, TokenOwner, World};

/// The time, in seconds, within which a code must be exchanged.
const CODE_LIFE: i64 = 600;

/// The maximum number of codes that have not been exchanged.
const MOST_CODES: usize = 1_000;

/// An OAuth app.
#[derive(Clone, Debug)]
pub(crate) struct OauthApp {
    pub(crate) secret: String,
    pub(crate) callback: String,
}

/// A code that a person's browser carries from GitHub to an app's website.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    client: String,
    login: String,
    /// The SHA-256 hash of the PKCE verifier, in base64.
    challenge: Option<String>,
    expires: i64,
}

impl GitHub {
    /// Registers an OAuth app. Returns its client id and its client secret.
    pub fn create_oauth_app(&self, callback: &str) -> (String, String) {
        self.shared.change(|world| {
            let id = format!("Ov23li{:014}", world.id());
            let secret = format!("{:040x}", world.id());
            let app = OauthApp { secret: secret.clone(), callback: callback.into() };
            world.oauth.apps.insert(id.clone(), app);
            (id, secret)
        })
    }

    /// Sets the person who is signed in to GitHub. This person authorizes every OAuth app. If
    /// `login` is `None`, nobody is signed in, so no app is authorized.
    pub fn sign_in(&self, login: Option<&str>) {
        self.shared.change(|world| {
            world.oauth.signed_in = login.map(|login| world.user(login));
        });
    }

    /// Makes a person a public member of an organization.
    pub fn add_public_member(&self, org: &str, login: &str) {
        self.shared.change(|world| {
            let login = world.user(login).to_lowercase();
            world.oauth.public_members.insert((org.to_lowercase(), login));
        });
    }
}

/// `GET /login/oauth/authorize`, which a browser opens.
pub(crate) fn authorize(world: &mut World, call: &Call) -> Answer {
    let text = |name: &str| call.query(name).unwrap_or_default().to_owned();
    let client = text("client_id");
    let app = world.oauth.apps.get(&client).ok_or_else(Reply::not_found)?;
    let callback = app.callback.clone();
    let state = text("state");
    let redirect = |name: &str, value: &str| {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (value, state) = (encode(value), encode(&state));
        let location = format!("{callback}?{name}={value}&state={state}");
        Ok(Reply::new(302, None).with("location", location))
    };
    if call.query("redirect_uri").is_some_and(|uri| uri != callback) {
        return redirect("error", "redirect_uri_mismatch");
    }
    let Some(login) = world.oauth.signed_in.clone() else {
        return redirect("error", "access_denied");
    };
    let challenge = call.query("code_challenge").map(String::from);
    if challenge.is_some() && call.query("code_challenge_method") != Some("S256") {
        return redirect("error", "invalid_request");
    }
    let now = world.now();
    world.oauth.codes.retain(|_, code| code.expires > now);
    assert!(world.oauth.codes.len() < MOST_CODES, "more than {MOST_CODES} codes");
    let code = format!("{:020x}", world.id());
    let entry = Code { client, login, challenge, expires: now + CODE_LIFE };
    world.oauth.codes.insert(code.clone(), entry);
    redirect("code", &code)
}

/// `POST /login/oauth/access_token`, which an app's website calls.
pub(crate) fn access_token(world: &mut World, call: &Call) -> Answer {
    let accept = call.headers.get("accept").and_then(|value| value.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains("json")) {
        return Err(Reply::error(406, "The fake supports only JSON here"));
    }
    let form = queries(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| {
        let mut found = form.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let client = field("client_id");
    let app = world.oauth.apps.get(client);
    if app.is_none_or(|app| app.secret != field("client_secret")) {
        let text = "The client_id and/or client_secret passed are incorrect.";
        return refused("incorrect_client_credentials", text);
    }
    // A code is removed even if the exchange fails.
    let now = world.now();
    let code = world.oauth.codes.remove(field("code")).filter(|code| code.expires > now);
    let hash = digest::digest(&digest::SHA256, field("code_verifier").as_bytes());
    let verifier = URL_SAFE_NO_PAD.encode(hash);
    let code = code.filter(|code| {
        code.client == client
            && code.challenge.as_ref().is_none_or(|challenge| *challenge == verifier)
    });
    let Some(code) = code else {
        return refused("bad_verification_code", "The code passed is incorrect or expired.");
    };
    let token = Token { owner: TokenOwner::User(code.login), expires: None, read_only: true };
    let token = apps::new_token(world, "gho", token);
    Reply::ok(json!({ "access_token": token, "token_type": "bearer", "scope": "" }))
}

/// Reports that an exchange failed. As on GitHub, the status is 200.
fn refused(error: &str, description: &str) -> Answer {
    Reply::ok(json!({ "error": error, "error_description": description }))
}

/// `GET /orgs/{org}/public_members/{username}`.
pub(crate) fn public_member(world: &mut World, call: &Call) -> Answer {
    let key = (call.param("org").to_lowercase(), call.param("username").to_lowercase());
    if world.oauth.public_members.contains(&key) { Reply::empty() } else { Err(Reply::not_found()) }
}
