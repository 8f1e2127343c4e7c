//! Commits a file to a branch of a Git repository, without using a server, and prints each new
//! head.
//!
//! ```sh
//! cargo run -p datakit-db --example commit -- notes master motd hello
//! ```
use std::path::Path;
use std::sync::Arc;

use datakit_db::identity::{Authorship, Identity};
use datakit_db::object::EntryMode;
use datakit_db::store::GitStore;
use datakit_db::{BranchName, CommitOptions, Database, Transaction};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repository, branch, path, text] = arguments.as_slice() else {
        return Err("usage: database REPOSITORY BRANCH PATH TEXT".into());
    };
    let database = Database::new(Arc::new(GitStore::open(Path::new(repository))?))?;
    let branch = database.branch(&BranchName::new(branch)?);
    let watch = branch.watch()?;

    let head = branch.head()?;
    let transaction = Transaction::begin(&database, head)?;
    transaction.create(path.as_bytes(), EntryMode::Normal, text.as_bytes())?;
    let by = Authorship::now(&Identity::default());
    let options = CommitOptions::default().if_changed(true);
    transaction.commit(&branch, &Vec::from_iter(head), b"Example", &by, options)?;

    match watch.head_watch().with(|head| *head) {
        Some(head) => println!("{} is at {head}", branch.name()),
        None => println!("{} has no commit", branch.name()),
    }
    Ok(())
}
