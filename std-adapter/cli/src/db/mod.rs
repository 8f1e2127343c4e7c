//! The `datakit db` command, which works with branches and commits.

mod commit;
mod history;
mod log;
mod revision;
mod text;
mod watch;

use datakit_client::Client;
use datakit_client::db::{BranchName, Db, Error};
use serde_json::json;

use self::revision::find_commit;
use self::text::{change_lines, change_to_json, subject};
use crate::args::{Connection, DbCommand};
use crate::commands::ls;
use crate::connect::with_client;
use crate::error::{CliError, CliResult, at};
use crate::operand::{CommitPath, ServerPath};
use crate::stdio::{self, for_each, print_file, report_all};

/// Connects to the server and runs a command.
pub(crate) async fn run(connection: Connection, command: DbCommand) -> CliResult {
    with_client(&connection, async |client| {
        dispatch(client, &Db::new(client.clone()), command).await
    })
    .await
}

async fn dispatch(client: &Client, db: &Db, command: DbCommand) -> CliResult {
    match command {
        DbCommand::Branches { verbose, json } => branches(db, verbose, json).await,
        DbCommand::Rm { branches } => {
            for_each(&branches, async |name| {
                db.remove_branch(name).await.map_err(|error| no_such_branch(name, error))
            })
            .await
        }
        DbCommand::Mv { from, to } => rename_branch(client, &from, &to).await,
        DbCommand::FastForward { branch, commit } => fast_forward(db, &branch, &commit).await,
        DbCommand::Ls { options, paths } => {
            let (mut found, mut failures) = (Vec::new(), Vec::new());
            for path in &paths {
                match server_path(db, path).await {
                    Ok(path) => found.push(path),
                    Err(failure) => failures.push(failure),
                }
            }
            if !found.is_empty() {
                failures.extend(ls(client, &found, &options).await.err());
            }
            report_all(failures)
        }
        DbCommand::Cat { paths } => {
            for_each(&paths, async |path| print_file(client, &server_path(db, path).await?).await)
                .await
        }
        DbCommand::Log { oneline, json, max_count, start, paths } => {
            let format = match (json, oneline) {
                (true, _) => log::LogFormat::Json,
                (_, true) => log::LogFormat::Oneline,
                _ => log::LogFormat::Full,
            };
            let max_count = max_count.map_or(usize::MAX, Into::into);
            log::log(db, &start, &paths, format, max_count).await
        }
        DbCommand::Show { json, commit } => log::show(db, &commit, json).await,
        DbCommand::Commit { branch, message, author, allow_empty, removals, updates } => {
            let request = commit::CommitRequest {
                message: &message,
                author: author.as_deref(),
                allow_empty,
                removals: &removals,
                updates: &updates,
            };
            commit::commit(db, &branch, &request).await
        }
        DbCommand::Merge { message, into, from } => merge(db, &into, &from, message).await,
        DbCommand::Watch { print, branch, path } => {
            watch::watch(db, &branch, path.as_deref(), print).await
        }
        DbCommand::Diff { json, old, new } => diff(db, &old, &new, json).await,
        DbCommand::Fetch { url, branch } => {
            let fetched = db.fetch(&url, &branch).await;
            let head = fetched.map_err(|error| fetch_error(&url, &branch, &error))?;
            stdio::print(format!("{}\n", head.id()).as_bytes())
        }
    }
}

async fn branches(db: &Db, verbose: bool, json: bool) -> CliResult {
    let names = db.branches().await.map_err(at(&"branches"))?;
    let mut found = Vec::new();
    for name in names {
        let head = match verbose || json {
            true => db.branch(&name).await.map_err(at(&name))?.head().await.map_err(at(&name))?,
            false => None,
        };
        found.push((name.to_string(), head));
    }
    if json {
        let branch = |(name, head): &(String, Option<datakit_client::db::Commit>)| json!({ "name": name, "head": head.as_ref().map(|head| head.id().to_string()) });
        return stdio::print_json(&found.iter().map(branch).collect());
    }
    let width = found.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, head) in found {
        let shown = stdio::line(&name);
        match head {
            Some(head) => {
                let message = head.message().await.map_err(at(&name))?;
                let subject = subject(&message);
                text.push_str(&format!("{shown:width$} {} {subject}\n", head.id()));
            }
            None => text.push_str(&format!("{shown}\n")),
        }
    }
    stdio::print(text.as_bytes())
}

