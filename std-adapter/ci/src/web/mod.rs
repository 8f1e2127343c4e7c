//! The web pages, log views and API.
//!
//! | route | content |
//! |---|---|
//! | `/` | the dashboards, the pools and a summary |
//! | `/pr`, `/branch`, `/tag` | the targets and the states of their tests |
//! | `/USER/REPO/pr/N`, `/USER/REPO/ref/KIND/NAME` | a target; `?test=NAME` selects a test, `?history` lists the history, and `?history=COMMIT` shows an older state |
//! | `/USER/REPO/commit/HASH` | the targets of a commit |
//! | `/log/live/BRANCH` | a log that grows |
//! | `/log/saved/BRANCH/COMMIT` | a complete log; `?page=N` or `?line=N` selects a part, `?q=TEXT` searches the log, and `?raw` downloads it |
//! | POST `/log/rebuild/BRANCH`, POST `/cancel/BRANCH` | repeats or cancels a build |
//! | `/waiting` | the reasons why jobs are pending |
//! | `/wall` | all dashboards, for a large screen |
//! | `/events` | server-sent events: a target has changed |
//! | `/api/v1/` | the API, which `docs/api.md` describes |
//! | `/metrics`, `/health` | for monitoring |
//!
//! A slash in a branch name is encoded as `%2F`, so these routes do not conflict with the pages of
//! repositories such as `log/live`.
//!
//! All pages work without JavaScript.

mod actions;
mod api;
mod assets;
pub mod auth;
mod deadline;
mod download;
mod events;
mod headers;
mod html;
mod json_errors;
mod log;
mod model;
mod monitoring;
mod pages;
mod picture;
pub mod server;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod time;
pub mod tls;
mod urls;
mod visit;
mod waits;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::routing::{get, post};

pub use state::WebState;

/// Returns the router for all pages, accounts and the API.
pub fn router(state: WebState) -> Router {
    let auth = state.0.auth.clone();
    let pages = Router::new()
        .route("/", get(pages::home::home))
        .route("/wall", get(pages::home::wall))
        .route("/pr", get(pages::list::prs))
        .route("/branch", get(pages::list::branches))
        .route("/tag", get(pages::list::tags))
        .route("/waiting", get(pages::waiting::page_of))
        .route("/log/live/{branch}", get(pages::log::live))
        .route("/log/saved/{branch}/{commit}", get(pages::target::repo_page_or_log))
        .route("/log/rebuild/{branch}", post(actions::rebuild))
        .route("/cancel/{branch}", post(actions::cancel))
        .route("/events", get(events::targets))
        .route("/error/{id}", get(pages::error::page_for))
        .route("/static/{file}", get(assets::file))
        .route("/health", get(monitoring::health))
        .route("/metrics", get(monitoring::metrics))
        .nest("/api/v1", api::router())
        .fallback(get(pages::target::repo_page))
        .with_state(state);
    let router = auth::with_sessions(pages.merge(auth::router(auth.clone())), auth);
    router
        .layer(from_fn(deadline::limit))
        .layer(from_fn(json_errors::convert))
        .layer(map_response(headers::add))
}
