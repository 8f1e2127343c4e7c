//! A call to the API, and functions that parse its body.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value};

use super::actor::Actor;
use super::reply::Reply;
use super::urls::Urls;

/// A call to the API.
pub(crate) struct Call {
    pub(crate) method: String,
    /// The call's path, without the base path of an Enterprise server.
    pub(crate) path: String,
    pub(crate) queries: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) urls: Urls,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) actor: Actor,
    /// The repository's id, or 0 if the route does not refer to a repository.
    pub(crate) repo: u64,
}

impl Call {
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(param, _)| *param == name).map_or("", |(_, value)| value)
    }

    /// Returns a numeric parameter from the path. Returns a 404 error if the parameter is not a
    /// number.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Reply> {
        self.param(name).parse().map_err(|_| Reply::not_found())
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.queries.iter().find(|(query, _)| query == name).map(|(_, value)| value.as_str())
    }

    /// Parses the body, which must be a JSON object. A missing body is treated as an empty object.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, Reply> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Reply::error(400, "Body should be a JSON object")),
            Err(_) => Err(Reply::error(400, "Problems parsing JSON")),
        }
    }
}

/// Returns a string from the body, or `None` if it is missing or `null`.
pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Reply> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Reply::unprocessable(&format!(
            "Invalid request.\n\nFor 'properties/{name}', {other} is not a string."
        ))),
    }
}

/// Returns a required string from the body.
pub(crate) fn required(body: &Map<String, Value>, name: &str) -> Result<String, Reply> {
    text(body, name)?.ok_or_else(|| {
        Reply::unprocessable(&format!("Invalid request.\n\n\"{name}\" wasn't supplied."))
    })
}
