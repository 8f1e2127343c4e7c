//! Rejects tree entry names that Git does not allow because some file systems treat them as the
//! names of Git's own files.
//!
//! The rules of every platform apply on all platforms, because a repository can be moved from one
//! platform to another. Git applies the same rules in its `verify_path` function and in `git fsck
//! --strict`. HFS+ ignores some characters and truncates a name at invalid UTF-8. NTFS has short
//! names and treats a backslash as a path separator. NTFS also ignores trailing spaces, trailing
//! dots and stream names, as in `.git::$INDEX_ALLOCATION`.

use bstr::ByteSlice;

use crate::model::tree_entry::EntryMode;
use crate::{Error, Result};

/// A special file whose content Git interprets, such as `.gitmodules`.
struct Special {
    /// The name without its leading dot.
    name: &'static [u8],
    /// The prefix of the hashed short name. NTFS assigns a hashed short name if the plain short
    /// names are already in use.
    short: &'static [u8; 6],
}

const MODULES: Special = Special { name: b"gitmodules", short: b"gi7eba" };
const ATTRIBUTES: Special = Special { name: b"gitattributes", short: b"gi7d29" };
const IGNORE: Special = Special { name: b"gitignore", short: b"gi250a" };
const MAILMAP: Special = Special { name: b"mailmap", short: b"maba30" };

/// Checks that Git allows a tree entry with this name and mode.
///
/// # Errors
/// Returns [`Error::InvalidName`] if Git does not allow the entry.
pub(crate) fn check_name(name: &[u8], mode: EntryMode) -> Result<()> {
    let plain = !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0);
    if plain && !is_dot_git(name) && !is_misplaced(name, mode) {
        return Ok(());
    }
    Err(Error::InvalidName(name.as_bstr().to_string()))
}

fn is_dot_git(name: &[u8]) -> bool {
    is_in_hfs(name, b"git") || behind_backslashes(name).any(is_dot_git_in_ntfs)
}

/// Returns `true` if the entry is not a regular file but its name is reserved for regular files.
fn is_misplaced(name: &[u8], mode: EntryMode) -> bool {
    let specials: &[&Special] = match mode {
        EntryMode::Link => &[&MODULES, &ATTRIBUTES, &IGNORE, &MAILMAP],
        EntryMode::Dir | EntryMode::Submodule => &[&MODULES, &ATTRIBUTES],
        EntryMode::Normal | EntryMode::Exec => return false,
    };
    specials.iter().any(|special| is_in_hfs(name, special.name) || is_in_ntfs(name, special))
        || behind_backslashes(name).any(|name| is_in_ntfs(name, &MODULES))
}

/// Returns the name itself and, for each backslash in the name, the part after the backslash.
fn behind_backslashes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let behind = name
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\\')
        .filter_map(|(at, _)| name.get(at + 1..));
    std::iter::once(name).chain(behind)
}

/// Returns `true` if NTFS treats the name as `.git` or as the short name of `.git`.
fn is_dot_git_in_ntfs(name: &[u8]) -> bool {
    let rest = [&b".git"[..], b"git~1"].iter().find_map(|git| without_prefix(name, git));
    rest.is_some_and(|rest| ends(rest.split(|byte| *byte == b'\\').next().unwrap_or_default()))
}

/// Returns `true` if NTFS treats the name as `special` or as one of the short names of `special`.
fn is_in_ntfs(name: &[u8], special: &Special) -> bool {
    let plain = name.strip_prefix(b".").and_then(|name| without_prefix(name, special.name));
    let first = special.name.get(..6).unwrap_or_default();
    // NTFS uses a hashed short name if four plain short names are already in use.
    let short = without_prefix(name, first).and_then(|rest| match rest {
        [b'~', b'1'..=b'4', rest @ ..] => Some(rest),
        _ => None,
    });
    [plain, short, behind_hashed(name, special.short)].into_iter().flatten().any(ends)
}

