//! Formats parameter values as text and JSON.

use std::time::Duration;

use datakit_client::params::{Error, Kind, Parameter, Setting};
use serde_json::{Map, Value};

use super::Session;
use crate::error::{CliError, CliResult};

/// The text printed instead of the value of a write-only parameter.
pub(super) const HIDDEN: &str = "*";

/// A file that does not answer for this long is not a parameter, but for example a stream. The
/// limit applies only if the server does not describe its parameters.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Reads values. Also returns the errors for the files that the server did not let the client
    /// read and for those that did not answer.
    ///
    /// # Errors
    /// Returns an error if no further file can be read, for example because the connection is lost.
    pub(super) async fn read(&self, paths: &[String]) -> CliResult<(Vec<Setting>, Vec<CliError>)> {
        let (mut settings, mut failures) = (Vec::new(), Vec::new());
        for path in paths {
            match self.answer(path).await {
                Some(Ok(value)) => settings.push(Setting::new(path, value)),
                Some(Err(Error::Client { error, .. })) if is_lost(&error) => {
                    return Err(format!("{path}: {error}").into());
                }
                Some(Err(error)) => failures.push(error.into()),
                None => failures.push(no_answer(path)),
            }
        }
        Ok((settings, failures))
    }

    /// Reads a value. The value of a write-only parameter is `*`.
    pub(super) async fn value(&self, path: &str) -> CliResult<String> {
        Ok(self.answer(path).await.ok_or_else(|| no_answer(path))??)
    }

    /// Reads a value. Returns `None` if the file does not answer.
    async fn answer(&self, path: &str) -> Option<Result<String, Error>> {
        if self.is_hidden(path) {
            return Some(Ok(HIDDEN.to_owned()));
        }
        let reading = self.params.get(path);
        match self.schema {
            Some(_) => Some(reading.await),
            None => tokio::time::timeout(ANSWER_TIMEOUT, reading).await.ok(),
        }
    }

    /// Returns whether a parameter is write-only.
    pub(super) fn is_hidden(&self, path: &str) -> bool {
        self.parameter(path).is_some_and(|parameter| parameter.write_only)
    }

    /// Returns whether two texts stand for the same value of a parameter.
    pub(super) fn is_same(&self, path: &str, one: &str, other: &str) -> bool {
        match self.parameter(path) {
            Some(parameter) => parameter.normalize(one) == parameter.normalize(other),
            None => one == other,
        }
    }

    /// Returns a JSON object that maps each path to its value.
    pub(super) fn object(&self, settings: &[Setting]) -> Value {
        let members = settings.iter().map(|setting| (setting.path.clone(), self.json(setting)));
        Value::Object(members.collect::<Map<_, _>>())
    }

    /// Returns a value as JSON. A value of an unknown type becomes a string.
    pub(super) fn json(&self, setting: &Setting) -> Value {
        to_json(self.parameter(&setting.path), &setting.value)
    }
}

/// Returns whether every further request would fail as well.
fn is_lost(error: &datakit_client::Error) -> bool {
    matches!(error, datakit_client::Error::Lost(_))
}

fn no_answer(path: &str) -> CliError {
    let seconds = ANSWER_TIMEOUT.as_secs();
    CliError::Failed(format!("{path}: no value within {seconds} s; it may be a stream"))
}

fn to_json(parameter: Option<&Parameter>, value: &str) -> Value {
    let Some(parameter) = parameter else { return value.into() };
    let value = parameter.normalize(value);
    let one = |text: &str| match parameter.optional && text == "none" {
        true => Value::Null,
        false => one_to_json(&parameter.kind, text),
    };
    match parameter.count {
        _ if parameter.write_only => Value::Null,
        Some(_) if value != "none" => value.split_ascii_whitespace().map(one).collect(),
        _ => one(&value),
    }
}

fn one_to_json(kind: &Kind, value: &str) -> Value {
    let number = match kind {
        Kind::Number { .. } | Kind::Decimal { .. } => serde_json::from_str(value).ok(),
        Kind::Bool => Some(Value::Bool(value == "on")),
        _ => None,
    };
    number.unwrap_or_else(|| value.into())
}

#[cfg(test)]
mod tests {
    use datakit_client::params::Schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_json_type_of_the_parameter() {
        let schema = Schema::parse(
            r#"{"version":1,"params":[
{"path":"a","type":"u64","min":0,"max":18446744073709551615},
{"path":"b","type":"bool"},
{"path":"c","type":"f32","min":0,"max":1,"count":2},
{"path":"d","type":"i8","min":0,"max":1,"optional":true},
{"path":"e","type":"string","max-bytes":4},
{"path":"f","type":"u8","min":0,"max":1,"flags":["write-only"]},
{"path":"g","type":"u8","min":0,"max":9,"optional":true,"count":3},
{"path":"h","type":"decimal","decimals":2,"min":0,"max":9}
]}"#,
        );
        let schema = schema.unwrap();
        for (path, value, expected) in [
            ("a", "18446744073709551615", json!(u64::MAX)),
            ("b", "on", json!(true)),
            ("c", "0.5 1", json!([0.5, 1])),
            ("d", "none", Value::Null),
            ("d", "1", json!(1)),
            ("e", "12", json!("12")),
            ("f", "*", Value::Null),
            ("a", "0x4", json!(4)),
            ("b", "true", json!(true)),
            ("g", "none 0 2", json!([null, 0, 2])),
            ("g", "none", Value::Null),
            ("h", "2.50", json!(2.5)),
            ("h", "007", json!(7)),
        ] {
            assert_eq!(to_json(schema.find(path).ok(), value), expected, "{path} {value}");
        }
        assert_eq!(to_json(None, "12"), json!("12"));
    }
}
