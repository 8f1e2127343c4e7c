//! The fake's URLs.

/// The base URLs for links in responses.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// The root URL of the API, without a trailing slash.
    pub(crate) api: String,
    /// The root URL of the website, without a trailing slash.
    pub(crate) web: String,
}
