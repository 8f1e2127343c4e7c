//! Writes a file to a 9P server, reads it back and lists the server's root directory.
//!
//! ```sh
//! datakit serve --scratch &
//! cargo run -p datakit-client --example client -- tcp://127.0.0.1:5640
//! ```

use std::error::Error;

use datakit_client::{Client, OpenMode, Options, Url};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
    for line in run(&url.parse()?).await? {
        println!("{line}");
    }
    Ok(())
}

/// Returns the file's text, followed by one line for each file in the root directory.
pub(crate) async fn run(url: &Url) -> Result<Vec<String>, Box<dyn Error>> {
    let client = Client::connect(url, Options::default()).await?;
    let mut file = client.create("/greeting", 0o644, OpenMode::READ_WRITE).await?;
    file.write_all(b"hello, world").await?;
    file.rewind().await?;
    let mut text = String::new();
    file.read_to_string(&mut text).await?;
    file.close().await?;

    let mut lines = vec![text];
    let mut entries = client.entries("/").await?;
    while let Some(entry) = entries.next().await? {
        lines.push(format!("{:?} {}", entry.kind, entry.name));
    }
    drop(entries);
    client.close().await;
    Ok(lines)
}
