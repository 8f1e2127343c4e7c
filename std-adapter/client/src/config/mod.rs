//! Configuration in a database that a program reads, changes and follows.
//!
//! [`ConfigReader`] follows values in one branch. [`Record`] adds defaults that users can see and
//! override, changes by the program, and a branch that shows the values in effect. Both reconnect
//! if they lose the connection to a server.
//!
//! ```no_run
//! use datakit_client::Url;
//! use datakit_client::config::ConfigReader;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url: Url = "tcp://127.0.0.1:5640".parse()?;
//! let config = ConfigReader::follow(url, "master")?;
//! let mut mtu = config.value("slirp/mtu".parse()?, 1500);
//! println!("MTU {}", mtu.get());
//! loop {
//!     println!("MTU {}", mtu.changed().await);
//! }
//! # }
//! ```

mod field;
mod reader;
mod record;
mod session;

use std::time::Duration;

pub use field::{Assignment, Field, FieldType};
pub use reader::{ConfigReader, WatchedValue};
pub use record::{Layout, Record};

use crate::Url;
use crate::db::{Database, Db, Result};

/// The time between two attempts to connect.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A way to get a connected database.
///
/// A [`Url`] connects to a server, and connects again when the connection is lost. A database is
/// used as it is, so a lost connection is final.
pub trait Connect: Send + Sync + 'static {
    /// The database.
    type Database: Database;

    /// Whether connecting again can succeed after the connection was lost.
    const RECONNECTS: bool = true;

    /// Connects.
    ///
    /// # Errors
    /// Returns the reason why the database cannot be used.
    fn connect(&self) -> impl Future<Output = Result<Self::Database>> + Send;
}

impl Connect for Url {
    type Database = Db;

    async fn connect(&self) -> Result<Db> {
        Db::connect(self).await
    }
}

impl<D: Database> Connect for D {
    type Database = D;

    const RECONNECTS: bool = false;

    async fn connect(&self) -> Result<D> {
        Ok(self.clone())
    }
}
