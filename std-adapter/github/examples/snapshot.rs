//! Prints the repositories, commits, pull requests, refs and statuses in the metadata branch, one
//! per line.
//!
//! ```sh
//! datakit serve &
//! cargo run -p datakit-github --example snapshot -- tcp://127.0.0.1:5640
//! ```

use std::error::Error;

use datakit_client::Url;
use datakit_client::db::Db;
use datakit_github::{DEFAULT_BRANCH, Element, read};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
    for line in run(&url.parse()?).await? {
        println!("{line}");
    }
    Ok(())
}

/// Returns one line for each repository, commit, pull request, ref and status.
pub(crate) async fn run(url: &Url) -> Result<Vec<String>, Box<dyn Error>> {
    let branch = Db::connect(url).await?.branch(DEFAULT_BRANCH).await?;
    let Some(head) = branch.head().await? else { return Ok(Vec::new()) };
    let snapshot = read(&head.tree()).await?.snapshot;
    Ok(snapshot.elements().map(|element| describe(&element)).collect())
}

fn describe(element: &Element) -> String {
    let value = match element {
        Element::Pr(pr) => format!(" {} {}", pr.state.as_str(), pr.title),
        Element::Ref(reference) => format!(" {}", reference.head),
        Element::Status(status) => format!(" {}", status.state.as_str()),
        _ => String::new(),
    };
    format!("{}{value}", element.id())
}
