//! How files look on the terminal and in JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use datakit::client::{Kind, Metadata};
use serde_json::{Value, json};

use crate::commands::{Branch, Done, last};

/// The error that is not told: nobody reads on.
pub(crate) const BROKEN_PIPE: &str = "Broken pipe";

fn stdout_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe => BROKEN_PIPE.to_owned(),
        _ => format!("standard output: {error}"),
    }
}

/// Writes to standard output, flushed.
pub(crate) fn print(bytes: &[u8]) -> Done {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| stdout_error(&error))
}

pub(crate) fn print_json(value: &Value) -> Done {
    print(format!("{value:#}\n").as_bytes())
}

/// The name that was asked for, where the server sends none, or one that says less.
pub(crate) fn named(metadata: Metadata, path: &str) -> Metadata {
    let name = match last(path) {
        "" => "/",
        name => name,
    };
    let mut metadata = metadata;
    metadata.name = name.to_owned();
    metadata
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Dir => "directory",
        Kind::Symlink => "symlink",
        Kind::Special => "special",
        _ => "file",
    }
}

/// A name as it is, without what would move the cursor of a terminal.
fn shown(name: &str) -> String {
    if io::stdout().is_terminal() { name.replace(char::is_control, "?") } else { name.to_owned() }
}

pub(crate) fn short(files: &[Metadata]) -> String {
    files.iter().fold(String::new(), |text, file| text + &shown(&file.name) + "\n")
}

/// One line a file, in columns.
pub(crate) fn long(files: &[Metadata]) -> String {
    let width =
        |of: fn(&Metadata) -> String| files.iter().map(|file| of(file).chars().count()).max().unwrap_or_default();
    let (owners, groups) = (width(|file| file.owner.clone()), width(|file| file.group.clone()));
    let lengths = width(|file| file.len.to_string());
    let mut text = String::new();
    for file in files {
        let _ = writeln!(
            text,
            "{} {:owners$} {:groups$} {:>lengths$} {} {}{}",
            mode(file),
            file.owner,
            file.group,
            file.len,
            date(file.modified),
            shown(&file.name),
            file.target.as_ref().map(|target| format!(" -> {}", shown(target))).unwrap_or_default(),
        );
    }
    text
}

/// `drwxr-xr-x`.
fn mode(file: &Metadata) -> String {
    let kind = match file.kind {
        Kind::Dir => 'd',
        Kind::Symlink => 'l',
        Kind::Special => 's',
        _ => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits = bits.map(|(place, letter)| if file.mode & (0o400 >> place) == 0 { '-' } else { letter });
    std::iter::once(kind).chain(bits).collect()
}

/// A time as `2024-02-29 12:34:56`, in UTC.
fn date(at: SystemTime) -> String {
    let seconds = seconds(at);
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Days since 0000-03-01 in eras of 400 years; years that start in March end with the leap day.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// All about one file, a line a fact.
pub(crate) fn all(file: &Metadata) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line("name", &file.name);
    line("kind", &word(file.kind));
    line("mode", &format_args!("{:04o} {}", file.mode, mode(file)));
    line("length", &file.len);
    line("owner", &file.owner);
    line("group", &file.group);
    line("links", &file.links);
    line("accessed", &date(file.accessed));
    line("modified", &date(file.modified));
    line("qid", &format_args!("{:#04x} {} {}", file.qid.kind, file.qid.version, file.qid.path));
    if let Some(target) = &file.target {
        line("target", target);
    }
    text
}

pub(crate) fn json(file: &Metadata) -> Value {
    let mut value = json!({
        "name": file.name,
        "kind": word(file.kind),
        "mode": file.mode,
        "length": file.len,
        "owner": file.owner,
        "group": file.group,
        "links": file.links,
        "accessed": seconds(file.accessed),
        "modified": seconds(file.modified),
        "qid": { "kind": file.qid.kind, "version": file.qid.version, "path": file.qid.path },
    });
    if let (Some(target), Some(object)) = (&file.target, value.as_object_mut()) {
        object.insert("target".to_owned(), json!(target));
    }
    value
}

pub(crate) fn json_tree(branch: &Branch) -> Value {
    let mut value = json(&branch.metadata);
    if let (true, Some(object)) = (branch.metadata.is_dir(), value.as_object_mut()) {
        object.insert("entries".to_owned(), branch.below.iter().map(json_tree).collect());
    }
    value
}

pub(crate) fn tree(branch: &Branch) -> String {
    let mut text = format!("{}\n", branch.metadata.name);
    add_branches(&mut text, "", &branch.below);
    text
}

fn add_branches(text: &mut String, indent: &str, branches: &[Branch]) {
    for (index, branch) in branches.iter().enumerate() {
        let (turn, more) = if index + 1 == branches.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        let slash = if branch.metadata.is_dir() { "/" } else { "" };
        let _ = writeln!(text, "{indent}{turn}{}{slash}", shown(&branch.metadata.name));
        add_branches(text, &format!("{indent}{more}"), &branch.below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_know_leap_years() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_210_096, "2024-02-29 12:34:56"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
