//! Responses to calls, including error bodies and entity tags.

use hyper::HeaderMap;
use hyper::header::{ETAG, IF_NONE_MATCH};
use ring::digest;
use serde_json::{Value, json};

/// The documentation URL in error bodies.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// The result of a handler. Both `Ok` and `Err` contain a response.
pub(crate) type Answer = Result<Reply, Reply>;

/// A response to a call.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Answer {
        Ok(Self::new(200, Some(body)))
    }

    /// Returns a response with status 201 and the URL of the new object.
    pub(crate) fn created(body: Value) -> Answer {
        let location = body["url"].as_str().map(|url| ("location", url.to_string()));
        Ok(Self { status: 201, headers: location.into_iter().collect(), body: Some(body) })
    }

    pub(crate) fn empty() -> Answer {
        Ok(Self::new(204, None))
    }

    pub(crate) fn new(status: u16, body: Option<Value>) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// Returns an error that contains only a message.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message, "documentation_url": DOCUMENTATION, "status": status.to_string(),
        });
        Self::new(status, Some(body))
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "Not Found")
    }

    /// Returns an error for a malformed value in the body.
    pub(crate) fn unprocessable(message: &str) -> Self {
        Self::error(422, message)
    }

    /// Returns an error for a well-formed value that is not allowed. `code` is `missing`,
    /// `missing_field`, `invalid`, `already_exists` or `custom`. The code `custom` requires a
    /// message.
    pub(crate) fn invalid(resource: &str, field: &str, code: &str, message: Option<&str>) -> Self {
        let mut error = json!({ "resource": resource, "code": code });
        if !field.is_empty() {
            error["field"] = field.into();
        }
        if let Some(message) = message {
            error["message"] = message.into();
        }
        let mut reply = Self::error(422, "Validation Failed");
        if let Some(body) = &mut reply.body {
            body["errors"] = json!([error]);
        }
        reply
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds an entity tag to a successful response to GET. Changes the response status to 304 and
    /// removes the body if the request's `If-None-Match` header contains the same entity tag.
    pub(crate) fn tagged(self, method: &str, headers: &HeaderMap) -> Self {
        let Some(body) = self.body.as_ref().filter(|_| method == "GET" && self.status == 200)
        else {
            return self;
        };
        let tag = format!(
            "W/\"{}\"",
            hex(digest::digest(&digest::SHA256, body.to_string().as_bytes()).as_ref())
        );
        let held = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
        let same = held
            .flat_map(|value| value.split(','))
            .any(|held| held.trim() == "*" || weak(held) == weak(&tag));
        let reply = if same { Self { status: 304, body: None, ..self } } else { self };
        reply.with(ETAG.as_str(), tag).with("cache-control", "private, max-age=60, s-maxage=60")
    }
}

/// Formats bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
