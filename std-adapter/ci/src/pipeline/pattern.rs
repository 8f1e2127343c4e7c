//! Patterns for branch names, tag names and paths.

use std::fmt;

/// The maximum length of a pattern, in bytes.
const LENGTH_MAX: usize = 256;

/// A pattern. `*` matches any string without a slash, `**` matches any string, `?` matches one
/// character other than a slash, and a backslash makes the next character literal. `**/` also
/// matches the empty string, so `**/x` matches `x`. A pattern that starts with `!` excludes what
/// the rest of the pattern matches.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
    exclude: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One character other than a slash.
    One,
    /// Any string without a slash.
    Segment,
    /// Any text.
    Any,
    /// The empty string, or any string that ends with a slash.
    Dirs,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// Returns a message that says what is wrong.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let (exclude, body) = text.strip_prefix('!').map_or((false, text), |body| (true, body));
        if body.is_empty() {
            return Err("the pattern is empty; `**` matches everything".to_owned());
        }
        if body.len() > LENGTH_MAX {
            let length = body.len();
            return Err(format!(
                "the pattern has {length} bytes; at most {LENGTH_MAX} are allowed"
            ));
        }
        if body.starts_with('/') {
            let rest = body.trim_start_matches('/');
            return Err(format!("a pattern must not start with a slash; write `{rest}`"));
        }
        Ok(Pattern { text: text.to_owned(), tokens: tokens(body.as_bytes())?, exclude })
    }

    /// Returns the string from which the pattern was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the maximum number of steps for matching one byte of a name.
    pub(super) fn cost(&self) -> usize {
        self.tokens.len() + 1
    }

    /// Returns `true` if the pattern (without a leading `!`) matches the whole name.
    ///
    /// For any pattern, the run time is at most proportional to the product of the lengths of the
    /// pattern and the name.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        // `reached[i]`: whether the tokens so far match the first `i` bytes of the name.
        let mut reached = vec![false; name.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        for token in &self.tokens {
            reached = advance(*token, &reached, name);
        }
        reached.last() == Some(&true)
    }
}

/// Returns the value of `reached` after one more token.
fn advance(token: Token, reached: &[bool], name: &[u8]) -> Vec<bool> {
    let mut next = Vec::with_capacity(reached.len());
    // Whether a match of the token ends at the current index and can be extended.
    let mut open = false;
    let mut before = None;
    for (index, here) in reached.iter().enumerate() {
        let last: Option<u8> = index.checked_sub(1).and_then(|last| name.get(last)).copied();
        let matched = match token {
            Token::Byte(byte) => before == Some(true) && last == Some(byte),
            Token::One => {
                // A match consumes a whole character, including its continuation bytes.
                let continued = name.get(index).is_some_and(|byte| byte & 0xc0 == 0x80);
                open = last.is_some_and(|last| last != b'/') && (before == Some(true) || open);
                let matched = open && !continued;
                open &= continued;
                matched
            }
            Token::Segment => {
                open = *here || (open && last != Some(b'/'));
                open
            }
            Token::Any => {
                open |= *here;
                open
            }
            Token::Dirs => {
                let matched = *here || (open && last == Some(b'/'));
                open |= *here;
                matched
            }
        };
        next.push(matched);
        before = Some(*here);
    }
    next
}

