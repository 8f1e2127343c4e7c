//! A JSON parser for the descriptions of commits and parameters.

use std::collections::HashMap;

/// The maximum depth of nested arrays and objects. The parser is recursive, so the depth is
/// limited.
const MAX_DEPTH: u32 = 16;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonValue {
    Null,
    Bool(bool),
    /// A number, kept as text because a conversion could change its value.
    Number(String),
    Text(String),
    Array(Vec<JsonValue>),
    Object(HashMap<String, JsonValue>),
}

impl JsonValue {
    /// Returns the text of a string.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            JsonValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of an array of strings.
    pub(crate) fn into_texts(self) -> Option<Vec<String>> {
        match self {
            JsonValue::Array(values) => values.into_iter().map(JsonValue::into_text).collect(),
            _ => None,
        }
    }
}

/// Parses an object. Returns `None` if `text` is not an object.
pub(crate) fn parse_object(text: &str) -> Option<HashMap<String, JsonValue>> {
    let mut parser = Parser { rest: text, depth: 0 };
    let JsonValue::Object(members) = parser.value()? else { return None };
    parser.peek().is_none().then_some(members)
}

struct Parser<'t> {
    rest: &'t str,
    depth: u32,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<JsonValue> {
        Some(match self.peek()? {
            '{' => JsonValue::Object(self.object()?),
            '[' => {
                let mut values = Vec::new();
                self.separated('[', ']', |parser| {
                    values.push(parser.value()?);
                    Some(())
                })?;
                JsonValue::Array(values)
            }
            '"' => JsonValue::Text(self.string()?),
            '-' | '0'..='9' => self.number()?,
            _ => self.word()?,
        })
    }

    fn object(&mut self) -> Option<HashMap<String, JsonValue>> {
        let mut members = HashMap::new();
        self.separated('{', '}', |parser| {
            let name = parser.string()?;
            parser.expect(':')?;
            members.insert(name, parser.value()?);
            Some(())
        })?;
        Some(members)
    }

    /// Parses a number. Numbers that JSON forbids, such as `01`, are accepted if Rust can parse
    /// them.
    fn number(&mut self) -> Option<JsonValue> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(end)?;
        number.parse::<f64>().ok()?;
        self.rest = rest;
        Some(JsonValue::Number(number.to_owned()))
    }

    fn word(&mut self) -> Option<JsonValue> {
        let words = [
            ("null", JsonValue::Null),
            ("true", JsonValue::Bool(true)),
            ("false", JsonValue::Bool(false)),
        ];
        let (rest, value) = words
            .into_iter()
            .find_map(|(word, value)| Some((self.rest.strip_prefix(word)?, value)))?;
        self.rest = rest;
        Some(value)
    }

    /// Skips whitespace and returns the next character without consuming it.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.next()).map(drop)
    }

    /// Parses comma-separated items between `open` and `close`.
    fn separated(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.expect(open)?;
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
        if self.peek()? != close {
            item(self)?;
            while self.peek()? == ',' {
                self.expect(',')?;
                item(self)?;
            }
        }
        self.depth -= 1;
        self.expect(close)
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            text.push(match self.next()? {
                '"' => return Some(text),
                '\\' => match self.next()? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => self.unicode_escape()?,
                    plain @ ('"' | '\\' | '/') => plain,
                    _ => return None,
                },
                other => other,
            });
        }
    }

    /// Parses the digits that follow `\u` in a Unicode escape. The first half of a surrogate pair
    /// must be followed by an escape for the second half, which is parsed as well.
    fn unicode_escape(&mut self) -> Option<char> {
        let unit = self.hex_digits()?;
        if !matches!(unit, 0xd800..=0xdbff) {
            return char::from_u32(unit.into());
        }
        self.rest = self.rest.strip_prefix("\\u")?;
        char::decode_utf16([unit, self.hex_digits()?]).next()?.ok()
    }

    fn hex_digits(&mut self) -> Option<u16> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(
            text in ".*",
            list in proptest::collection::vec(".*", 0..4),
            integer: i64,
            float in proptest::num::f64::NORMAL,
            pretty: bool,
        ) {
            let json = serde_json::json!({
                "text": text, "list": list, "integer": integer, "float": float, "on": true,
                "below": { "none": null }
            });
            let json = if pretty { format!("{json:#}\n") } else { json.to_string() };
            let mut members = parse_object(&json).unwrap();
            prop_assert_eq!(members.remove("list").unwrap().into_texts(), Some(list));
            prop_assert_eq!(members.remove("text").unwrap().into_text(), Some(text));
            prop_assert_eq!(&members["integer"], &JsonValue::Number(integer.to_string()));
            let JsonValue::Number(number) = &members["float"] else { panic!("{members:?}") };
            prop_assert_eq!(number.parse::<f64>().unwrap(), float);
            prop_assert_eq!(&members["on"], &JsonValue::Bool(true));
            let JsonValue::Object(below) = &members["below"] else { panic!("{members:?}") };
            prop_assert_eq!(&below["none"], &JsonValue::Null);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[\\[\\]{}:,\"\\\\u0-9a-f+. -]*") {
            let _ = parse_object(&text);
            let _ = parse_object(&format!("{{\"a\":{text}}}"));
        }
    }

    #[test]
    fn escapes_are_decoded() {
        let object = r#" { "a" : "x\"\\\n\u00e9\ud83d\ude00", "b": [], "c": -1.5e+3 } "#;
        let members = parse_object(object).unwrap();
        assert_eq!(members["a"], JsonValue::Text("x\"\\\n\u{e9}\u{1f600}".to_owned()));
        assert_eq!(members["b"], JsonValue::Array(Vec::new()));
        assert_eq!(members["c"], JsonValue::Number("-1.5e+3".to_owned()));
        assert!(parse_object("{}").unwrap().is_empty());
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "[]",
            "1",
            "{\"a\"}",
            "{\"a\":-}",
            "{\"a\":1-2}",
            "{\"a\":nul}",
            "{\"a\":\"b\",}",
            "{\"a\":[[]}",
            "{\"a\":\"b\"} x",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u00\u{e9}\"}",
        ] {
            assert_eq!(parse_object(text), None, "{text}");
        }
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(&nested(15)).is_some());
        assert_eq!(parse_object(&nested(16)), None);
    }
}
