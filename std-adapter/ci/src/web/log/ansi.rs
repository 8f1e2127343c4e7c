//! Converts log text, which can contain ANSI escape sequences, to lines of HTML.

use std::fmt::Write;

use super::style::Style;
use crate::web::html::push_escaped;

/// The maximum length of the parameters of an escape sequence, in bytes. A longer sequence is
/// replaced with a marker.
const SEQUENCE_MAX: usize = 64;

/// The maximum number of characters in a line. Longer lines are truncated.
const LINE_MAX: usize = 16 << 10;

const SEQUENCE_MARK: &str = "<span class=\"mark\">[escape sequence too long]</span>";

/// An incremental converter for log text. A part of the text can end in the middle of an escape
/// sequence or line.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct Converter {
    state: ParserState,
    style: Style,
    line: OutputLine,
    /// The last character was a carriage return. If no line feed follows, the next characters
    /// overwrite the line.
    returned: bool,
}

#[derive(Debug, Clone, Default)]
enum ParserState {
    #[default]
    Text,
    /// After the escape character.
    Escape,
    /// After an escape character and an intermediate character, as in `ESC ( B`. One more character
    /// follows.
    Charset,
    /// In the parameters of a control sequence, which starts with `ESC [`.
    Control(String),
    /// In an operating system command, which starts with `ESC ]`. Contains the number of bytes so
    /// far.
    Command(usize),
    /// After an escape character in an operating system command. A backslash ends the command.
    CommandEscape,
}

/// The line that is being converted.
#[derive(Debug, Clone, Default)]
struct OutputLine {
    html: String,
    /// The visible characters.
    chars: usize,
    /// The style of the open `span` element, if any.
    open: Style,
}

impl Converter {
    /// Creates a converter for text that starts in the given style.
    pub(in crate::web) fn new(style: Style) -> Converter {
        Converter { style, ..Converter::default() }
    }

    /// Converts the next part of the text, and calls `line` with the HTML of each line that ends in
    /// this part.
    pub(in crate::web) fn feed(&mut self, text: &str, mut line: impl FnMut(&str)) {
        for c in text.chars() {
            if c == '\n' {
                line(self.end_line());
                self.line = OutputLine::default();
            } else {
                self.character(c);
            }
        }
    }

    /// Returns the HTML of the incomplete last line, which is empty if the text so far ends with a
    /// line feed.
    pub(in crate::web) fn rest(&self) -> String {
        let mut line = self.line.clone();
        line.close();
        line.html
    }

    /// Returns the style of the next character.
    pub(in crate::web) fn style(&self) -> Style {
        self.style
    }

    /// Returns `true` if the next character is text rather than part of an escape sequence.
    pub(in crate::web) fn is_in_text(&self) -> bool {
        matches!(self.state, ParserState::Text)
    }

    /// Reads part of the text without converting it to HTML, and calls `text` with the pieces
    /// between escape sequences. Only the style is updated.
    pub(in crate::web) fn scan(&mut self, part: &str, mut text: impl FnMut(&str)) {
        let mut rest = part;
        while !rest.is_empty() {
            if matches!(self.state, ParserState::Text) {
                let (piece, after) = rest.split_at(rest.find('\x1b').unwrap_or(rest.len()));
                text(piece);
                rest = after;
            }
            // An escape sequence never contains a line feed.
            let mut chars = rest.chars();
            match chars.next() {
                Some('\n') => self.state = ParserState::Text,
                Some(c) => {
                    self.character(c);
                    rest = chars.as_str();
                }
                None => {}
            }
        }
        self.line = OutputLine::default();
    }

    fn end_line(&mut self) -> &str {
        // Escape sequences never contain a line feed.
        self.state = ParserState::Text;
        self.returned = false;
        self.line.close();
        &self.line.html
    }

    fn character(&mut self, c: char) {
        match std::mem::take(&mut self.state) {
            ParserState::Text => self.text(c),
            ParserState::Escape => {
                self.state = match c {
                    '[' => ParserState::Control(String::new()),
                    ']' | 'P' | '_' | '^' | 'X' => ParserState::Command(0),
                    '(' | ')' | '*' | '+' | '#' | '%' | ' ' => ParserState::Charset,
                    '\x1b' => ParserState::Escape,
                    _ => ParserState::Text,
                };
            }
            ParserState::Charset => {}
            ParserState::Control(parameters) => self.control(c, parameters),
            ParserState::Command(length) => self.command(c, length),
            ParserState::CommandEscape => match c {
                '\\' => {}
                '\x1b' => self.state = ParserState::CommandEscape,
                // Another escape sequence starts, so the command was never terminated.
                _ => {
                    self.state = ParserState::Escape;
                    self.character(c);
                }
            },
        }
    }

    fn text(&mut self, c: char) {
        match c {
            '\x1b' => self.state = ParserState::Escape,
            '\r' => self.returned = true,
            '\t' => self.visible(c),
            c if c.is_control() => {}
            c => self.visible(c),
        }
    }

    fn visible(&mut self, c: char) {
        if std::mem::take(&mut self.returned) {
            self.line = OutputLine::default();
        }
        self.line.push(c, self.style);
    }

    /// Processes a character in a control sequence.
    fn control(&mut self, c: char, mut parameters: String) {
        match c {
            '\x1b' => self.state = ParserState::Escape,
            'm' => self.style.apply(&parameters),
            '\x40'..='\x7e' => {}
            ' '..='?' if parameters.len() < SEQUENCE_MAX => {
                parameters.push(c);
                self.state = ParserState::Control(parameters);
            }
            ' '..='?' => self.line.mark(),
            // The sequence is malformed.
            c => self.text(c),
        }
    }

