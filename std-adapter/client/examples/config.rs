//! Prints a program's configuration and every subsequent change.
//!
//! The program writes the default values to the `defaults` branch. Each field is looked up first in
//! the `master` branch and then in the `defaults` branch. The program writes the effective values
//! to the `state` branch. The program can be started before the server, and it reconnects when the
//! server restarts:
//!
//! ```sh
//! cargo run -p datakit-client --example config -- tcp://127.0.0.1:5640 &
//! datakit serve &
//! echo 9000 | datakit db commit master -m 'Jumbo frames' app/net/mtu=-
//! datakit cat /branch/state/ro/app/net/mtu
//! ```

use std::error::Error;

use datakit_client::Url;
use datakit_client::config::{ConfigReader, Field, Layout, Record};
use datakit_client::db::Result;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
    let url: Url = url.parse()?;
    // Wait for the server. A program that never changes its configuration can use a `ConfigReader`
    // instead of a `Record`.
    ConfigReader::follow(url.clone(), "master")?.ready().await;
    let settings = Settings::open(url).await?;
    loop {
        println!("{}", settings.show());
        settings.record.wait().await?;
    }
}

/// The settings of a network interface.
pub(crate) struct Settings {
    pub(crate) record: Record<Url>,
    pub(crate) mtu: Field<u16>,
    ipv6: Field<bool>,
    proxy: Field<Option<String>>,
}

impl Settings {
    pub(crate) async fn open(url: Url) -> Result<Settings> {
        let record = Record::open(url, Layout::new("app".parse()?)).await?;
        let settings = Settings {
            mtu: record.field("net/mtu", 1500).await?,
            ipv6: record.field("net/ipv6", true).await?,
            proxy: record.field("net/proxy", None).await?,
            record,
        };
        settings.record.seal().await?;
        Ok(settings)
    }

    pub(crate) fn show(&self) -> String {
        let proxy = self.proxy.get().0.unwrap_or_else(|| "none".to_owned());
        format!("MTU {}, IPv6 {}, proxy {proxy}", self.mtu.get().0, self.ipv6.get().0)
    }
}
