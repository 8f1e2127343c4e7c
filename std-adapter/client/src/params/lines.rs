//! Parameter values as lines of the form `PATH VALUE`, which is the format of the `modified` file.

use super::error::{Error, Result};

/// A parameter path and the parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The path of the parameter, relative to the parameter directory.
    pub path: String,
    /// The value as a string without a newline.
    pub value: String,
}

impl Setting {
    /// Creates a setting.
    pub fn new(path: impl Into<String>, value: impl Into<String>) -> Setting {
        Setting { path: path.into(), value: value.into() }
    }
}

/// Parses lines of the form `PATH VALUE`. Empty lines, lines that start with `#` and a byte-order
/// mark at the start are ignored. The value is empty if there is no text after the path.
///
/// # Errors
/// Returns [`Error::InvalidLine`] for a line that starts with a space or a tab, or
/// [`Error::Refused`] if two lines set the same parameter.
pub fn parse_settings(text: &str) -> Result<Vec<Setting>> {
    Ok(parse_numbered(text)?.into_iter().map(|(_, setting)| setting).collect())
}

/// Parses lines of the form `PATH VALUE`, as [`parse_settings`] does, and returns each setting with
/// the number of its line, starting from 1.
///
/// # Errors
/// Returns the same errors as [`parse_settings`].
pub fn parse_numbered(text: &str) -> Result<Vec<(usize, Setting)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut settings: Vec<(usize, Setting)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (path, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if path.is_empty() {
            return Err(Error::InvalidLine { number, line: line.to_owned() });
        }
        if settings.iter().any(|(_, setting)| setting.path == path) {
            let reason = format!("line {number} sets the parameter a second time");
            return Err(Error::Refused { path: path.to_owned(), reason });
        }
        settings.push((number, Setting::new(path, value.trim())));
    }
    Ok(settings)
}

/// Writes a `PATH VALUE` line for each setting.
#[must_use]
pub fn format_settings(settings: &[Setting]) -> String {
    settings.iter().map(|setting| format!("{} {}\n", setting.path, setting.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_written() {
        let text = "# saved on Monday\n\nblink/period 500\nname a b \nempty\nalso-empty \r\n";
        let settings = parse_settings(text).unwrap();
        let expected =
            [("blink/period", "500"), ("name", "a b"), ("empty", ""), ("also-empty", "")];
        assert_eq!(settings, expected.map(|(path, value)| Setting::new(path, value)));
        let text = "blink/period 500\nname a b\nempty \nalso-empty \n";
        assert_eq!(format_settings(&settings), text);
        let settings = parse_numbered("\u{feff}a\t1\n\nb \t 2\n").unwrap();
        assert_eq!(settings, [(1, Setting::new("a", "1")), (3, Setting::new("b", "2"))]);
    }

    #[test]
    fn invalid_lines_are_named() {
        let error = |text| parse_settings(text).unwrap_err().to_string();
        assert_eq!(error("a 1\n b 2\n"), "line 2: \" b 2\" is not of the form PATH VALUE");
        assert_eq!(error("\tb 2\n"), "line 1: \"\\tb 2\" is not of the form PATH VALUE");
        assert_eq!(error("a 1\n\na 2\n"), "a: line 3 sets the parameter a second time");
    }
}
