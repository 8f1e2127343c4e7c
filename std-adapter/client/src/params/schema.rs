//! The description of a server's parameters.

use std::collections::HashMap;

use super::decimal::scaled;
use super::error::{Error, Result};
use crate::json::{JsonValue, parse_object};

/// The description of a server's parameters, as contained in the `schema` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    parameters: Vec<Parameter>,
}

/// The description of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// The path relative to the parameter directory, for example `blink/period`.
    pub path: String,
    /// The type and limits of the value, or of each value if there are multiple values.
    pub kind: Kind,
    /// The number of values if the parameter is an array, or `None` if the parameter has a single
    /// value.
    pub count: Option<usize>,
    /// Whether the value may be absent. An absent value is written as `none`.
    pub optional: bool,
    /// Whether each of multiple values may be absent. Otherwise, `optional` applies to the whole
    /// value.
    pub each_optional: bool,
    /// The difference between adjacent values: a decimal number, or, for a duration, a number with
    /// a unit such as `10 ms`. Some servers describe the step of a duration with only a number,
    /// which is a multiple of the type's smallest unit.
    pub step: Option<String>,
    /// The unit, or an empty string.
    pub unit: String,
    /// The description, or an empty string.
    pub doc: String,
    /// The default value as text.
    pub default: Option<String>,
    /// Whether the server refuses writes to the parameter.
    pub read_only: bool,
    /// Whether the server hides the value.
    pub write_only: bool,
    /// Whether a new value takes effect only after a restart.
    pub needs_restart: bool,
    /// Whether the value is excluded from nonvolatile storage.
    pub volatile: bool,
    /// Whether the `save` command saves the value to nonvolatile storage.
    pub saved: bool,
}

/// The type of a value, including its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `on` or `off`.
    Bool,
    /// One of a fixed list of names.
    Choice(Vec<String>),
    /// An integer or a floating-point number.
    Number {
        /// The name of the type: `u8` to `u64`, `i8` to `i64`, `f32` or `f64`.
        name: String,
        /// The range.
        range: Range,
    },
    /// A decimal number with a fixed number of decimal places.
    Decimal {
        /// The maximum number of digits after the decimal point.
        decimals: u32,
        /// The range.
        range: Range,
    },
    /// A duration with a unit, such as `1.5 s`.
    Duration(Range),
    /// A line of text.
    Text {
        /// The maximum length in bytes.
        max_bytes: usize,
    },
    /// A byte string in hexadecimal.
    Bytes {
        /// The maximum length in bytes.
        max_bytes: usize,
    },
    /// An IPv4 address.
    Ipv4,
    /// An Ethernet address.
    Mac,
    /// A type that is unknown to this version of the client. Only the server checks values of this
    /// type.
    Other(String),
}

/// The smallest and largest allowed values, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// The smallest value.
    pub min: String,
    /// The largest value.
    pub max: String,
}

impl Schema {
    /// Parses the content of the `schema` file.
    ///
    /// # Errors
    /// Returns [`Error::InvalidSchema`] with the reason if the text is not a valid version 1
    /// schema.
    pub fn parse(text: &str) -> Result<Schema> {
        let invalid = |reason: &str| Error::InvalidSchema(reason.to_owned());
        let mut members = parse_object(text).ok_or_else(|| invalid("it is not a JSON object"))?;
        match members.remove("version") {
            Some(JsonValue::Number(version)) if version == "1" => {}
            Some(JsonValue::Number(version)) => {
                return Err(Error::InvalidSchema(format!(
                    "it has version {version}, but this client supports only version 1"
                )));
            }
            _ => return Err(invalid("it has no version")),
        }
        let Some(JsonValue::Array(rows)) = members.remove("params") else {
            return Err(invalid("it has no array `params`"));
        };
        let parameter = |(index, row)| match row {
            JsonValue::Object(members) => Parameter::from_members(members).ok_or(index),
            _ => Err(index),
        };
        let parameters = rows.into_iter().enumerate().map(parameter).collect::<Result<_, usize>>();
        let parameters = parameters.map_err(|index| {
            Error::InvalidSchema(format!(
                "element {index} of `params` does not describe a parameter"
            ))
        })?;
        Ok(Schema { parameters })
    }

    /// Returns all parameters in the order in which the server lists them.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Returns the parameter with the given path.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if the path is a directory that contains parameters. Returns
    /// [`Error::UnknownParameter`] with the most similar path if there is no such parameter.
    pub fn find(&self, path: &str) -> Result<&Parameter> {
        let found = self.parameters.iter().find(|parameter| parameter.path == path);
        found.ok_or_else(|| match self.select(path) {
            Ok(selected) if !path.is_empty() => {
                let parameters = selected.into_iter().map(|one| one.path.clone()).collect();
                Error::IsDirectory { path: path.to_owned(), parameters }
            }
            _ => self.unknown(path),
        })
    }

