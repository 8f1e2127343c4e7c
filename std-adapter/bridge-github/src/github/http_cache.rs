//! A cache for responses. If a response has not changed, GitHub replies with status 304 instead of
//! sending the response again.
//!
//! GitHub does not count a 304 reply against the rate limit. octocrab's own cache is unsuitable: it
//! stores truncated bodies, and it panics if an entry is evicted before the response arrives.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::HeaderValue;
use serde::de::IgnoredAny;

/// The maximum total size of the cached bodies.
const MAX_BYTES: usize = 64 << 20;

/// The maximum size of a cached body.
const MAX_ENTRY: usize = 8 << 20;

/// A response and its entity tag.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// The entity tag.
    pub(crate) etag: HeaderValue,
    /// The `Link` header.
    pub(crate) link: Option<HeaderValue>,
    /// The body.
    pub(crate) body: Bytes,
}

/// Responses by URI. The oldest responses are evicted first.
#[derive(Debug, Default)]
pub(crate) struct HttpCache {
    entries: HashMap<String, Cached>,
    order: VecDeque<String>,
    bytes: usize,
}

impl HttpCache {
    /// Returns the cached response for a URI.
    pub(crate) fn get(&self, uri: &str) -> Option<&Cached> {
        self.entries.get(uri)
    }

    /// Stores a response unless its body is too long or is not valid JSON.
    pub(crate) fn insert(&mut self, uri: &str, cached: Cached) {
        let is_whole = serde_json::from_slice::<IgnoredAny>(&cached.body).is_ok();
        if cached.body.len() > MAX_ENTRY || !is_whole {
            return;
        }
        self.bytes = self.bytes.saturating_add(cached.body.len());
        match self.entries.insert(uri.to_owned(), cached) {
            Some(old) => self.bytes = self.bytes.saturating_sub(old.body.len()),
            None => self.order.push_back(uri.to_owned()),
        }
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            let removed = self.entries.remove(&oldest).map_or(0, |old| old.body.len());
            self.bytes = self.bytes.saturating_sub(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(body: &str) -> Cached {
        let etag = HeaderValue::from_static("\"x\"");
        Cached { etag, link: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn only_whole_bodies_are_kept() {
        let mut cache = HttpCache::default();
        cache.insert("a", cached("[1, 2"));
        assert!(cache.get("a").is_none());
        cache.insert("a", cached("[1, 2]"));
        assert_eq!(cache.get("a").unwrap().body, "[1, 2]");
        cache.insert("a", cached("[1"));
        assert_eq!(cache.get("a").unwrap().body, "[1, 2]");
    }

    #[test]
    fn the_size_is_limited() {
        let mut cache = HttpCache::default();
        let body = format!("\"{}\"", "x".repeat(MAX_ENTRY - 2));
        for number in 0..20 {
            cache.insert(&number.to_string(), cached(&body));
            assert!(cache.bytes <= MAX_BYTES);
        }
        assert!(cache.get("19").is_some() && cache.get("0").is_none());
        cache.insert("long", cached(&format!("\"{}\"", "x".repeat(MAX_ENTRY))));
        assert!(cache.get("long").is_none());
        assert_eq!(cache.order.len(), cache.entries.len());
    }
}
