//! Logins through GitHub.
