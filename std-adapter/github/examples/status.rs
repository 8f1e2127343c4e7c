//! Sets the status of a commit and marks the repository as monitored.
//!
//! ```sh
//! datakit serve &
//! cargo run -p datakit-github --example status -- tcp://127.0.0.1:5640 USER/REPO HASH CONTEXT success
//! ```

use std::error::Error;

use datakit_client::Url;
use datakit_client::db::Db;
use datakit_github::{
    Commit, DEFAULT_BRANCH, Diff, Hash, Status, StatusId, StatusState, ensure_branch, write,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, rest @ ..] = &*arguments else { return Err("use: status URL REPO HASH ...".into()) };
    println!("{}", run(&url.parse()?, rest).await?);
    Ok(())
}

/// Commits the status to the database and returns the id of the new database commit.
pub(crate) async fn run(url: &Url, arguments: &[String]) -> Result<String, Box<dyn Error>> {
    let [repo, hash, context, state] = arguments else {
        return Err("the arguments are USER/REPO, a hash, a context and a state".into());
    };
    let commit = Commit { repo: repo.parse()?, hash: Hash::parse(hash)? };
    let status = Status {
        id: StatusId { commit: commit.clone(), context: context.parse()? },
        state: StatusState::parse(state),
        description: None,
        target_url: None,
    };
    let diff = Diff::new([commit.repo.into(), status.into()], []);

    let branch = ensure_branch(&Db::connect(url).await?, DEFAULT_BRANCH).await?;
    let transaction = branch.transaction().await?;
    write(&transaction, &diff).await?;
    Ok(transaction.commit(&diff.message()).await?.id().to_string())
}
