//! The addresses of the fake.

/// The addresses that answers contain.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// The root of the API, without a slash at the end.
    pub(crate) api: String,
    /// The root of the web site, without a slash at the end.
    pub(crate) web: String,
}
