//! Reads, changes and follows a program's configuration in a database.
//!
//! A [`ConfigReader`] follows values in a single branch. A [`Record`] can also change values. A
//! record also stores defaults, which users can see and override, and publishes the effective
//! values in a separate branch. Both types reconnect if they lose the connection to a server.
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
mod layout;
mod reader;
mod record;
mod session;

use std::time::Duration;

pub use field::{Assignment, Field, FieldType};
pub use layout::Layout;
pub use reader::{ConfigReader, WatchedValue};
pub use record::Record;

use crate::Url;
use crate::db::{Database, Db, Result};

/// The delay between connection attempts.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Provides a connected database.
///
/// A [`Url`] connects to a server and reconnects if the connection is lost. A [`Database`] is
/// already connected and cannot reconnect.
pub trait Connect: Send + Sync + 'static {
    /// The database type.
    type Database: Database;

    /// Whether [`connect`](Connect::connect) can reconnect after the connection is lost.
    const RECONNECTS: bool = true;

    /// Connects to the database.
    ///
    /// # Errors
    /// Returns an error if the database cannot be used.
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