    /// Processes a character in an operating system command.
    fn command(&mut self, c: char, length: usize) {
        match c {
            '\x07' | '\u{9c}' => {}
            '\x1b' => self.state = ParserState::CommandEscape,
            _ if length >= SEQUENCE_MAX * 32 => self.line.mark(),
            c => self.state = ParserState::Command(length + c.len_utf8()),
        }
    }
}

impl OutputLine {
    fn push(&mut self, c: char, style: Style) {
        self.chars += 1;
        if self.chars > LINE_MAX {
            return;
        }
        if self.open != style {
            self.close_span();
            if style != Style::default() {
                // Writing to a string never fails.
                let _ = write!(self.html, "<span class=\"{style}\">");
            }
            self.open = style;
        }
        push_escaped(&mut self.html, c);
    }

    /// Inserts a marker for a sequence that is too long.
    fn mark(&mut self) {
        if self.chars <= LINE_MAX {
            // This also limits the length of a line that consists only of sequences that are too
            // long.
            self.chars += SEQUENCE_MAX;
            self.html.push_str(SEQUENCE_MARK);
        }
    }

    fn close_span(&mut self) {
        if self.open != Style::default() {
            self.html.push_str("</span>");
        }
        self.open = Style::default();
    }

    fn close(&mut self) {
        self.close_span();
        if self.chars > LINE_MAX {
            let more = self.chars - LINE_MAX;
            let _ = write!(self.html, "<span class=\"mark\">[{more} more characters]</span>");
        }
    }
}

/// Removes escape sequences and control characters from a line.
pub(in crate::web) fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    Converter::default().scan(line, |text| {
        plain.extend(text.chars().filter(|c| *c == '\t' || !c.is_control()));
    });
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(parts: &[&str]) -> String {
        let mut converter = Converter::default();
        let mut html = String::new();
        for part in parts {
            converter.feed(part, |line| {
                html.push_str(line);
                html.push('\n');
            });
        }
        html + &converter.rest()
    }

    #[test]
    fn colors_become_spans() {
        for (text, html) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m.", "<span class=\"fg-red\">red</span>."),
            ("\x1b[1;91mx\x1b[m", "<span class=\"fg-bright-red bold\">x</span>"),
            (
                "\x1b[32;44mx\x1b[39my",
                "<span class=\"fg-green bg-blue\">x</span><span class=\"bg-blue\">y</span>",
            ),
            (
                "\x1b[31ma\nb\x1b[0m\nc",
                "<span class=\"fg-red\">a</span>\n<span class=\"fg-red\">b</span>\nc",
            ),
            ("\x1b[31m\x1b[0mx", "x"),
            ("\x1b[38;5;9mx", "<span class=\"fg-bright-red\">x</span>"),
            ("\x1b[38;5;200mx\x1b[48;2;1;2;3my", "xy"),
        ] {
            assert_eq!(convert(&[text]), html, "{text:?}");
        }
    }

    #[test]
    fn every_split_gives_the_same_html() {
        let text =
            "a\x1b[1;31mb\r\n<\x1b]0;title\x07c\x1b[Kd\x1b(Be\x1b[0m\u{fc}\rnew\x1b]8;;u\x1b\\f";
        let whole = convert(&[text]);
        assert_eq!(
            whole,
            "a<span class=\"fg-red bold\">b</span>\nnew\
             f",
        );
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(convert(&[&text[..at], &text[at..]]), whole, "split at {at}");
        }
        let chars: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(convert(&chars.iter().map(String::as_str).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(
            convert(&["<script>alert(\"&'\")</script>\x1b[31\"onclick=m"]),
            "&lt;script&gt;alert(&quot;&amp;&#39;&quot;)&lt;/script&gt;nclick=m"
        );
    }

    #[test]
    fn unknown_sequences_are_dropped_and_long_ones_are_marked() {
        assert_eq!(convert(&["a\x1b[2J\x1b[?25lb\x1b7c\x00\x08d\x1b[999mx"]), "abcdx");
        let long = format!("a\x1b[{}mb", "1;".repeat(1000));
        let html = convert(&[&long]);
        assert!(html.starts_with(&format!("a{SEQUENCE_MARK}")), "{html:.200}");
        let endless = format!("a\x1b]{}", "x".repeat(5000));
        assert!(convert(&[&endless]).starts_with(&format!("a{SEQUENCE_MARK}")));
        assert_eq!(convert(&["\x1b]never ends\nnext"]), "\nnext");
    }

    #[test]
    fn long_line_is_cut() {
        let html = convert(&[&"x".repeat(LINE_MAX + 5), "\n"]);
        assert!(html.ends_with("x<span class=\"mark\">[5 more characters]</span>\n"));
        let marks = convert(&[&format!("\x1b[{}", "1".repeat(65)).repeat(10_000)]);
        assert!(marks.len() < 64 * LINE_MAX, "{}", marks.len());
    }

    #[test]
    fn plain_text_has_no_sequences() {
        assert_eq!(plain("\x1b]0;never ends\nnext\x1b["), "next");
        assert_eq!(plain("a\x1b[1;31mb\x1b]0;t\x07c\x00\td\r"), "abc\td");
    }
}
