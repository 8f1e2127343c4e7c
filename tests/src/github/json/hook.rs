//! Formats webhooks as JSON.

use serde_json::{Value, json};

use super::{roots, time};
use crate::github::repo::{Hook, Repo};
use crate::github::urls::Urls;

/// Returns a webhook without its secret.
pub(crate) fn json(urls: &Urls, repo: &Repo, hook: &Hook) -> Value {
    let (api, _) = roots(urls, repo);
    let url = format!("{api}/hooks/{}", hook.id);
    let mut config = json!({
        "url": hook.url,
        "content_type": if hook.json { "json" } else { "form" },
        "insecure_ssl": hook.insecure,
    });
    if hook.secret.is_some() {
        config["secret"] = "********".into();
    }
    let (status, message) = match hook.last {
        None => ("unused", None),
        Some(code) if code < 300 => ("active", Some("OK")),
        Some(_) => ("misconfigured", Some("Invalid HTTP Response")),
    };
    json!({
        "type": "Repository", "id": hook.id, "name": "web", "active": hook.active,
        "events": hook.events, "config": config,
        "updated_at": time(hook.updated), "created_at": time(hook.created),
        "url": url, "test_url": format!("{url}/test"), "ping_url": format!("{url}/pings"),
        "deliveries_url": format!("{url}/deliveries"),
        "last_response": { "code": hook.last, "status": status, "message": message },
    })
}
