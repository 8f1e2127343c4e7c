//! Renders part of a log, with anchors for line numbers and collapsible steps.

use std::fmt::Write;
use std::time::SystemTime;

use super::ansi::{Converter, plain};
use super::index::PageStart;
use crate::web::html::escape;
use crate::web::time;

/// Appends a line with its number, which links to this line on the page at `url`. If `url` is
/// empty, the number links to the line on the current page.
pub(in crate::web) fn push_line(html: &mut String, number: u64, url: &str, line: &str) {
    // The line feed is inside the element, because between two elements it would show up as an
    // empty line. Writing to a string never fails.
    let _ = write!(
        html,
        "<span class=\"line\" id=\"L{number}\"><a href=\"{url}#L{number}\" tabindex=\"-1\">\
         {number}</a>{line}\n</span>",
    );
}

/// A build command, which is announced by a line such as `[2026-11-28 09:30.05] $ make`.
struct BuildCommand {
    title: String,
    started: SystemTime,
    lines: String,
}

/// Converts the lines of a page to HTML. The output of each command becomes a `details` element.
pub(in crate::web) struct Page<'u> {
    html: String,
    /// Lines that are outside steps and have not been added to `html` yet.
    lines: String,
    step: Option<BuildCommand>,
    url: &'u str,
}

impl<'u> Page<'u> {
    /// Converts a page. Each line number links to its line on the page at `url`.
    pub(in crate::web) fn convert(start: &PageStart, url: &'u str, text: &str) -> String {
        let mut page = Page { html: String::new(), lines: String::new(), step: None, url };
        let mut converter = Converter::new(start.style);
        for (line_number, raw) in (start.line..).zip(text.split_inclusive('\n')) {
            let mut html = String::new();
            let mut ended = false;
            converter.feed(raw, |line| {
                html.push_str(line);
                ended = true;
            });
            if !ended {
                html = converter.rest();
            }
            page.add(line_number, raw, &html);
        }
        page.end_step(None);
        page.flush();
        page.html
    }

    fn add(&mut self, number: u64, raw: &str, html: &str) {
        if let Some((time, text)) = time::of_log_line(raw) {
            self.end_step(Some(time));
            if let Some(command) = text.strip_prefix("$ ") {
                self.flush();
                let title = plain(command.trim_end());
                self.step = Some(BuildCommand { title, started: time, lines: String::new() });
            }
        }
        let lines = self.step.as_mut().map_or(&mut self.lines, |step| &mut step.lines);
        push_line(lines, number, self.url, html);
    }

    /// Adds the step. `ended` is the time of the next line with a timestamp.
    fn end_step(&mut self, ended: Option<SystemTime>) {
        let Some(step) = self.step.take() else { return };
        let duration = ended.and_then(|ended| ended.duration_since(step.started).ok());
        let duration =
            duration.map(|duration| format!("<small>{}</small>", time::duration(duration)));
        let _ = write!(
            self.html,
            "<details class=\"step\" open><summary><code>{}</code> {}</summary>\n\
             <pre class=\"log\">{}</pre></details>\n",
            escape(&step.title),
            duration.unwrap_or_default(),
            step.lines,
        );
    }

    /// Adds lines that are outside steps.
    fn flush(&mut self) {
        if !self.lines.is_empty() {
            let _ = writeln!(self.html, "<pre class=\"log\">{}</pre>", self.lines);
            self.lines.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::log::style::Style;

    fn convert(text: &str, url: &str) -> String {
        let start = PageStart { offset: 0, line: 1, style: Style::default() };
        Page::convert(&start, url, text)
    }

    #[test]
    fn lines_have_numbers_and_anchors() {
        let html = convert("a\n\x1b[31mb", "");
        assert_eq!(
            html,
            "<pre class=\"log\"><span class=\"line\" id=\"L1\"><a href=\"#L1\" tabindex=\"-1\">1</a>a\n</span>\
             <span class=\"line\" id=\"L2\"><a href=\"#L2\" tabindex=\"-1\">2</a><span class=\"fg-red\">b</span>\n</span>\
             </pre>\n"
        );
        assert!(convert("a\n", "?page=3").contains("<a href=\"?page=3#L1\""));
        assert_eq!(convert("", ""), "");
    }

    #[test]
    fn commands_are_folded() {
        let html = convert(
            "=== Build\n[2026-11-28 09:30.05] Starting...\n[2026-11-28 09:30.06] $ make <x>\n\
             \x1b[31mred\n[2026-11-28 09:31.21] $ true\n[2026-11-28 09:31.22] Success\n",
            "",
        );
        let outline: Vec<&str> = html.lines().filter(|line| line.contains("<summary>")).collect();
        assert_eq!(
            outline,
            [
                "<details class=\"step\" open><summary><code>make &lt;x&gt;</code> <small>1 min 15 s</small></summary>",
                "<details class=\"step\" open><summary><code>true</code> <small>1 s</small></summary>",
            ]
        );
        assert_eq!(html.matches("<pre").count(), 4);
        assert!(html.ends_with("Success</span>\n</span></pre>\n"), "{html}");
    }
}
