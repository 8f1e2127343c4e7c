//! Formats GitHub Apps and their installations as JSON.

use serde_json::{Value, json};

use super::{node, time, user};
use crate::github::state::{App, Installation, World};
use crate::github::urls::Urls;

/// Returns the public data of an app, or `null` if the app does not exist.
pub(crate) fn app(world: &World, urls: &Urls, id: u64) -> Value {
    let Some(app) = world.apps.get(&id) else { return Value::Null };
    json!({
        "id": app.id, "slug": app.slug, "node_id": node("A", app.id), "name": app.slug,
        "client_id": format!("Iv1.{:016x}", app.id), "owner": user(world, urls, &app.owner),
        "description": null, "external_url": urls.web, "html_url": format!("{}/apps/{}", urls.web, app.slug),
        "created_at": time(app.created), "updated_at": time(app.created),
        "permissions": app.permissions, "events": app.events,
    })
}

/// Returns an installation's data, as shown to the installed app.
pub(crate) fn installation(world: &World, urls: &Urls, app: &App, found: &Installation) -> Value {
    let account = user(world, urls, &found.account);
    json!({
        "id": found.id, "target_id": account["id"], "target_type": "User", "account": account,
        "repository_selection": if found.repos.is_some() { "selected" } else { "all" },
        "access_tokens_url": format!("{}/app/installations/{}/access_tokens", urls.api, found.id),
        "repositories_url": format!("{}/installation/repositories", urls.api),
        "html_url": format!("{}/settings/installations/{}", urls.web, found.id),
        "app_id": app.id, "app_slug": app.slug, "permissions": app.permissions, "events": app.events,
        "created_at": time(found.created), "updated_at": time(found.created),
        "single_file_name": null, "suspended_by": null, "suspended_at": null,
    })
}
