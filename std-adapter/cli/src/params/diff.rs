//! Compares parameter values with their defaults or with the values in a file.

use std::path::Path;

use datakit_client::params::{Setting, parse_numbered};
use serde_json::{Value, json};

use super::Session;
use super::values::HIDDEN;
use crate::error::{CliResult, at, io_reason};
use crate::stdio;

/// A parameter whose value differs from its default or from the value in a file.
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
}

/// Prints the differences between the defaults and the current values.
pub(super) async fn from_defaults(session: &Session, json: bool) -> CliResult {
    let schema = session.schema().await?;
    let mut differences = Vec::new();
    for Setting { path, value } in session.params.modified().await? {
        let old = schema.find(&path)?.default.clone().unwrap_or_default();
        differences.push(Difference { path, old, new: value });
    }
    print(session, &differences, json)
}

/// Prints the differences between the current values and the values in a file.
pub(super) async fn from_file(session: &Session, file: &Path, json: bool) -> CliResult {
    let settings = read_file(session, file).await?;
    print(session, &differences(session, &settings).await?, json)
}

/// Returns the settings that would change a value. A setting for a write-only parameter is always
/// returned.
pub(super) async fn differences(
    session: &Session,
    settings: &[Setting],
) -> CliResult<Vec<Difference>> {
    let mut differences = Vec::new();
    for Setting { path, value } in settings {
        let old = session.value(path).await?;
        if session.is_hidden(path) || !session.is_same(path, &old, value) {
            differences.push(Difference { path: path.clone(), old, new: value.clone() });
        }
    }
    Ok(differences)
}

/// Reads lines of the form `PATH VALUE` from a file or from standard input, and checks them.
pub(super) async fn read_file(session: &Session, file: &Path) -> CliResult<Vec<Setting>> {
    let name = file.display();
    let text = match file.as_os_str() == "-" {
        true => stdio::read_stdin().await?,
        false => std::fs::read(file).map_err(|error| at(&name)(io_reason(&error)))?,
    };
    let text = String::from_utf8(text).map_err(|_| at(&name)("the file is not UTF-8"))?;
    let lines = parse_numbered(&text).map_err(at(&name))?;
    let placed = |(number, setting)| (format!("{name}: line {number}: "), setting);
    session.checked(lines.into_iter().map(placed))
}

pub(super) fn print(session: &Session, differences: &[Difference], json: bool) -> CliResult {
    if json {
        let rows: Vec<Value> = differences.iter().map(|row| to_json(session, row)).collect();
        return stdio::print_json(&rows.into());
    }
    let line = |row: &Difference| {
        let Difference { path, old, new } = row;
        let new = if session.is_hidden(path) { HIDDEN } else { new };
        format!("{}\n", stdio::line(&format!("{path} {old} -> {new}")))
    };
    stdio::print(differences.iter().map(line).collect::<String>().as_bytes())
}

fn to_json(session: &Session, Difference { path, old, new }: &Difference) -> Value {
    let value = |value: &str| session.json(&Setting::new(path, value));
    json!({ "path": path, "old": value(old), "new": value(new) })
}
