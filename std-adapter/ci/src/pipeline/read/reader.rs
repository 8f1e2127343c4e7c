//! Reads values from a TOML table and collects the errors.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::super::error::{ERRORS_MAX, PipelineError, Position};
use super::super::pattern::Pattern;

/// The maximum number of items in a list.
const ITEMS_MAX: usize = 100;

pub(super) type Key<'t> = Spanned<DeString<'t>>;
pub(super) type Value<'t> = Spanned<DeValue<'t>>;
pub(super) type Span = Range<usize>;

/// Collects the errors in a file.
pub(super) struct Reader<'t> {
    text: &'t str,
    errors: Vec<PipelineError>,
}

/// A table in the file.
pub(super) struct Table<'a, 't> {
    pub(super) entries: &'a DeTable<'t>,
    pub(super) span: Span,
    /// The description of the table in messages, for example "the step `test`".
    pub(super) what: String,
}

impl<'a, 't> Table<'a, 't> {
    pub(super) fn get(&self, key: &str) -> Option<(&'a Key<'t>, &'a Value<'t>)> {
        self.entries.iter().find(|(found, _)| found.get_ref() == key)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value<'t>> {
        self.get(key).map(|(_, value)| value)
    }

    /// Returns the entries in file order.
    pub(super) fn in_order(&self) -> Vec<(&'a Key<'t>, &'a Value<'t>)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(key, value)| (key.span().start, value.span().start));
        entries
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        Reader { text, errors: Vec::new() }
    }

    pub(super) fn into_errors(self) -> Vec<PipelineError> {
        self.errors
    }

    pub(super) fn error(&mut self, at: Span, message: impl Into<String>) {
        if !self.is_full() {
            let position = Position::at(self.text, at.start);
            self.errors.push(PipelineError { position, message: message.into() });
        }
    }

    /// Returns `true` if no more errors can be collected. The number of errors is limited because
    /// computing the position of an error takes time proportional to the size of the file.
    fn is_full(&self) -> bool {
        self.errors.len() >= 4 * ERRORS_MAX
    }

    /// Reports every key that is not in the sorted list `known`.
    pub(super) fn unknown_keys(&mut self, table: &Table<'_, '_>, known: &[&str]) {
        for (key, _) in table.in_order() {
            let name = key.get_ref();
            if known.contains(&&**name) || self.is_full() {
                continue;
            }
            let hint = match similar(name, known) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("the keys are {}", list(known)),
            };
            let message = format!("unknown key `{}` in {}; {hint}", shown(name), table.what);
            self.error(key.span(), message);
        }
    }

    /// Reports that a value has the wrong type.
    pub(super) fn wrong_type(&mut self, value: &Value<'_>, what: &str, right: &str) {
        let found = value.get_ref().type_str();
        let article = if matches!(found, "integer" | "array") { "an" } else { "a" };
        self.error(value.span(), format!("{what} is {article} {found}; it must be {right}"));
    }

    pub(super) fn table<'a, 'v>(
        &mut self,
        value: &'a Value<'v>,
        what: String,
        right: &str,
    ) -> Option<Table<'a, 'v>> {
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table { entries, span: value.span(), what }),
            _ => {
                self.wrong_type(value, &what, right);
                None
            }
        }
    }

    pub(super) fn string<'a>(&mut self, value: &'a Value<'_>, what: &str) -> Option<&'a str> {
        match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                self.error(value.span(), format!("{what} contains a NUL character; remove it"));
                None
            }
            DeValue::String(text) => Some(text),
            _ => {
                self.wrong_type(value, what, "a string");
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, value: &Value<'_>, what: &str) -> Option<bool> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(value, what, "`true` or `false`");
        }
        found
    }

    /// Reads an integer between `min` and `max`.
    pub(super) fn integer(
        &mut self,
        value: &Value<'_>,
        what: &str,
        (min, max): (u64, u64),
    ) -> Option<u64> {
        let right = format!("an integer between {min} and {max}");
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(value, what, &right);
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.error(
                    value.span(),
                    format!("{what} is {}; it must be {right}", number.as_str()),
                );
                None
            }
        }
    }

    /// Reads a string or a list of strings, and parses each of them.
    pub(super) fn strings<T>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, Span)> {
        let items = match value.get_ref() {
            DeValue::String(_) => std::slice::from_ref(value),
            DeValue::Array(items) if items.len() > ITEMS_MAX => {
                let length = items.len();
                let message = format!("{what} has {length} items; at most {ITEMS_MAX} are allowed");
                self.error(value.span(), message);
                return Vec::new();
            }
            DeValue::Array(items) => items,
            _ => {
                self.wrong_type(value, what, "a string or a list of strings");
                return Vec::new();
            }
        };
        let mut parsed = Vec::new();
        for item in items {
            let one = if items.len() == 1 { what.to_owned() } else { format!("an item of {what}") };
            let Some(text) = self.string(item, &one) else { continue };
            match parse(text) {
                Ok(value) => parsed.push((value, item.span())),
                Err(reason) => self.error(item.span(), format!("{what}: {reason}")),
            }
        }
        parsed
    }

    /// Reads a string and parses it.
    pub(super) fn parsed<T>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.string(value, what)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.error(value.span(), format!("{what}: {reason}"));
                None
            }
        }
    }

    /// Reads `true`, `false`, a pattern or a list of patterns.
    pub(super) fn patterns(&mut self, value: &Value<'_>, what: &str) -> Vec<Pattern> {
        if let Some(all) = value.get_ref().as_bool() {
            return if all { Pattern::parse("**").into_iter().collect() } else { Vec::new() };
        }
        let patterns = self.strings(value, what, Pattern::parse);
        patterns.into_iter().map(|(pattern, _)| pattern).collect()
    }
}

/// Formats a list of names for a message.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Prepares a name from the file for a message: removes control characters and truncates long
/// names.
pub(super) fn shown(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    let dots = if short.len() < name.len() { "..." } else { "" };
    format!("{}{dots}", short.escape_debug())
}

/// Returns the known name with the smallest edit distance to `name`, if that distance is small.
pub(super) fn similar<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    if name.len() > 60 {
        return None;
    }
    let near = names.iter().map(|known| (distance(name, known), *known)).min()?;
    let length = name.chars().count();
    let limit = (length / 3).clamp(1, 3);
    (near.0 <= limit && near.0 < length).then_some(near.1)
}

/// Returns the edit distance between two strings: the number of insertions, deletions,
/// substitutions and transpositions of adjacent characters that turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, here) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, there) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let above = rows.last().map_or(&[][..], Vec::as_slice);
            let replaced = at(above, j).saturating_add(usize::from(here != there));
            let removed = at(above, j + 1).saturating_add(1);
            let inserted = at(&row, j).saturating_add(1);
            let mut best = replaced.min(removed).min(inserted);
            if i > 0 && j > 0 && from.get(i - 1) == Some(there) && to.get(j - 1) == Some(here) {
                let before = rows.get(i - 1).map_or(&[][..], Vec::as_slice);
                best = best.min(at(before, j - 1).saturating_add(1));
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}