/// Strips a hashed short name, such as `gi7eb~12`, from the start of a name. A hashed short name
/// consists of eight bytes: a prefix of the hash, a tilde and a number.
fn behind_hashed<'n>(name: &'n [u8], hash: &[u8; 6]) -> Option<&'n [u8]> {
    let (eight, rest) = name.split_at_checked(8)?;
    let tilde = eight.iter().position(|byte| *byte == b'~')?;
    let (letters, number) = eight.split_at_checked(tilde)?;
    let first = hash.get(..tilde).is_some_and(|hash| letters.eq_ignore_ascii_case(hash));
    match number {
        [b'~', b'1'..=b'9', digits @ ..] if first && digits.iter().all(u8::is_ascii_digit) => {
            Some(rest)
        }
        _ => None,
    }
}

/// Returns `true` if NTFS ignores `rest` at the end of a name. NTFS ignores trailing spaces and
/// dots, even if a stream name follows them.
fn ends(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !matches!(byte, b' ' | b'.')).is_none_or(|byte| *byte == b':')
}

fn without_prefix<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (first, rest) = name.split_at_checked(prefix.len())?;
    first.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Returns `true` if HFS+ treats the name as a dot followed by `needle`.
fn is_in_hfs(name: &[u8], needle: &[u8]) -> bool {
    let mut characters = name
        .utf8_chunks()
        // HFS+ truncates the name at invalid UTF-8.
        .take(1)
        .flat_map(|chunk| chunk.valid().chars())
        .take_while(|character| !matches!(character, '\u{fffe}' | '\u{ffff}'))
        .filter(|character| !is_ignored(*character));
    characters.next() == Some('.')
        && needle.iter().all(|byte| {
            characters.next().is_some_and(|found| found.eq_ignore_ascii_case(&char::from(*byte)))
        })
        && characters.next().is_none()
}

