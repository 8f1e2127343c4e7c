//! Makes text from other programs and repositories safe to log and to send to clients.

/// The maximum number of characters in a failure message.
const MAX_MESSAGE_CHARS: usize = 1000;
/// The maximum number of characters in a URL.
const MAX_URL_CHARS: usize = 200;
/// The number of bytes to keep from the end of standard error, where `git` prints the reason for a
/// failure.
const TAIL_BYTES: usize = 4096;
/// The text that identifies a line in a `GIT_TRACE_PACKET` trace.
const TRACE_MARK: &str = " pkt-line.c:";

/// The end of the text that `git` wrote to standard error, without packet traces or overwritten
/// progress messages.
#[derive(Debug, Default)]
pub(super) struct StderrTail {
    /// Complete lines.
    lines: Vec<u8>,
    /// The last line, whose newline has not arrived yet.
    partial: Vec<u8>,
}

impl StderrTail {
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // After a carriage return, `git` overwrites the line with the next progress
                // message.
                b'\r' => self.partial.clear(),
                byte if self.partial.len() < TAIL_BYTES => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if !String::from_utf8_lossy(&line).contains(TRACE_MARK) {
            self.lines.extend(line);
            self.lines.push(b'\n');
            self.lines.drain(..self.lines.len().saturating_sub(TAIL_BYTES));
        }
    }

    /// Returns the lines that explain a failure, joined into a single line. Passwords, progress
    /// messages and the list of updated refs are removed.
    pub(super) fn failure(mut self) -> String {
        self.end_line();
        let text = String::from_utf8_lossy(&self.lines);
        let succeeded = |line: &str| line.starts_with(' ') && !line.starts_with(" !");
        let progress = |line: &str| {
            line.ends_with(", done.") || line.starts_with("Total ") || line.starts_with("Delta ")
        };
        let lines = text.lines().map(str::trim_end);
        let failed = lines.filter(|line| !line.is_empty() && !succeeded(line) && !progress(line));
        let joined = failed.map(str::trim_start).collect::<Vec<_>>().join("; ");
        sanitize(&joined, MAX_MESSAGE_CHARS)
    }
}

/// Removes passwords from URLs and escapes control characters. The text can be a URL or a message
/// that contains URLs.
pub(crate) fn sanitize_url(url: &str) -> String {
    sanitize(url, MAX_URL_CHARS)
}

fn sanitize(text: &str, max_chars: usize) -> String {
    let text = without_passwords(text);
    let mut safe = String::new();
    for (count, char) in text.chars().enumerate() {
        if count >= max_chars {
            safe.push_str("...");
            break;
        }
        match char {
            // Bidirectional control characters could change the order in which the rest of the text
            // is displayed.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(char.escape_unicode())
            }
            char if char.is_control() => safe.extend(char.escape_default()),
            char => safe.push(char),
        }
    }
    safe
}

/// Replaces each `SCHEME://USER:PASSWORD@` in `text` with `SCHEME://USER@`.
fn without_passwords(text: &str) -> String {
    let (mut safe, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("://") {
        safe.push_str(before);
        safe.push_str("://");
        let end = after
            .find(|char: char| char == '/' || char.is_whitespace() || char == '\'' || char == '"');
        let (authority, after) = after.split_at(end.unwrap_or(after.len()));
        // A password may contain '@'.
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                safe.push_str(user.split(':').next().unwrap_or_default());
                safe.push('@');
                safe.push_str(host);
            }
            None => safe.push_str(authority),
        }
        rest = after;
    }
    safe + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> String {
        let mut tail = StderrTail::default();
        tail.push_bytes(text.as_bytes());
        tail.failure()
    }

    #[test]
    fn progress_and_updated_refs_are_left_out() {
        let text = "Counting objects:  50% (1/2)\rCounting objects: 100% (2/2), done.\nDelta compression using up to 2 threads\n\
            Total 2 (delta 0)\nremote: Resolving deltas:  50% (1/2)        \rremote: Resolving deltas: 100% (2/2), done.        \n\
            remote: no        \nTo there\n * [new branch]      a -> a\n ! [remote rejected] b (why)\n\
            Writing objects:  33% (1/3)\rfatal: gone\n";
        assert_eq!(failure(text), "remote: no; To there; ! [remote rejected] b (why); fatal: gone");
        assert_eq!(failure("Writing objects:  33% (1/3)\r"), "");
    }

    #[test]
    fn packet_traces_are_left_out() {
        let mut tail = StderrTail::default();
        tail.push_bytes(b"12:00:00.1 pkt-line.c:85  packet: fetch< x\nremote: \x1b[2Jno\nfatal: ");
        tail.push_bytes(b"gone");
        assert_eq!(tail.failure(), "remote: \\u{1b}[2Jno; fatal: gone");
    }

    #[test]
    fn endless_output_is_bounded() {
        let mut tail = StderrTail::default();
        tail.push_bytes(&b"x\n".repeat(100_000));
        tail.push_bytes(&[b'y'; 100_000]);
        assert!(tail.lines.len() <= TAIL_BYTES && tail.partial.len() <= TAIL_BYTES);
        assert!(tail.failure().len() <= 2 * MAX_MESSAGE_CHARS);
    }

    #[test]
    fn passwords_and_control_characters_are_removed() {
        for (url, safe) in [
            ("https://u:secret@host/x", "https://u@host/x"),
            ("https://u:se@cr:et@host:1/x", "https://u@host:1/x"),
            ("https://token@host/x", "https://token@host/x"),
            ("fatal: 'https://u:p@h/' and http://:p@h", "fatal: 'https://u@h/' and http://@h"),
            ("/a\nb\x1b[0m\u{202e}", "/a\\nb\\u{1b}[0m\\u{202e}"),
            ("host:a@b/c", "host:a@b/c"),
        ] {
            assert_eq!(sanitize_url(url), safe);
        }
        assert_eq!(sanitize_url(&"x".repeat(300)).len(), MAX_URL_CHARS + 3);
    }
}