/// Renames a branch by renaming its directory.
async fn rename_branch(client: &Client, from: &str, to: &str) -> CliResult {
    let path = |name: &str| -> CliResult<ServerPath> {
        let name = BranchName::new(name).map_err(|error| error.to_string())?;
        Ok(ServerPath::from("branch".to_owned()).join(name.to_file_name()))
    };
    let (old, new) = (path(from)?, path(to)?);
    client.stat(&old).await.map_err(|error| no_such_branch(from, error.into()))?;
    // The server would also refuse the rename, but with an error about directories.
    if client.stat(&new).await.is_ok() {
        return Err(at(&to)("a branch with this name already exists"));
    }
    client.rename(&old, &new).await.map_err(at(&format_args!("{from} to {to}")))
}

/// Prefixes an error with the name of a branch. [`Error::NotFound`] means that there is no such
/// branch.
fn no_such_branch(name: &str, error: Error) -> CliError {
    match error {
        Error::NotFound => at(&name)("no such branch"),
        other => at(&name)(other),
    }
}

async fn fast_forward(db: &Db, branch: &str, commit: &str) -> CliResult {
    let commit = find_commit(db, commit).await?;
    let handle = db.branch(branch).await.map_err(at(&branch))?;
    handle.fast_forward(&commit).await.map_err(|error| match error {
        Error::NotFastForward => CliError::Failed(format!(
            "{branch}: not a fast-forward: {} does not descend from its head",
            commit.id()
        )),
        other => at(&branch)(other),
    })?;
    stdio::print(format!("{}\n", commit.id()).as_bytes())
}

/// Returns the server path of a file in a commit.
async fn server_path(db: &Db, path: &CommitPath) -> CliResult<ServerPath> {
    let commit = find_commit(db, &path.commit).await?;
    let tree = ServerPath::from(format!("snapshots/{}/ro", commit.id()));
    let names = ServerPath::from(path.path.clone());
    Ok(names.names().fold(tree, |dir, name| dir.join(name)))
}

async fn merge(db: &Db, into: &str, from: &str, message: Option<String>) -> CliResult {
    let theirs = find_commit(db, from).await?;
    let branch = db.branch(into).await.map_err(at(&into))?;
    let transaction = branch.transaction().await.map_err(at(&into))?;
    let head = transaction.parents().await.map_err(at(&into))?.into_iter().next();
    // A fast-forward suffices: it sets the head of a branch that has no commits, and has no effect
    // on a branch that already points to the commit.
    if head.as_ref().is_none_or(|head| *head == theirs) {
        transaction.abort().await;
        branch.fast_forward(&theirs).await.map_err(at(&into))?;
        return stdio::print(format!("{}\n", theirs.id()).as_bytes());
    }
    let merge = transaction.merge(&theirs).await.map_err(at(&into))?;
    if !merge.conflicts.is_empty() {
        transaction.abort().await;
        let line = |path: &datakit_client::db::Path| {
            format!("conflict {}\n", stdio::line(&path.to_string()))
        };
        stdio::print(merge.conflicts.iter().map(line).collect::<String>().as_bytes())?;
        return Err(at(&into)(format!("conflicts with {from}: nothing was committed")));
    }
    let message = message.unwrap_or_else(|| format!("Merge {from} into {into}"));
    let head = transaction.commit(&message).await.map_err(at(&into))?;
    stdio::print(format!("{}\n", head.id()).as_bytes())
}

async fn diff(db: &Db, old: &str, new: &str, json: bool) -> CliResult {
    let (from, to) = (find_commit(db, old).await?, find_commit(db, new).await?);
    let changes = to.diff(&from).await.map_err(at(&new))?;
    if json {
        return stdio::print_json(&changes.iter().map(change_to_json).collect());
    }
    stdio::print(change_lines(&changes).as_bytes())
}

/// Adds the URL to a fetch error, unless the server's text already contains the URL.
fn fetch_error(url: &str, branch: &str, error: &Error) -> CliError {
    let text = error.to_string();
    CliError::Failed(match text.strip_prefix("error: ") {
        Some("no head to fetch") => format!("cannot fetch {url}: no such branch: {branch}"),
        Some(text) => text.to_owned(),
        None => format!("cannot fetch {url}: {text}"),
    })
}
