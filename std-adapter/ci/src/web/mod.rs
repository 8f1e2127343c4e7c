//! The web pages, the logs and the API.

pub mod auth;
pub mod server;
pub mod tls;
