//! The `datakit params watch` command.

use datakit_client::params::{Change, Changes, Event, Setting};
use serde_json::{Value, json};

use super::{Session, is_within};
use crate::connect::CLOSE_TIMEOUT;
use crate::error::{CliError, CliResult};
use crate::stdio;

/// Prints changes to the selected parameters until SIGINT arrives.
pub(super) async fn watch(session: &Session, typed: &[String], json: bool) -> CliResult {
    // A path that selects no parameters is an error, because no change would ever be printed.
    session.select(typed).await?;
    let selected: Vec<&str> = typed.iter().map(|path| session.relative(path)).collect();
    let mut changes = session.params.changes().await?;
    let result = tokio::select! {
        result = print_changes(session, &mut changes, &selected, json) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Closing the stream cancels the pending read. Ignore errors, because all changes have already
    // been printed.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, changes.close()).await;
    result
}

async fn print_changes(
    session: &Session,
    changes: &mut Changes,
    selected: &[&str],
    json: bool,
) -> CliResult {
    while let Some(event) = changes.next().await? {
        let is_selected = |path: &str| selected.iter().any(|dir| is_within(path, dir));
        if let Event::Change(Change { path, .. }) = &event
            && !selected.is_empty()
            && !is_selected(path)
        {
            continue;
        }
        let line = if json { to_json(session, &event).to_string() } else { to_text(&event) };
        stdio::print(format!("{}\n", stdio::line(&line)).as_bytes())?;
    }
    Err(CliError::Failed("the server ended the stream of changes".to_owned()))
}

fn to_text(event: &Event) -> String {
    match event {
        Event::Change(Change { sequence, client, path, value, .. }) => {
            format!("{sequence} {client} {path} {value}")
        }
        Event::Lost(count) => format!("lost {count}"),
        _ => String::new(),
    }
}

fn to_json(session: &Session, event: &Event) -> Value {
    match event {
        Event::Change(Change { sequence, client, path, value, .. }) => {
            let value = session.json(&Setting::new(path, value));
            json!({ "sequence": sequence, "client": client, "path": path, "value": value })
        }
        Event::Lost(count) => json!({ "lost": count }),
        _ => Value::Null,
    }
}