    /// Returns the parameters that a path selects: a single parameter, or all parameters in a
    /// directory. An empty path selects all parameters.
    ///
    /// # Errors
    /// Returns [`Error::UnknownParameter`] with the most similar path if the path selects nothing.
    pub fn select(&self, path: &str) -> Result<Vec<&Parameter>> {
        let selected = self.parameters.iter().filter(|one| is_within(&one.path, path));
        let selected: Vec<_> = selected.collect();
        let none = selected.is_empty() && !path.is_empty();
        if none { Err(self.unknown(path)) } else { Ok(selected) }
    }

    fn unknown(&self, path: &str) -> Error {
        let distance = |parameter: &&Parameter| edit_distance(&parameter.path, path);
        let closest = self.parameters.iter().min_by_key(distance);
        let similar = closest.filter(|one| edit_distance(&one.path, path) <= path.len() / 2);
        let similar = similar.map(|parameter| parameter.path.clone());
        Error::UnknownParameter { path: path.to_owned(), similar }
    }
}

/// Returns `true` if `path` is `dir` or is below `dir`.
pub(super) fn is_within(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    dir.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns how many characters must be inserted, removed or replaced to turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let cost = diagonal + usize::from(from != to);
            diagonal = *above;
            left = cost.min(diagonal + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

type Members = HashMap<String, JsonValue>;

impl Parameter {
    fn from_members(mut members: Members) -> Option<Parameter> {
        let flags = match members.remove("flags") {
            Some(flags) => flags.into_texts()?,
            None => Vec::new(),
        };
        let has = |flag: &str| flags.iter().any(|set| set == flag);
        Some(Parameter {
            path: text(&mut members, "path").filter(|path| !path.is_empty())?,
            kind: Kind::from_members(&mut members)?,
            count: number(&mut members, "count"),
            optional: members.remove("optional") == Some(JsonValue::Bool(true)),
            each_optional: members.remove("each-optional") == Some(JsonValue::Bool(true)),
            step: scalar(&mut members, "step"),
            unit: text(&mut members, "unit").unwrap_or_default(),
            doc: text(&mut members, "doc").unwrap_or_default(),
            default: scalar(&mut members, "default"),
            read_only: has("read-only"),
            write_only: has("write-only"),
            needs_restart: has("restart"),
            volatile: has("volatile"),
            saved: members.remove("saved") == Some(JsonValue::Bool(true)),
        })
    }
}

impl Kind {
    fn from_members(members: &mut Members) -> Option<Kind> {
        let name = text(members, "type")?;
        let range = |members: &mut Members| {
            Some(Range { min: scalar(members, "min")?, max: scalar(members, "max")? })
        };
        let max_bytes = |members: &mut Members| number(members, "max-bytes");
        Some(match &*name {
            "bool" => Kind::Bool,
            "choice" => Kind::Choice(members.remove("names")?.into_texts()?),
            "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "f32" | "f64" => {
                Kind::Number { name, range: range(members)? }
            }
            "decimal" => {
                let decimals = number(members, "decimals").filter(|decimals| *decimals <= 18)?;
                let range = range(members)?;
                let is_valid = |bound: &str| scaled(bound, decimals).is_some();
                (is_valid(&range.min) && is_valid(&range.max)).then_some(())?;
                Kind::Decimal { decimals, range }
            }
            "duration" => Kind::Duration(range(members)?),
            "string" => Kind::Text { max_bytes: max_bytes(members)? },
            "bytes" => Kind::Bytes { max_bytes: max_bytes(members)? },
            "ipv4" => Kind::Ipv4,
            "mac" => Kind::Mac,
            _ => Kind::Other(name),
        })
    }
}

fn text(members: &mut Members, name: &str) -> Option<String> {
    members.remove(name)?.into_text()
}

/// Returns the text of a string or a number.
fn scalar(members: &mut Members, name: &str) -> Option<String> {
    match members.remove(name)? {
        JsonValue::Text(text) | JsonValue::Number(text) => Some(text),
        _ => None,
    }
}

fn number<T: std::str::FromStr>(members: &mut Members, name: &str) -> Option<T> {
    match members.remove(name)? {
        JsonValue::Number(number) => number.parse().ok(),
        _ => None,
    }
}
