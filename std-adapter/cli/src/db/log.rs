//! `datakit db log` and `datakit db show`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use datakit_client::db::{Change, Commit, Content, Db, Details, History, Id, Path, Result, Tree};
use serde_json::{Value, json};

use super::{change_json, commit_of, lines};
use crate::commands::{Done, at};
use crate::output;

/// How commits are printed.
#[derive(PartialEq, Eq)]
pub(crate) enum How {
    Text,
    Lines,
    Json,
}

pub(crate) async fn log(db: &Db, start: &str, how: How, most: usize) -> Done {
    let from = commit_of(db, start).await?;
    let mut commits = Commits::from(&from).await.map_err(at(&start))?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for number in 0..most {
        // What is there is printed before the error that ends it.
        let details = match commits.next().await {
            Ok(Some(details)) => details,
            Ok(None) => break,
            Err(error) => {
                output::print(text.as_bytes())?;
                return Err(at(&start)(error));
            }
        };
        match how {
            How::Json => all.push(json(&details)),
            How::Lines => text.push_str(&format!("{} {}\n", details.id, subject(&details.message))),
            How::Text => {
                text.push_str(if number > 0 { "\n" } else { "" });
                text.push_str(&self::text(&details));
            }
        }
        if text.len() >= PIECE {
            output::print(text.as_bytes())?;
            text.clear();
        }
    }
    if how == How::Json { output::print_json(&all.into()) } else { output::print(text.as_bytes()) }
}

/// Bytes that are printed at a time.
const PIECE: usize = 1 << 16;

/// All commits that lead to one, by date.
enum Commits {
    Log(Box<History>),
    /// From a server that has no file for it: commit by commit.
    Walk(Walk),
}

impl Commits {
    async fn from(commit: &Commit) -> Result<Commits> {
        if let Some(history) = commit.history().await? {
            return Ok(Commits::Log(Box::new(history)));
        }
        let mut walk = Walk::default();
        walk.find(commit).await?;
        Ok(Commits::Walk(walk))
    }

    async fn next(&mut self) -> Result<Option<Details>> {
        match self {
            Commits::Log(history) => history.next().await,
            Commits::Walk(walk) => walk.next().await,
        }
    }
}

#[derive(Default)]
struct Walk {
    known: HashSet<Id>,
    /// Those that are next, the latest last; of one date the first that was found.
    next: BTreeMap<(i64, Reverse<usize>), Details>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Details>> {
        let Some((_, details)) = self.next.pop_last() else { return Ok(None) };
        for parent in &details.parents {
            self.find(parent).await?;
        }
        Ok(Some(details))
    }

    async fn find(&mut self, commit: &Commit) -> Result<()> {
        if self.known.insert(commit.id()) {
            let details = commit.details().await?;
            self.next.insert((seconds(&details.date), Reverse(self.known.len())), details);
        }
        Ok(())
    }
}

/// Seconds since some day, of a date of RFC 3339; 0 where there is none.
fn seconds(date: &str) -> i64 {
    let number = |part: std::ops::Range<usize>| date.get(part)?.parse::<i64>().ok();
    let seconds = || {
        let [year, month, day] = [number(0..4)?, number(5..7)?, number(8..10)?];
        // Years begin in March here, so that the leap day is their last one.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
        let time = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
        let ahead = match (date.get(19..20)?, number(20..22), number(23..25)) {
            ("+", Some(hours), Some(minutes)) => hours * 60 + minutes,
            ("-", Some(hours), Some(minutes)) => -(hours * 60 + minutes),
            _ => 0,
        };
        Some(days * 86400 + time - ahead * 60)
    };
    seconds().unwrap_or_default()
}

pub(crate) async fn show(db: &Db, name: &str, as_json: bool) -> Done {
    let commit = commit_of(db, name).await?;
    let details = commit.details().await.map_err(at(&name))?;
    let changes = changes(&commit).await.map_err(at(&name))?;
    if as_json {
        let mut object = json(&details);
        if let Some(object) = object.as_object_mut() {
            object.insert("changes".to_owned(), changes.iter().map(change_json).collect());
        }
        return output::print_json(&object);
    }
    output::print(format!("{}\n{}", text(&details), lines(&changes)).as_bytes())
}

/// Since the first parent; all files of a commit without parents are new.
async fn changes(commit: &Commit) -> Result<Vec<Change>> {
    if let Some(parent) = commit.parents().await?.first() {
        return commit.diff(parent).await;
    }
    let mut files = Vec::new();
    find_files(&commit.tree(), Path::ROOT, &mut files).await?;
    files.sort();
    Ok(files)
}

async fn find_files(tree: &Tree, dir: Path, files: &mut Vec<Change>) -> Result<()> {
    let Content::Dir(names) = tree.read(&dir).await? else {
        files.push(Change::Added(dir));
        return Ok(());
    };
    for name in names {
        Box::pin(find_files(tree, dir.clone().join(&name)?, files)).await?;
    }
    Ok(())
}

fn subject(message: &str) -> String {
    output::line(message.lines().next().unwrap_or_default())
}

/// As `git log` prints it. What the original server does not tell is left out.
fn text(details: &Details) -> String {
    let mut text = format!("commit {}\n", details.id);
    // Writing to a string does not fail.
    if details.parents.len() > 1 {
        let _ = writeln!(text, "Merge: {}", parents(details).join(" "));
    }
    for (name, value) in [("Author:", &details.author), ("Date:  ", &details.date)] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name} {}", output::line(value));
        }
    }
    text.push('\n');
    for line in details.message.trim_end().lines() {
        let _ = writeln!(text, "{}", format!("    {}", output::line(line)).trim_end());
    }
    text
}

fn json(details: &Details) -> Value {
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

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn dates_are_compared_across_zones() {
        let at = seconds("2024-03-01T00:30:00+01:00");
        assert_eq!(at, seconds("2024-02-29T23:30:00Z"));
        assert_eq!(at + 86400, seconds("2024-02-29T15:30:00-08:00") + 86400);
        assert_eq!(seconds("2024-01-01T00:00:00+00:00") - seconds("2023-12-31T23:59:59+00:00"), 1);
        assert_eq!(seconds(""), 0);
    }
}
