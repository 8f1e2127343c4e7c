//! Formats parameter values as text and JSON.

use datakit_client::params::{Kind, Parameter, Setting};
use serde_json::{Map, Value};

use super::Session;
use crate::error::CliResult;

impl Session {
    /// Reads values. The value of a write-only parameter is `*`.
    pub(super) async fn read(&self, paths: &[String]) -> CliResult<Vec<Setting>> {
        let mut settings = Vec::new();
        for path in paths {
            let is_hidden = self.parameter(path).is_some_and(|parameter| parameter.write_only);
            let value = if is_hidden { "*".to_owned() } else { self.params.get(path).await? };
            settings.push(Setting::new(path, value));
        }
        Ok(settings)
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

fn to_json(parameter: Option<&Parameter>, value: &str) -> Value {
    match parameter {
        Some(parameter) if parameter.write_only => Value::Null,
        Some(parameter) if parameter.optional && value == "none" => Value::Null,
        Some(parameter) if parameter.count.is_some() => {
            value.split_ascii_whitespace().map(|word| one_to_json(&parameter.kind, word)).collect()
        }
        Some(parameter) => one_to_json(&parameter.kind, value),
        None => value.into(),
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
{"path":"f","type":"u8","min":0,"max":1,"flags":["write-only"]}
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
        ] {
            assert_eq!(to_json(schema.find(path).ok(), value), expected, "{path} {value}");
        }
        assert_eq!(to_json(None, "12"), json!("12"));
    }
}
