//! The colors and font weight of text in a log.

use std::fmt;

/// The style of a character. Its `Display` implementation writes a list of CSS classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::web) struct Style {
    foreground: Option<Color>,
    background: Option<Color>,
    bold: bool,
    italic: bool,
    underline: bool,
}

/// One of the 16 terminal colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Color {
    number: u8,
    bright: bool,
}

const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bright = if self.bright { "bright-" } else { "" };
        write!(f, "{bright}{}", NAMES.get(usize::from(self.number)).unwrap_or(&"white"))
    }
}

impl Style {
    /// Applies the parameters of an `ESC [ PARAMETERS m` sequence. Unknown parameters are ignored.
    pub(super) fn apply(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| match code {
            "" => Some(0),
            code => code.parse::<u16>().ok(),
        });
        while let Some(code) = codes.next() {
            let Some(code) = code else { return };
            match code {
                38 => self.foreground = extended(&mut codes).or(self.foreground),
                48 => self.background = extended(&mut codes).or(self.background),
                code => self.apply_code(code),
            }
        }
    }

    fn apply_code(&mut self, code: u16) {
        match code {
            0 => *self = Style::default(),
            1 => self.bold = true,
            3 => self.italic = true,
            4 => self.underline = true,
            22 => self.bold = false,
            23 => self.italic = false,
            24 => self.underline = false,
            30..=37 => self.foreground = color(code - 30, false),
            39 => self.foreground = None,
            40..=47 => self.background = color(code - 40, false),
            49 => self.background = None,
            90..=97 => self.foreground = color(code - 90, true),
            100..=107 => self.background = color(code - 100, true),
            _ => {}
        }
    }
}

fn color(number: u16, bright: bool) -> Option<Color> {
    u8::try_from(number).ok().map(|number| Color { number, bright })
}

/// Reads the rest of `38;5;N` or `38;2;R;G;B`. Returns the color if it is one of the 16 defined in
/// the style sheet.
fn extended(codes: &mut impl Iterator<Item = Option<u16>>) -> Option<Color> {
    match codes.next()?? {
        5 => match codes.next()?? {
            number @ 0..=7 => color(number, false),
            number @ 8..=15 => color(number - 8, true),
            _ => None,
        },
        2 => {
            codes.take(3).for_each(drop);
            None
        }
        _ => None,
    }
}

impl fmt::Display for Style {
    /// Writes the classes, for example `fg-bright-red bold`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let color = |kind: &str, color: Option<Color>| color.map(|color| format!("{kind}-{color}"));
        let flag = |name: &str, set: bool| set.then(|| name.to_owned());
        let classes = [
            color("fg", self.foreground),
            color("bg", self.background),
            flag("bold", self.bold),
            flag("italic", self.italic),
            flag("underline", self.underline),
        ];
        let classes: Vec<String> = classes.into_iter().flatten().collect();
        f.write_str(&classes.join(" "))
    }
}