/// Returns `true` if HFS+ ignores the character in file names.
fn is_ignored(character: char) -> bool {
    matches!(character, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;
    use std::process::{Command, Output};

    use super::*;
    use crate::Id;
    use crate::model::object::{Object, ObjectKind};
    use crate::model::tree_entry::TreeEntry;
    use crate::model::tree_text::encode_tree;
    use crate::store::{GitStore, Store};

    fn git(dir: &Path, args: &[&str]) -> Output {
        Command::new("git").arg("-C").arg(dir).args(args).output().unwrap()
    }

    const BASES: [&str; 24] = [
        ".git",
        ".GiT",
        "git~1",
        "git~2",
        ".gitmodules",
        "gitmod~1",
        "GITMOD~4",
        "gitmod~5",
        "gi7eba~1",
        "gi7eb~12",
        "g~123456",
        ".gitattributes",
        "gitatt~1",
        "gi7d29~1",
        ".gitignore",
        "gitign~1",
        "gi250a~9",
        ".mailmap",
        "mailma~1",
        "maba30~1",
        "...",
        "con",
        ".g\u{200c}it",
        ".gitmo\u{202a}dules",
    ];

    fn table() -> Vec<Vec<u8>> {
        let prefixes = ["", "x\\", "x\\\\", "\u{200d}", " "];
        let suffixes: [&[u8]; 15] = [
            b"",
            b" ",
            b".",
            b" . .",
            b":x",
            b"::$INDEX_ALLOCATION",
            b"\\x",
            b"\\",
            "\u{200c}".as_bytes(),
            b"\xff",
            b"\xff.x",
            b"x",
            b"~1",
            b"\xef\xbf\xbe",
            b". x",
        ];
        let mut names = Vec::new();
        for (prefix, base) in prefixes.iter().flat_map(|prefix| BASES.map(|base| (prefix, base))) {
            names.extend(
                suffixes.iter().map(|suffix| [prefix.as_bytes(), base.as_bytes(), suffix].concat()),
            );
        }
        names
    }

    #[test]
    fn refuses_exactly_the_names_that_git_fsck_reports() {
        let dir = tempfile::tempdir().unwrap();
        let store = GitStore::open(dir.path()).unwrap();
        let (mut objects, mut cases) = (Vec::new(), Vec::new());
        for (number, name) in table().into_iter().enumerate() {
            for mode in [EntryMode::Normal, EntryMode::Link, EntryMode::Dir] {
                // For a directory entry, `git fsck` reports only the hash of the directory.
                // Therefore, give each directory unique content, so that the hash identifies the
                // test case.
                let text =
                    if mode == EntryMode::Dir { format!("# {number}\n") } else { "#\n".to_owned() };
                let (blob, object) = Object::new(ObjectKind::Blob, text.into_bytes()).unwrap();
                if mode == EntryMode::Dir || number == 0 {
                    objects.push((blob, object));
                }
                let entry = |name: &[u8], mode, id| {
                    let (id, tree) =
                        encode_tree([TreeEntry { name: name.into(), mode, id }]).unwrap();
                    ((id, tree), id)
                };
                let id = if mode == EntryMode::Dir {
                    let (tree, id) = entry(b"f", EntryMode::Normal, blob);
                    objects.push(tree);
                    id
                } else {
                    blob
                };
                let (tree, top) = entry(&name, mode, id);
                objects.push(tree);
                cases.push((name.clone(), mode, id, top));
            }
        }
        // Do not sync the objects, because that would make the test slow.
        store.with_fsync(crate::store::Fsync::None).write(&objects).unwrap();
        let found = git(dir.path(), &["fsck", "--strict", "--no-dangling"]);
        let said = String::from_utf8_lossy(&[found.stdout, found.stderr].concat()).into_owned();
        let bad: HashSet<Id> = said
            .split([' ', ':', '\n'])
            .filter_map(|word| Id::parse(word.as_bytes()).ok())
            .collect();
        let mut refused = 0;
        for (name, mode, id, top) in &cases {
            let theirs = bad.contains(id) || bad.contains(top);
            assert_eq!(
                check_name(name, *mode).is_err(),
                theirs,
                "{:?} as {mode:?}",
                name.as_bstr()
            );
            refused += u32::from(theirs);
        }
        assert!(refused > 500, "{refused}: {said}");
    }

    #[test]
    fn refuses_names_that_git_does_not_add_to_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = GitStore::open(dir.path()).unwrap();
        let (blob, object) = Object::new(ObjectKind::Blob, *b"#").unwrap();
        store.write(&[(blob, object)]).unwrap();
        let names =
            BASES.iter().flat_map(|base| ["", "x\\"].map(|prefix| format!("{prefix}{base}")));
        for name in names.chain(
            ["..", ".", ".git\\config", "x\\.git", "a\\git~1", ".git::$INDEX_ALLOCATION"]
                .map(str::to_owned),
        ) {
            for (mode, number) in [(EntryMode::Normal, "100644"), (EntryMode::Link, "120000")] {
                let entry = format!("{number},{blob},{name}");
                let protect = ["-c", "core.protectNTFS=true", "-c", "core.protectHFS=true"];
                let args =
                    [&protect[..], &["update-index", "--add", "--cacheinfo", &entry]].concat();
                if !git(dir.path(), &args).status.success() {
                    check_name(name.as_bytes(), mode).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn refuses_names_of_gits_own_files() {
        for bad in [&b".git"[..], b".GIT", b"git~1", b".", b"..", b"", b"a/b", b"a\0b"] {
            assert!(check_name(bad, EntryMode::Normal).is_err(), "{:?}", bad.as_bstr());
        }
        check_name(&[b'x'; 255], EntryMode::Normal).unwrap();
        check_name(b"\xff\xfe", EntryMode::Normal).unwrap();
        check_name(b".gitignore", EntryMode::Normal).unwrap();
        check_name(b".gitignore", EntryMode::Dir).unwrap();
        check_name(b".gitmodules", EntryMode::Link).unwrap_err();
        check_name(b".gitmodules", EntryMode::Dir).unwrap_err();
    }
}
