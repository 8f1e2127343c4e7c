//! The commands that print parameters: `list`, `get` and `modified`.

use datakit_client::params::{Parameter, Setting, format_settings};
use serde_json::{Value, json};

use super::Session;
use crate::error::{CliError, CliResult};
use crate::stdio;

/// Prints the paths.
pub(super) async fn names(session: &Session, typed: &[String]) -> CliResult {
    let names: String =
        session.select(typed).await?.iter().map(|path| format!("{path}\n")).collect();
    stdio::print(names.as_bytes())
}

/// Prints the values in columns.
pub(super) async fn list(session: &Session, typed: &[String], long: bool) -> CliResult {
    let paths = session.select(typed).await?;
    let (settings, failures) = session.read(&paths).await?;
    let path_width = width(paths.iter().map(String::as_str));
    let value_of = |path: &str| settings.iter().find(|setting| setting.path == path);
    let shown = |path: &String| value_of(path).map_or(String::new(), |one| with_unit(session, one));
    let values = paths.iter().map(shown).collect::<Vec<_>>();
    let value_width = width(values.iter().map(String::as_str));
    let mut text = String::new();
    for (path, value) in paths.iter().zip(&values) {
        let line = match session.parameter(path) {
            Some(parameter) if long => {
                format!("{path:path_width$}  {value:value_width$}  {}", describe(parameter))
            }
            _ => format!("{path:path_width$}  {value}"),
        };
        text += stdio::line(line.trim_end()).as_str();
        text += "\n";
    }
    stdio::print(text.as_bytes())?;
    stdio::report_all(failures)
}

fn width<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or_default()
}

fn with_unit(session: &Session, setting: &Setting) -> String {
    match session.parameter(&setting.path) {
        Some(parameter) if !parameter.unit.is_empty() => {
            format!("{} {}", setting.value, parameter.unit)
        }
        _ => setting.value.clone(),
    }
}

/// Returns one line with the allowed values, the default, the flags and the description.
fn describe(parameter: &Parameter) -> String {
    let mut text = parameter.to_string();
    if let Some(default) = &parameter.default {
        text += &format!(", default {default}");
    }
    for (is_set, flag) in [
        (parameter.read_only, "read-only"),
        (parameter.write_only, "write-only"),
        (parameter.needs_restart, "takes effect after a restart"),
        (parameter.volatile, "volatile"),
    ] {
        if is_set {
            text += &format!(", {flag}");
        }
    }
    if !parameter.doc.is_empty() {
        text += &format!(": {}", parameter.doc);
    }
    text
}

/// Prints a JSON array with an object for each parameter. Each object contains the parameter's
/// value and everything that the schema says about the parameter.
pub(super) async fn json(session: &Session, typed: &[String]) -> CliResult {
    let paths = session.select(typed).await?;
    let mut described = match session.schema {
        Some(_) => {
            let schema: Value = serde_json::from_str(&session.params.schema_text().await?)
                .map_err(|error| format!("the server's schema is not valid: {error}"))?;
            schema.get("params").and_then(Value::as_array).cloned().unwrap_or_default()
        }
        None => paths.iter().map(|path| json!({ "path": path })).collect(),
    };
    let path_of = |row: &Value| row.get("path").and_then(Value::as_str).map(str::to_owned);
    described.retain(|row| path_of(row).is_some_and(|path| paths.contains(&path)));
    let (settings, failures) = session.read(&paths).await?;
    for row in &mut described {
        let path = path_of(row);
        let setting = settings.iter().find(|setting| Some(&setting.path) == path.as_ref());
        if let (Value::Object(members), Some(setting)) = (row, setting) {
            members.insert("value".to_owned(), session.json(setting));
        }
    }
    stdio::print_json(&Value::Array(described))?;
    stdio::report_all(failures)
}

/// Prints values.
pub(super) async fn get(session: &Session, typed: &[String], json: bool) -> CliResult {
    let paths = session.select(typed).await?;
    if let Some(hidden) = paths.iter().find(|path| {
        let selects = |typed: &String| session.relative(typed) == **path;
        session.parameter(path).is_some_and(|one| one.write_only) && typed.iter().any(selects)
    }) {
        return Err(CliError::Failed(format!("{hidden}: the parameter is write-only")));
    }
    let (settings, failures) = session.read(&paths).await?;
    match (&*settings, typed) {
        _ if json => stdio::print_json(&session.object(&settings)),
        ([one], [typed]) if one.path == session.relative(typed) => {
            stdio::print(format!("{}\n", stdio::line(&one.value)).as_bytes())
        }
        _ => print_settings(&settings),
    }?;
    stdio::report_all(failures)
}

/// Prints the parameters that differ from their defaults.
pub(super) async fn modified(session: &Session, json: bool) -> CliResult {
    let settings = session.params.modified().await?;
    if json { stdio::print_json(&session.object(&settings)) } else { print_settings(&settings) }
}

fn print_settings(settings: &[Setting]) -> CliResult {
    let text = format_settings(settings);
    let lines: String = text.lines().map(|line| format!("{}\n", stdio::line(line))).collect();
    stdio::print(lines.as_bytes())
}
