//! Uses a transaction to commit a file to a branch of a DataKit database and prints the history.
//!
//! ```sh
//! datakit serve &
//! cargo run -p datakit-client --example database -- tcp://127.0.0.1:5640
//! ```

use std::error::Error;

use datakit_client::Url;
use datakit_client::db::{Commit, Db};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
    let head = run(&url.parse()?).await?;
    if let Some(mut history) = head.history().await? {
        while let Some(commit) = history.next().await? {
            println!("{} {} {}", commit.id, commit.date, commit.message);
        }
    }
    Ok(())
}

/// Commits to the `master` branch and returns its new head.
pub(crate) async fn run(url: &Url) -> Result<Commit, Box<dyn Error>> {
    let db = Db::connect(url).await?;
    let master = db.branch("master").await?;

    // The closure commits the transaction. If the closure returned an error instead, the
    // transaction would be aborted.
    let head = master
        .with_transaction(async |transaction| {
            transaction.make_dirs(&"etc/app".parse()?).await?;
            transaction.create_or_replace_file(&"etc/app/level".parse()?, b"debug\n").await?;
            transaction.commit("Set the log level").await
        })
        .await?;

    let level = head.tree().read_file(&"etc/app/level".parse()?).await?;
    println!("etc/app/level: {}", String::from_utf8_lossy(&level).trim());
    Ok(head)
}
