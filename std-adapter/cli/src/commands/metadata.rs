//! Formats file metadata as text and as JSON.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use datakit_client::{FileType, Metadata};
use serde_json::{Value, json};

use crate::byte_count;
use crate::operand::ServerPath;
use crate::stdio::{name_bytes, printable};

/// Sets the name to the final component of `path`, because the name sent by the server may be empty
/// or different.
pub(super) fn with_name(mut metadata: Metadata, path: &ServerPath) -> Metadata {
    metadata.name = match path.last() {
        b"" => "/".into(),
        name => name.into(),
    };
    metadata
}

/// Sorts files by the bytes of their names.
pub(super) fn sort_by_name(files: &mut [Metadata]) {
    files.sort_by(|a, b| a.name.cmp(&b.name));
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Dir => "directory",
        FileType::Symlink => "symlink",
        FileType::Special => "special",
        _ => "file",
    }
}

/// Formats the names of files, one per line.
pub(super) fn short(files: &[Metadata]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend(name_bytes(&file.name));
        text.push(b'\n');
    }
    text
}

/// Formats one line for each file, in columns similar to those of `ls -l`.
pub(super) fn long(files: &[Metadata], human_readable: bool) -> Vec<u8> {
    let width = |column: &dyn Fn(&Metadata) -> String| {
        files.iter().map(|file| column(file).chars().count()).max().unwrap_or_default()
    };
    let size = |file: &Metadata| match human_readable {
        true => byte_count::human(file.len),
        false => file.len.to_string(),
    };
    let owners = width(&|file| file.owner.clone());
    let groups = width(&|file| file.group.clone());
    let sizes = width(&size);
    let mut text = Vec::new();
    for file in files {
        let (owner, group) = (printable(&file.owner), printable(&file.group));
        let (mode, size, modified) = (mode(file), size(file), date(file.modified));
        // Writing to a vector cannot fail.
        let _ = write!(text, "{mode} {owner:owners$} {group:groups$} {size:>sizes$} {modified} ");
        text.extend(name_bytes(&file.name));
        if let Some(target) = &file.target {
            text.extend_from_slice(b" -> ");
            text.extend(name_bytes(target));
        }
        text.push(b'\n');
    }
    text
}

/// Formats a mode in the style of `drwxr-xr-x`.
fn mode(file: &Metadata) -> String {
    let kind = match file.kind {
        FileType::Dir => 'd',
        FileType::Symlink => 'l',
        FileType::Special => 's',
        _ => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits =
        bits.map(|(index, letter)| if file.mode & (0o400 >> index) == 0 { '-' } else { letter });
    std::iter::once(kind).chain(bits).collect()
}

/// Formats a time in UTC, as in `2024-02-29 12:34:56`.
fn date(time: SystemTime) -> String {
    let seconds = seconds(time);
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Count the days since 0000-03-01, and split the count into 400-year eras. If years begin in
    // March, the leap day is the last day of the year.
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
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// Formats the metadata of one file, with one attribute per line.
pub(super) fn facts(file: &Metadata) -> Vec<u8> {
    let mut text = [b"name      ", &*name_bytes(&file.name), b"\n"].concat();
    let mut add_line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<9} {value}");
    };
    add_line("kind", &kind_name(file.kind));
    add_line("mode", &format_args!("{:04o} {}", file.mode, mode(file)));
    add_line("length", &file.len);
    add_line("owner", &printable(&file.owner));
    add_line("group", &printable(&file.group));
    add_line("links", &file.links);
    add_line("accessed", &date(file.accessed));
    add_line("modified", &date(file.modified));
    add_line("qid", &format_args!("{:#04x} {} {}", file.qid.kind, file.qid.version, file.qid.path));
    if let Some(target) = &file.target {
        text.extend([b"target    ", &*name_bytes(target), b"\n"].concat());
    }
    text
}

/// Returns the metadata of one file as a JSON object.
pub(super) fn to_json(file: &Metadata) -> Value {
    let mut value = json!({
        "name": file.name.to_string(),
        "kind": kind_name(file.kind),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_respects_leap_years() {
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
