//! Watches a branch and prints each new head, or each new value at a path in the branch.
//!
//! ```sh
//! datakit serve &
//! cargo run -p datakit-client --example watch -- tcp://127.0.0.1:5640 master etc/app/level
//! ```

use std::error::Error;
use std::io::Write;

use datakit_client::Url;
use datakit_client::db::{Db, Path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, branch, path @ ..] = &arguments[..] else {
        return Err("usage: watch URL BRANCH [PATH]".into());
    };
    let path = path.first().map(|path| path.parse()).transpose()?;
    run(&url.parse()?, branch, path, usize::MAX, &mut std::io::stdout()).await
}

/// Prints one line for each of the next `count` values.
pub(crate) async fn run(
    url: &Url,
    branch: &str,
    path: Option<Path>,
    count: usize,
    output: &mut (dyn Write + Send),
) -> Result<(), Box<dyn Error>> {
    let branch = Db::connect(url).await?.branch(branch).await?;
    match path {
        Some(path) => {
            let mut values = branch.watch_path(&path).await?;
            for _ in 0..count {
                let Some(value) = values.next().await else { break };
                match value? {
                    Some(value) => writeln!(output, "{path}: {value:?}")?,
                    None => writeln!(output, "{path}: nothing")?,
                }
            }
        }
        None => {
            let mut heads = branch.watch_head().await?;
            for _ in 0..count {
                let Some(head) = heads.next().await else { break };
                match head? {
                    Some(commit) => {
                        writeln!(output, "{} {}", commit.id(), commit.message().await?)?
                    }
                    None => writeln!(output, "no commits")?,
                }
            }
        }
    }
    Ok(())
}
