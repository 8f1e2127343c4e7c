//! Parses and formats paths, subjects and changes.

use datakit_client::db::{self, Change, Path};
use serde_json::{Value, json};

use crate::error::CliResult;
use crate::stdio;

/// Parses a path in a tree, with or without leading and trailing slashes.
pub(super) fn parse_path(typed: &str) -> CliResult<Path> {
    match typed.trim_matches('/') {
        "" => Ok(Path::ROOT),
        path => path.parse().map_err(|error: db::Error| error.to_string().into()),
    }
}

/// Returns the first line of a message.
pub(super) fn subject(message: &str) -> String {
    stdio::line(message.lines().next().unwrap_or_default())
}

/// Formats the changes, one per line.
pub(super) fn change_lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{}\n", stdio::line(&change.to_string()))).collect()
}

/// Returns a change as a JSON object.
pub(super) fn change_to_json(change: &Change) -> Value {
    let name = match change {
        Change::Added(_) => "added",
        Change::Removed(_) => "removed",
        Change::Updated(_) => "updated",
    };
    json!({ "change": name, "path": change.path().to_string() })
}
