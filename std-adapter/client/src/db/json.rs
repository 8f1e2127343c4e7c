//! A parser for the JSON object that describes a commit. Each member of the object is a string or
//! an array of strings.

use std::collections::HashMap;

/// The value of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JsonValue {
    Text(String),
    Array(Vec<String>),
}

/// Parses an object. Returns `None` if `text` is not an object, or if a member is neither a string
/// nor an array of strings.
pub(super) fn parse_object(text: &str) -> Option<HashMap<String, JsonValue>> {
    let mut parser = Parser { rest: text };
    let mut members = HashMap::new();
    parser.separated('{', '}', |parser| {
        let name = parser.string()?;
        parser.expect(':')?;
        let value = if parser.peek() == Some('[') {
            let mut values = Vec::new();
            parser.separated('[', ']', |parser| {
                values.push(parser.string()?);
                Some(())
            })?;
            JsonValue::Array(values)
        } else {
            JsonValue::Text(parser.string()?)
        };
        members.insert(name, value);
        Some(())
    })?;
    parser.peek().is_none().then_some(members)
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
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
        if self.peek()? != close {
            item(self)?;
            while self.peek()? == ',' {
                self.expect(',')?;
                item(self)?;
            }
        }
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

    /// Parses the digits of a `\uXXXX` escape. If the escape is the first half of a surrogate pair,
    /// the escape for the second half must follow and is parsed as well.
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
            pretty: bool,
        ) {
            let json = serde_json::json!({ "text": text, "list": list });
            let json = if pretty { format!("{json:#}\n") } else { json.to_string() };
            let members = parse_object(&json).unwrap();
            prop_assert_eq!(&members["text"], &JsonValue::Text(text));
            prop_assert_eq!(&members["list"], &JsonValue::Array(list));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[\\[\\]{}:,\"\\\\u0-9a-f ]*") {
            let _ = parse_object(&text);
        }
    }

    #[test]
    fn objects_of_strings_and_arrays_are_parsed() {
        let object = r#" { "a" : "x\"\\\n\u00e9\ud83d\ude00", "b": ["1", "2"], "c": [] } "#;
        let members = parse_object(object).unwrap();
        assert_eq!(members["a"], JsonValue::Text("x\"\\\n\u{e9}\u{1f600}".to_owned()));
        assert_eq!(members["b"], JsonValue::Array(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(members["c"], JsonValue::Array(Vec::new()));
        assert!(parse_object("{}").unwrap().is_empty());
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "[]",
            "{\"a\"}",
            "{\"a\":1}",
            "{\"a\":\"b\",}",
            "{\"a\":[[]]}",
            "{\"a\":\"b\"} x",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u00\u{e9}\"}",
        ] {
            assert_eq!(parse_object(text), None, "{text}");
        }
    }
}