fn tokens(mut text: &[u8]) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    loop {
        let at_start = matches!(tokens.last(), None | Some(Token::Byte(b'/') | Token::Dirs));
        let (token, rest) = match text {
            [] => return Ok(tokens),
            [b'*', b'*', b'*', ..] => {
                return Err("`***` is not a wildcard; write `*` or `**`".to_owned());
            }
            [b'*', b'*', b'/', rest @ ..] if at_start => (Token::Dirs, rest),
            [b'*', b'*', rest @ ..] => (Token::Any, rest),
            [b'*', rest @ ..] => (Token::Segment, rest),
            [b'?', rest @ ..] => (Token::One, rest),
            [b'\\', byte, rest @ ..] => (Token::Byte(*byte), rest),
            [b'\\'] => {
                return Err("a backslash at the end escapes nothing; write `\\\\`".to_owned());
            }
            [b'[' | b']' | b'{' | b'}', ..] => {
                return Err(
                    "`[`, `]`, `{` and `}` are not supported in patterns; escape them with \
                     a backslash, or use two patterns"
                        .to_owned(),
                );
            }
            [byte, rest @ ..] => (Token::Byte(*byte), rest),
        };
        tokens.push(token);
        text = rest;
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Returns `true` if a list of patterns selects a name. The last matching pattern decides. If the
/// first pattern in the list is an exclusion, names that match no pattern are selected.
#[must_use]
pub fn selects(patterns: &[Pattern], name: &[u8]) -> bool {
    let last = patterns.iter().rev().find(|pattern| pattern.matches(name));
    match last {
        Some(pattern) => !pattern.exclude,
        None => patterns.first().is_some_and(|pattern| pattern.exclude),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn wildcards_match_as_documented() {
        for (text, matching, others) in [
            ("master", &["master"][..], &["master2", "amaster", ""][..]),
            ("release/*", &["release/1", "release/"], &["release/1/2", "release"]),
            ("release/**", &["release/1", "release/1/2"], &["release"]),
            ("**", &["", "a", "a/b"], &[]),
            ("**/*.rs", &["a.rs", "src/a.rs", "src/b/a.rs"], &["a.rs/b", "a.rsx"]),
            ("src/**/a", &["src/a", "src/b/a", "src/b/c/a"], &["srca", "src/ba"]),
            ("v?.?", &["v1.2", "v\u{fc}.1"], &["v12.3", "v/.1", "v1."]),
            ("a\\*b\\?", &["a*b?"], &["axb?", "a*bx"]),
            ("a**b", &["ab", "a/x/b"], &["a", "ba"]),
            ("*x*", &["x", "axb"], &["a/x", "abc"]),
        ] {
            for name in matching {
                assert!(pattern(text).matches(name.as_bytes()), "{text} {name}");
            }
            for name in others {
                assert!(!pattern(text).matches(name.as_bytes()), "{text} {name}");
            }
        }
        assert!(pattern("*").matches(b"not \xff UTF-8"));
        assert!(pattern("??").matches(b"\xff\xfe"));
    }

    #[test]
    fn the_last_matching_pattern_decides() {
        let lists = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
        let docs = lists(&["**", "!docs/**", "docs/api/**"]);
        for (name, selected) in [("src/a", true), ("docs/a", false), ("docs/api/a", true)] {
            assert_eq!(selects(&docs, name.as_bytes()), selected, "{name}");
        }
        let only = lists(&["!docs/**"]);
        assert!(selects(&only, b"src") && !selects(&only, b"docs/a") && !selects(&[], b"x"));
    }

    #[test]
    fn wrong_patterns_are_refused_with_a_correction() {
        for (text, expected) in [
            ("", "the pattern is empty; `**` matches everything"),
            ("!", "the pattern is empty; `**` matches everything"),
            ("/src", "a pattern must not start with a slash; write `src`"),
            ("a***", "`***` is not a wildcard; write `*` or `**`"),
            ("a\\", "a backslash at the end escapes nothing; write `\\\\`"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), expected);
        }
        assert!(Pattern::parse("{a,b}").unwrap_err().contains("two patterns"));
        let long = "a".repeat(257);
        assert!(Pattern::parse(&long).unwrap_err().ends_with("at most 256 are allowed"));
    }

    /// A reference implementation of [`Pattern::matches`] that follows the rules directly.
    fn naive(tokens: &[Token], name: &[u8]) -> bool {
        let Some((token, rest)) = tokens.split_first() else { return name.is_empty() };
        let splits = (0..=name.len()).map(|at| name.split_at(at));
        splits.into_iter().any(|(part, after)| {
            let fits = match token {
                Token::Byte(byte) => part == [*byte],
                Token::One => part.len() == 1 && part != b"/",
                Token::Segment => !part.contains(&b'/'),
                Token::Any => true,
                Token::Dirs => part.is_empty() || part.ends_with(b"/"),
            };
            fits && naive(rest, after)
        })
    }

    /// Returns all strings of up to four characters.
    fn texts(characters: &str) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..4 {
            let longer = |text: &String| characters.chars().map(|c| format!("{text}{c}")).collect();
            last = last.iter().flat_map(|text| -> Vec<String> { longer(text) }).collect();
            all.extend(last.clone());
        }
        all
    }

    #[test]
    fn all_short_patterns_match_like_the_naive_matcher() {
        let (patterns, names) = (texts("a/*?"), texts("ab/"));
        let patterns: Vec<Pattern> =
            patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        assert!(patterns.len() > 200);
        for pattern in &patterns {
            for name in &names {
                let expected = naive(&pattern.tokens, name.as_bytes());
                assert_eq!(pattern.matches(name.as_bytes()), expected, "{pattern:?} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_with_many_wildcards_is_fast() {
        let text = "**a".repeat(80);
        let name = "a".repeat(4000) + "b";
        let began = std::time::Instant::now();
        assert!(!pattern(&text).matches(name.as_bytes()));
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}
