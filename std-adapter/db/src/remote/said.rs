//! What other programs and other repositories say, as it may go to a log and to clients.

/// Characters of a text that is told.
const TOLD: usize = 1000;
/// Characters of an address.
const ADDRESS: usize = 200;
/// Bytes of what a program says that are kept, the last ones: the reasons of a failure come at its
/// end.
const KEPT: usize = 4096;
/// Of a line of Git's trace, which is no word to anybody.
const TRACE: &str = " pkt-line.c:";

/// What a program says on its standard error.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Whole lines.
    kept: Vec<u8>,
    line: Vec<u8>,
}

impl Words {
    pub(crate) fn hear(&mut self, said: &[u8]) {
        for byte in said {
            match byte {
                b'\n' => self.end_line(),
                // Progress writes over its own line.
                b'\r' => self.line.clear(),
                // A line may be without end.
                byte if self.line.len() < KEPT => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !String::from_utf8_lossy(&line).contains(TRACE) {
            self.kept.extend(line);
            self.kept.push(b'\n');
            self.kept.drain(..self.kept.len().saturating_sub(KEPT));
        }
    }

    /// The reasons of a failure, in one line.
    pub(crate) fn reasons(&mut self) -> String {
        self.end_line();
        reasons(&String::from_utf8_lossy(&self.kept))
    }
}

/// What is neither progress nor about a branch that went well, in one line without secrets.
pub(crate) fn reasons(words: &str) -> String {
    // Progress writes over its own line, and so does what ends it.
    let lines = words.lines().filter_map(|line| line.rsplit('\r').next()).map(str::trim_end);
    let well = |line: &str| line.starts_with(' ') && !line.starts_with(" !");
    let progress = |line: &str| {
        line.ends_with(", done.") || line.starts_with("Total ") || line.starts_with("Delta ")
    };
    let told = lines.filter(|line| !line.is_empty() && !well(line) && !progress(line));
    told_text(&told.map(str::trim_start).collect::<Vec<_>>().join("; "), TOLD)
}

/// An address without its password.
pub(crate) fn address(url: &str) -> String {
    told_text(url, ADDRESS)
}

fn told_text(text: &str, most: usize) -> String {
    let plain = without_passwords(text);
    let mut told = String::new();
    for (count, char) in plain.chars().enumerate() {
        if count >= most {
            told.push_str("...");
            break;
        }
        match char {
            // Marks that turn the direction of what follows are as bad as those that move the
            // cursor.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                told.extend(char.escape_unicode())
            }
            char if char.is_control() => told.extend(char.escape_default()),
            char => told.push(char),
        }
    }
    told
}

/// `SCHEME://USER:PASSWORD@` with the user only, wherever it is in a text.
fn without_passwords(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("://") {
        plain.push_str(before);
        plain.push_str("://");
        let end = behind
            .find(|char: char| char == '/' || char.is_whitespace() || char == '\'' || char == '"');
        let (authority, after) = behind.split_at(end.unwrap_or(behind.len()));
        // A password may have an '@' in it.
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                plain.push_str(user.split(':').next().unwrap_or_default());
                plain.push('@');
                plain.push_str(host);
            }
            None => plain.push_str(authority),
        }
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reasons_are_told() {
        let words = "Counting objects:  50% (1/2)\rCounting objects: 100% (2/2), done.\nDelta compression using up to 2 threads\n\
            Total 2 (delta 0)\nremote: Resolving deltas:  50% (1/2)        \rremote: Resolving deltas: 100% (2/2), done.        \n\
            remote: no        \nTo there\n * [new branch]      a -> a\n ! [remote rejected] b (why)\n\
            Writing objects:  33% (1/3)\rfatal: gone\n";
        assert_eq!(
            reasons(words),
            "remote: no; To there; ! [remote rejected] b (why); fatal: gone"
        );
        assert_eq!(reasons("Writing objects:  33% (1/3)\r"), "");
    }

    #[test]
    fn a_trace_is_no_reason() {
        let mut words = Words::default();
        words.hear(b"12:00:00.1 pkt-line.c:85  packet: fetch< x\nremote: \x1b[2Jno\nfatal: ");
        words.hear(b"gone");
        assert_eq!(words.reasons(), "remote: \\u{1b}[2Jno; fatal: gone");
        words.hear(&b"x\n".repeat(100_000));
        words.hear(&[b'y'; 100_000]);
        assert!(words.reasons().len() <= 2 * TOLD && words.kept.len() <= KEPT);
    }

    #[test]
    fn passwords_and_control_characters_are_not_told() {
        for (url, told) in [
            ("https://u:secret@host/x", "https://u@host/x"),
            ("https://u:se@cr:et@host:1/x", "https://u@host:1/x"),
            ("https://token@host/x", "https://token@host/x"),
            ("fatal: 'https://u:p@h/' and http://:p@h", "fatal: 'https://u@h/' and http://@h"),
            ("/a\nb\x1b[0m\u{202e}", "/a\\nb\\u{1b}[0m\\u{202e}"),
            ("host:a@b/c", "host:a@b/c"),
        ] {
            assert_eq!(address(url), told);
        }
        assert_eq!(address(&"x".repeat(300)).len(), ADDRESS + 3);
    }
}
