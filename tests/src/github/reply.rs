//! Answers: statuses, bodies of errors, pages and entity tags.

use hyper::header::{ETAG, IF_NONE_MATCH, LINK};
use ring::digest;
use serde_json::{Value, json};

use super::json::roots;
use super::routes::Call;
use super::state::World;

/// The page that error bodies point to.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// The items of a page, unless the client asks for another number of up to [`LARGEST_PAGE`].
const PAGE: usize = 30;
const LARGEST_PAGE: usize = 100;

/// What a handler answers. An error is an answer as well.
pub(crate) type Answer = Result<Reply, Reply>;

/// An answer to a call.
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

    /// 201 with the address of the new object.
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

    /// An error with a message only.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message, "documentation_url": DOCUMENTATION, "status": status.to_string(),
        });
        Self::new(status, Some(body))
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "Not Found")
    }

    /// A value in the body that has the wrong form.
    pub(crate) fn unprocessable(message: &str) -> Self {
        Self::error(422, message)
    }

    /// A value that is well-formed but not accepted. `code` is `missing`, `missing_field`,
    /// `invalid`, `already_exists` or `custom`; the last needs a message.
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

    /// Adds the entity tag to a successful answer to GET, or turns it into 304 if the client has
    /// it already.
    pub(crate) fn tagged(self, call: &Call) -> Self {
        let Some(body) = self.body.as_ref().filter(|_| call.method == "GET" && self.status == 200)
        else {
            return self;
        };
        let tag = format!(
            "W/\"{}\"",
            hex(digest::digest(&digest::SHA256, body.to_string().as_bytes()).as_ref())
        );
        let held =
            call.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
        let same = held
            .flat_map(|value| value.split(','))
            .any(|held| held.trim() == "*" || weak(held) == weak(&tag));
        let reply = if same { Self { status: 304, body: None, ..self } } else { self };
        reply.with(ETAG.as_str(), tag).with("cache-control", "private, max-age=60, s-maxage=60")
    }
}

/// The part of a list that a call asks for, with the links to the other parts.
pub(crate) struct Page {
    first: usize,
    size: usize,
    number: usize,
    all: usize,
}

impl Page {
    /// Reads `per_page` and `page`. Like GitHub, replaces values that make no sense.
    pub(crate) fn of(call: &Call, all: usize) -> Self {
        let number = |name| call.query(name).and_then(|text| text.parse::<usize>().ok());
        let size = number("per_page").filter(|n| *n > 0).unwrap_or(PAGE).min(LARGEST_PAGE);
        let number = number("page").filter(|n| (1..1_000_000).contains(n)).unwrap_or(1);
        Self { first: (number - 1) * size, size, number, all }
    }

    pub(crate) fn cut<T>(&self, items: impl Iterator<Item = T>) -> Vec<T> {
        items.skip(self.first).take(self.size).collect()
    }

    /// Adds the header `Link`, unless all items fit on this page.
    pub(crate) fn link(&self, world: &World, call: &Call, reply: Reply) -> Reply {
        let last = self.all.div_ceil(self.size).max(1);
        let mut links = Vec::new();
        if self.number > 1 {
            links.push(("prev", (self.number - 1).min(last)));
        }
        if self.number < last {
            links.extend([("next", self.number + 1), ("last", last)]);
        }
        if self.number > 1 {
            links.push(("first", 1));
        }
        if links.is_empty() {
            return reply;
        }
        let links: Vec<_> = links
            .into_iter()
            .map(|(rel, page)| format!("<{}>; rel=\"{rel}\"", address(world, call, page)))
            .collect();
        reply.with(LINK.as_str(), links.join(", "))
    }
}

/// The address of another page. As on GitHub, it names the repository by its number.
fn address(world: &World, call: &Call, page: usize) -> String {
    let path = match world.repos.get(&call.repo) {
        Some(repo) => {
            let (api, _) = roots(&call.urls, repo);
            let here = format!("{}{}", call.urls.api, call.path);
            let rest = here.get(api.len()..).unwrap_or_default();
            format!("{}/repositories/{}{rest}", call.urls.api, repo.id)
        }
        None => format!("{}{}", call.urls.api, call.path),
    };
    let others = call.queries.iter().filter(|(name, _)| name != "page");
    let mut query: Vec<_> =
        others.map(|(name, value)| format!("{name}={}", escape(value))).collect();
    query.push(format!("page={page}"));
    format!("{path}?{}", query.join("&"))
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A list that is the whole body.
pub(crate) fn list<T>(
    world: &World,
    call: &Call,
    items: &[T],
    json: impl Fn(&T) -> Value,
) -> Answer {
    let page = Page::of(call, items.len());
    let body = page.cut(items.iter()).into_iter().map(json).collect();
    Ok(page.link(world, call, Reply::new(200, Some(body))))
}

/// A list in an object, beside the number of all items.
pub(crate) fn counted<T>(
    world: &World,
    call: &Call,
    name: &str,
    items: &[T],
    json: impl Fn(&T) -> Value,
) -> Answer {
    let page = Page::of(call, items.len());
    let some: Value = page.cut(items.iter()).into_iter().map(json).collect();
    let body = json!({ "total_count": items.len(), name: some });
    Ok(page.link(world, call, Reply::new(200, Some(body))))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
