//! The `datakit db log` and `datakit db show` commands.

use std::fmt::Write;

use datakit_client::db::{Change, Commit, Content, Db, Details, Path, Result, Tree};
use serde_json::{Value, json};

use super::history::Commits;
use super::revision::find_commit;
use super::text::{change_lines, change_to_json, parse_path, subject};
use crate::error::{CliResult, at};
use crate::stdio;

/// The output format for commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    Full,
    Oneline,
    Json,
}

/// The number of bytes to buffer before printing.
const PIECE_SIZE: usize = 1 << 16;

/// Prints a commit's history, newest commit first. If `paths` is not empty, only commits that
/// change at least one of the paths are printed.
pub(super) async fn log(
    db: &Db,
    start: &str,
    paths: &[String],
    format: LogFormat,
    max_count: usize,
) -> CliResult {
    let paths: Vec<Path> = paths.iter().map(|path| parse_path(path)).collect::<CliResult<_>>()?;
    let start_commit = find_commit(db, start).await?;
    let mut commits = Commits::from(&start_commit).await.map_err(at(&start))?;
    let (mut objects, mut text, mut count) = (Vec::new(), String::new(), 0);
    while count < max_count {
        let next = async {
            let Some(details) = commits.next().await? else { return Ok(None) };
            let is_shown = paths.is_empty() || changes_any(db, &details, &paths).await?;
            Ok::<_, datakit_client::db::Error>(Some((details, is_shown)))
        };
        let details = match next.await {
            Ok(Some((details, true))) => details,
            Ok(Some((_, false))) => continue,
            Ok(None) => break,
            // Print the commits that were read before the error occurred.
            Err(error) => {
                stdio::print(text.as_bytes())?;
                return Err(at(&start)(error));
            }
        };
        match format {
            LogFormat::Json => objects.push(to_json(&details)),
            LogFormat::Oneline => {
                text.push_str(&format!("{} {}\n", details.id, subject(&details.message)));
            }
            LogFormat::Full => {
                text.push_str(if count > 0 { "\n" } else { "" });
                text.push_str(&to_text(&details));
            }
        }
        count += 1;
        if text.len() >= PIECE_SIZE {
            stdio::print(text.as_bytes())?;
            text.clear();
        }
    }
    match format {
        LogFormat::Json => stdio::print_json(&objects.into()),
        _ => stdio::print(text.as_bytes()),
    }
}

/// Returns whether the commit differs from each of its parents in at least one file at or below
/// `paths`.
async fn changes_any(db: &Db, details: &Details, paths: &[Path]) -> Result<bool> {
    let commit = db.commit(details.id.to_string()).await?;
    let is_below = |change: &Change| {
        paths.iter().any(|path| {
            let mut names = change.path().names();
            path.names().all(|name| names.next() == Some(name))
        })
    };
    for parent in &details.parents {
        if !commit.diff(parent).await?.iter().any(is_below) {
            return Ok(false);
        }
    }
    if details.parents.is_empty() {
        for path in paths {
            if commit.tree().exists(path).await? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    Ok(true)
}

/// Prints a commit and its changes.
pub(super) async fn show(db: &Db, name: &str, as_json: bool) -> CliResult {
    let commit = find_commit(db, name).await?;
    let details = commit.details().await.map_err(at(&name))?;
    let changes = changes(&commit).await.map_err(at(&name))?;
    if as_json {
        let mut object = to_json(&details);
        if let Some(object) = object.as_object_mut() {
            let changes = changes.iter().map(change_to_json).collect();
            object.insert("changes".to_owned(), changes);
        }
        return stdio::print_json(&object);
    }
    stdio::print(format!("{}\n{}", to_text(&details), change_lines(&changes)).as_bytes())
}

/// Returns the changes since the first parent. If the commit has no parents, all of its files are
/// new.
async fn changes(commit: &Commit) -> Result<Vec<Change>> {
    if let Some(parent) = commit.parents().await?.first() {
        return commit.diff(parent).await;
    }
    let mut files = Vec::new();
    add_files(&commit.tree(), Path::ROOT, &mut files).await?;
    files.sort();
    Ok(files)
}

async fn add_files(tree: &Tree, dir: Path, files: &mut Vec<Change>) -> Result<()> {
    let Content::Dir(names) = tree.read(&dir).await? else {
        files.push(Change::Added(dir));
        return Ok(());
    };
    for name in names {
        Box::pin(add_files(tree, dir.clone().join(&name)?, files)).await?;
    }
    Ok(())
}

/// Formats a commit as `git log` does. The original server sends neither the author nor the date.
fn to_text(details: &Details) -> String {
    let mut text = format!("commit {}\n", details.id);
    // Writing to a string cannot fail.
    if details.parents.len() > 1 {
        let _ = writeln!(text, "Merge: {}", parents(details).join(" "));
    }
    for (name, value) in [("Author:", &details.author), ("Date:  ", &details.date)] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name} {}", stdio::line(value));
        }
    }
    text.push('\n');
    for line in details.message.trim_end().lines() {
        let _ = writeln!(text, "{}", format!("    {}", stdio::line(line)).trim_end());
    }
    text
}

fn to_json(details: &Details) -> Value {
    json!({
        "hash": details.id.to_string(),
        "parents": parents(details),
        "author": details.author,
        "date": details.date,
        "message": details.message,
    })
}

fn parents(details: &Details) -> Vec<String> {
    details.parents.iter().map(|parent| parent.id().to_string()).collect()
}
