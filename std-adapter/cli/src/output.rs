//! How files look on the terminal and in JSON.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use datakit_client::{ByteString, FileType, Metadata};
use serde_json::{Value, json};

use crate::commands::{Branch, Done};
use crate::path::ServerPath;

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
    print(format!("{}\n", escaped(&format!("{value:#}"))).as_bytes())
}

/// JSON in which only letters that show are written as they are. All others are in its strings.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !is_hidden(letter) {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("\\u{unit:04x}"));
        }
    }
    text
}

/// The name that was asked for, where the server sends none, or one that says less.
pub(crate) fn named(mut metadata: Metadata, path: &ServerPath) -> Metadata {
    metadata.name = match path.last() {
        b"" => "/".into(),
        name => name.into(),
    };
    metadata
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Dir => "directory",
        FileType::Symlink => "symlink",
        FileType::Special => "special",
        _ => "file",
    }
}

/// Says on standard error what went wrong.
pub(crate) fn complain(text: &str) {
    let text = if io::stderr().is_terminal() { printable(text) } else { text.to_owned() };
    eprintln!("datakit: {text}");
}

/// Without what would move the cursor of a terminal, or change the order of what it shows.
pub(crate) fn printable(text: &str) -> String {
    text.replace(is_hidden, "?")
}

/// Controls (C0, C1), those of bidirectional text, separators of lines, and what has no width.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(letter, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A name: its very bytes, but for a terminal.
fn shown(name: &ByteString) -> Vec<u8> {
    if io::stdout().is_terminal() {
        printable(&name.to_string()).into()
    } else {
        name.as_bytes().to_vec()
    }
}

/// A text on one line, for whoever reads it.
pub(crate) fn line(text: &str) -> String {
    if io::stdout().is_terminal() { printable(text) } else { text.to_owned() }
}

pub(crate) fn print_files(files: Vec<Metadata>, long: bool, in_json: bool) -> Done {
    if in_json {
        return print_json(&files.iter().map(json).collect());
    }
    print(&if long { self::long(&files) } else { short(&files) })
}

fn short(files: &[Metadata]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend(shown(&file.name));
        text.push(b'\n');
    }
    text
}

/// One line a file, in columns.
fn long(files: &[Metadata]) -> Vec<u8> {
    let width = |of: fn(&Metadata) -> String| {
        files.iter().map(|file| of(file).chars().count()).max().unwrap_or_default()
    };
    let (owners, groups) = (width(|file| file.owner.clone()), width(|file| file.group.clone()));
    let lengths = width(|file| file.len.to_string());
    let mut text = Vec::new();
    for file in files {
        let (owner, group) = (printable(&file.owner), printable(&file.group));
        let (mode, modified) = (mode(file), date(file.modified));
        // Writing to a vector does not fail.
        let _ = write!(
            text,
            "{mode} {owner:owners$} {group:groups$} {:>lengths$} {modified} ",
            file.len
        );
        text.extend(shown(&file.name));
        if let Some(target) = &file.target {
            text.extend_from_slice(b" -> ");
            text.extend(shown(target));
        }
        text.push(b'\n');
    }
    text
}

/// `drwxr-xr-x`.
fn mode(file: &Metadata) -> String {
    let kind = match file.kind {
        FileType::Dir => 'd',
        FileType::Symlink => 'l',
        FileType::Special => 's',
        _ => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits =
        bits.map(|(place, letter)| if file.mode & (0o400 >> place) == 0 { '-' } else { letter });
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
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// All about one file, a line a fact.
pub(crate) fn all(file: &Metadata) -> Vec<u8> {
    let mut text = [b"name      ", &*shown(&file.name), b"\n"].concat();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line("kind", &word(file.kind));
    line("mode", &format_args!("{:04o} {}", file.mode, mode(file)));
    line("length", &file.len);
    line("owner", &printable(&file.owner));
    line("group", &printable(&file.group));
    line("links", &file.links);
    line("accessed", &date(file.accessed));
    line("modified", &date(file.modified));
    line("qid", &format_args!("{:#04x} {} {}", file.qid.kind, file.qid.version, file.qid.path));
    if let Some(target) = &file.target {
        text.extend([b"target    ", &*shown(target), b"\n"].concat());
    }
    text
}

pub(crate) fn json(file: &Metadata) -> Value {
    let mut value = json!({
        "name": file.name.to_string(),
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
        object.insert("target".to_owned(), json!(target.to_string()));
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

pub(crate) fn tree(branch: &Branch) -> Vec<u8> {
    let mut text = [&*shown(&branch.metadata.name), b"\n"].concat();
    add_branches(&mut text, "", &branch.below);
    text
}

fn add_branches(text: &mut Vec<u8>, indent: &str, branches: &[Branch]) {
    for (index, branch) in branches.iter().enumerate() {
        let (turn, more) = if index + 1 == branches.len() {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        let slash = if branch.metadata.is_dir() { "/" } else { "" };
        text.extend(
            [
                indent.as_bytes(),
                turn.as_bytes(),
                &shown(&branch.metadata.name),
                slash.as_bytes(),
                b"\n",
            ]
            .concat(),
        );
        add_branches(text, &format!("{indent}{more}"), &branch.below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_terminal_shows_no_controls() {
        for hidden in [
            '\0', '\x1b', '\n', '\x7f', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}',
            '\u{2028}', '\u{feff}',
        ] {
            assert_eq!(printable(&format!("a{hidden}b")), "a?b", "{hidden:?}");
        }
        assert_eq!(
            printable("caf\u{e9} \u{5d0}\u{5d1} \u{1f600}"),
            "caf\u{e9} \u{5d0}\u{5d1} \u{1f600}"
        );
    }

    #[test]
    fn json_escapes_controls_and_is_still_the_same_value() {
        let value = json!({ "name": "a\u{9b}\u{202e}\u{e0001}\n\u{1b}z" });
        let text = escaped(&format!("{value:#}"));
        assert_eq!(text.lines().nth(1), Some(r#"  "name": "a\u009b\u202e\udb40\udc01\n\u001bz""#));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

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
