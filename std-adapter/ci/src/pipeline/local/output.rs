//! Prints the log of a step.

use std::io::{self, Write};

/// Prints lines prefixed with the name of the step.
pub(super) struct Printer {
    prefix: String,
    /// The start of a line whose end has not been read yet.
    partial: String,
}

/// The length at which a line is printed even if its end has not been read yet.
const LINE_MAX: usize = 64 << 10;

impl Printer {
    pub(super) fn new(name: &str) -> Printer {
        Printer { prefix: format!("{name} | "), partial: String::new() }
    }

    pub(super) fn print(&mut self, part: &str, output: &mut dyn Write) -> io::Result<()> {
        self.partial.push_str(part);
        let text = std::mem::take(&mut self.partial);
        for line in text.split_inclusive('\n') {
            if line.ends_with('\n') || line.len() > LINE_MAX {
                writeln!(output, "{}{}", self.prefix, line.trim_end_matches('\n'))?;
            } else {
                self.partial = line.to_owned();
            }
        }
        output.flush()
    }

    pub(super) fn finish(&mut self, output: &mut dyn Write) -> io::Result<()> {
        match std::mem::take(&mut self.partial) {
            partial if partial.is_empty() => Ok(()),
            partial => writeln!(output, "{}{partial}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_name_of_the_step() {
        let (mut printer, mut output) = (Printer::new("lint"), Vec::new());
        for part in ["one\ntw", "o\n", "\n", "end"] {
            printer.print(part, &mut output).unwrap();
        }
        printer.finish(&mut output).unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "lint | one\nlint | two\nlint | \nlint | end\n"
        );
    }
}
