//! Formats a commit as a single line: the output of `git log --format='%H%x09%P%x09%aI%x09%an
//! <%ae>%x09%B'` with special characters escaped.
//!
//! In the author and the message, a backslash is written as `\\`, a newline as `\n`, a tab as `\t`,
//! and any other control character as `\xHH`. All other bytes are copied verbatim.

use datakit_client::db::escape;

use crate::Id;
use crate::model::commit::Commit;

/// Appends a commit's line to `to`.
pub(crate) fn write(id: Id, commit: &Commit, to: &mut Vec<u8>) {
    to.extend_from_slice(id.to_string().as_bytes());
    for (number, parent) in commit.parents.iter().enumerate() {
        to.push(if number == 0 { b'\t' } else { b' ' });
        to.extend_from_slice(parent.to_string().as_bytes());
    }
    if commit.parents.is_empty() {
        to.push(b'\t');
    }
    to.push(b'\t');
    let date = commit.date();
    match date.strip_suffix("+00:00") {
        // Write UTC as `Z`, as Git does.
        Some(utc) => to.extend_from_slice(format!("{utc}Z").as_bytes()),
        None => to.extend_from_slice(date.as_bytes()),
    }
    to.push(b'\t');
    escape(commit.author.as_bytes(), to);
    to.push(b'\t');
    escape(&commit.message, to);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use datakit_client::db::unescape;

    use super::*;

    #[test]
    fn commit_is_one_line_whatever_it_contains() {
        let tree = format!("tree {}\n", Id::EMPTY_TREE);
        let parents = format!("parent {0}\nparent {0}\n", Id::EMPTY_TREE);
        let by = "author A\tB <a@b> 1700000000 +0000\n\n";
        let message = b"one\n\ntwo\ttabs \\n\r\0\x7f\xff\n";
        let commit =
            Commit::decode(&[tree.as_bytes(), parents.as_bytes(), by.as_bytes(), message].concat())
                .unwrap();
        let mut line = Vec::new();
        write(Id::EMPTY_TREE, &commit, &mut line);
        let text: [&[u8]; 2] = [
            &format!("{0}\t{0} {0}\t2023-11-14T22:13:20Z\tA\\tB <a@b>\t", Id::EMPTY_TREE)
                .into_bytes(),
            b"one\\n\\ntwo\\ttabs \\\\n\\x0d\\x00\\x7f\xff\\n\n",
        ];
        assert_eq!(line, text.concat());
        let last = line.strip_suffix(b"\n").unwrap().rsplit(|byte| *byte == b'\t').next().unwrap();
        assert_eq!(unescape(last), message);
        assert_eq!(unescape(b"\\q\\x1\\"), b"\\q\\x1\\");
    }
}
