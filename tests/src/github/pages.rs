//! Divides lists into pages.

use hyper::header::LINK;
use serde_json::{Value, json};

use super::call::Call;
use super::json::roots;
use super::reply::{Answer, Reply};
use super::state::World;

/// The default number of items per page. Clients can request any number up to [`LARGEST_PAGE`].
const PAGE: usize = 30;
const LARGEST_PAGE: usize = 100;

/// The requested page of a list.
pub(crate) struct Page {
    first: usize,
    size: usize,
    number: usize,
    all: usize,
}

impl Page {
    /// Parses `per_page` and `page`. As on GitHub, each invalid value is replaced with a valid one.
    pub(crate) fn of(call: &Call, all: usize) -> Self {
        let number = |name| call.query(name).and_then(|text| text.parse::<usize>().ok());
        let size = number("per_page").filter(|n| *n > 0).unwrap_or(PAGE).min(LARGEST_PAGE);
        let number = number("page").filter(|n| (1..1_000_000).contains(n)).unwrap_or(1);
        Self { first: (number - 1) * size, size, number, all }
    }

    pub(crate) fn cut<T>(&self, items: impl Iterator<Item = T>) -> Vec<T> {
        items.skip(self.first).take(self.size).collect()
    }

    /// Adds the `Link` header, unless all items fit on this page.
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

/// Returns the URL of another page. As on GitHub, the URL identifies the repository by its id.
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

/// Returns a response whose body is a list.
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

/// Returns a response whose body is an object that contains a list and the total number of items.
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
