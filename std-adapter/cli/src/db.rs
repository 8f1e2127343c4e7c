//! `datakit db`: branches and commits, each command in a few calls of the library.

mod commit;
mod log;
mod watch;

use datakit_client::Dialect;
use datakit_client::db::{Change, Commit, Db, Error, Id};
use serde_json::{Value, json};

pub(crate) use self::commit::Put;
use crate::args::{Connection, DbCommand};
use crate::commands::{Done, at, connected};
use crate::output;

pub(crate) async fn run(connection: Connection, command: DbCommand) -> Done {
    connected(connection, Dialect::Unix, async |client| {
        one(&Db::new(client.clone()), command).await
    })
    .await
}

async fn one(db: &Db, command: DbCommand) -> Done {
    match command {
        DbCommand::Branches { long, json } => branches(db, long, json).await,
        DbCommand::Log { oneline, json, max_count, start } => {
            let how = if json {
                log::How::Json
            } else if oneline {
                log::How::Lines
            } else {
                log::How::Text
            };
            log::log(db, &start, how, max_count.map_or(usize::MAX, Into::into)).await
        }
        DbCommand::Show { json, commit } => log::show(db, &commit, json).await,
        DbCommand::Commit { branch, message, author, files } => {
            commit::commit(db, &branch, &message, author.as_deref(), &files).await
        }
        DbCommand::Merge { message, into, from } => merge(db, &into, &from, message).await,
        DbCommand::Watch { print, branch, path } => {
            watch::watch(db, &branch, path.as_deref(), print).await
        }
        DbCommand::Diff { json, old, new } => diff(db, &old, &new, json).await,
        DbCommand::Fetch { url, branch } => {
            let head = db
                .fetch(&url, &branch)
                .await
                .map_err(|error| fetch_error(&url, &branch, &error))?;
            output::print(format!("{}\n", head.id()).as_bytes())
        }
    }
}

/// The commit of a hash, or the head of a branch.
async fn commit_of(db: &Db, name: &str) -> Done<Commit> {
    if name.parse::<Id>().is_err() {
        let head = db.branch(name).await.map_err(at(&name))?.head().await.map_err(at(&name))?;
        return head.ok_or_else(|| format!("{name}: no such branch, and no hash of a commit"));
    }
    db.commit(name).await.map_err(|error| match error {
        Error::NotFound => format!("{name}: no such commit"),
        other => at(&name)(other),
    })
}

async fn branches(db: &Db, long: bool, json: bool) -> Done {
    let names = db.branches().await.map_err(at(&"branches"))?;
    let mut found = Vec::new();
    for name in names {
        let head = match long || json {
            true => db.branch(&name).await.map_err(at(&name))?.head().await.map_err(at(&name))?,
            false => None,
        };
        found.push((name.to_string(), head.map(|head| head.id().to_string())));
    }
    if json {
        return output::print_json(
            &found.iter().map(|(name, head)| json!({ "name": name, "head": head })).collect(),
        );
    }
    let width = if long {
        found.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default()
    } else {
        0
    };
    let lines = found.iter().map(|(name, head)| match head {
        Some(head) => format!("{:width$} {head}\n", output::line(name)),
        None => format!("{}\n", output::line(name)),
    });
    output::print(lines.collect::<String>().as_bytes())
}

async fn merge(db: &Db, into: &str, from: &str, message: Option<String>) -> Done {
    let theirs = commit_of(db, from).await?;
    let branch = db.branch(into).await.map_err(at(&into))?;
    let transaction = branch.transaction().await.map_err(at(&into))?;
    // What has no commits yet moves to it, and what is there already stays.
    let head = transaction.parents().await.map_err(at(&into))?.into_iter().next();
    if head.as_ref().is_none_or(|head| *head == theirs) {
        transaction.abort().await;
        branch.fast_forward(&theirs).await.map_err(at(&into))?;
        return output::print(format!("{}\n", theirs.id()).as_bytes());
    }
    let merge = transaction.merge(&theirs).await.map_err(at(&into))?;
    if !merge.conflicts.is_empty() {
        transaction.abort().await;
        let lines = merge
            .conflicts
            .iter()
            .map(|path| format!("conflict {}\n", output::line(&path.to_string())));
        output::print(lines.collect::<String>().as_bytes())?;
        return Err(format!("{into}: {from} is in conflict with it, nothing was committed"));
    }
    let message = message.unwrap_or_else(|| format!("Merge {from} into {into}"));
    let head = transaction.commit(&message).await.map_err(at(&into))?;
    output::print(format!("{}\n", head.id()).as_bytes())
}

async fn diff(db: &Db, old: &str, new: &str, json: bool) -> Done {
    let (from, to) = (commit_of(db, old).await?, commit_of(db, new).await?);
    let changes = to.diff(&from).await.map_err(at(&new))?;
    if json {
        return output::print_json(&changes.iter().map(change_json).collect());
    }
    output::print(lines(&changes).as_bytes())
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{}\n", output::line(&change.to_string()))).collect()
}

fn change_json(change: &Change) -> Value {
    let word = match change {
        Change::Added(_) => "added",
        Change::Removed(_) => "removed",
        Change::Updated(_) => "updated",
    };
    json!({ "change": word, "path": change.path().to_string() })
}

/// The server's texts are about the address, and say that they are errors.
fn fetch_error(url: &str, branch: &str, error: &Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("error: ") {
        Some("no head to fetch") => format!("{url}: no such branch: {branch}"),
        Some(text) => text.to_owned(),
        None => format!("{url}: {text}"),
    }
}
