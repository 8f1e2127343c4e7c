//! The web pages, the logs and the API.

pub mod auth;
