//! Replaces secrets in the output of builds.

use std::borrow::Cow;

/// The text that replaces a secret.
const MASK: &str = "********";

/// The strings that are replaced.
pub(super) struct Mask {
    /// The secrets, longest first, because a secret can begin with a shorter one.
    secrets: Vec<String>,
    /// For each byte, whether a secret begins with it.
    is_first: [bool; 256],
}

impl Mask {
    pub(super) fn new(secrets: Vec<String>) -> Mask {
        let mut secrets: Vec<String> =
            secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        let mut is_first = [false; 256];
        for first in secrets.iter().filter_map(|secret| secret.bytes().next()) {
            if let Some(is_first) = is_first.get_mut(usize::from(first)) {
                *is_first = true;
            }
        }
        Mask { secrets, is_first }
    }

    /// Replaces all secrets in `text`. Unless `text` is complete, a suffix that could be the
    /// beginning of a secret is returned separately.
    pub(super) fn apply<'t>(&self, text: &'t str, is_complete: bool) -> (Cow<'t, str>, &'t str) {
        let (mut masked, mut copied, mut at) = (String::new(), 0, 0);
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            match self.match_at(rest, is_complete) {
                Match::None => at += 1,
                Match::Secret(length) => {
                    masked.push_str(text.get(copied..at).unwrap_or_default());
                    masked.push_str(MASK);
                    at += length;
                    copied = at;
                }
                Match::Unknown => break,
            }
        }
        let (end, held) = (text.get(copied..at), text.get(at..));
        let (end, held) = (end.unwrap_or_default(), held.unwrap_or_default());
        if copied == 0 {
            return (Cow::Borrowed(end), held);
        }
        masked.push_str(end);
        (Cow::Owned(masked), held)
    }

    fn match_at(&self, rest: &[u8], is_complete: bool) -> Match {
        let is_first = |byte: &u8| self.is_first.get(usize::from(*byte)) == Some(&true);
        if !rest.first().is_some_and(is_first) {
            return Match::None;
        }
        for secret in &self.secrets {
            if rest.starts_with(secret.as_bytes()) {
                return Match::Secret(secret.len());
            }
            if !is_complete && secret.as_bytes().starts_with(rest) {
                return Match::Unknown;
            }
        }
        Match::None
    }
}

/// Whether a text begins with a secret.
enum Match {
    None,
    /// The text begins with a secret of this length.
    Secret(usize),
    /// The text is the beginning of a secret. More text is needed to know whether the rest of the
    /// secret follows.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_secret_is_replaced_wherever_the_text_is_split() {
        let secrets = ["abab", "ab", "b\u{fc}c", "ababX"].map(str::to_owned).to_vec();
        let mask = Mask::new(secrets);
        let text = "xabababXab b\u{fc}cb\u{fc} a";
        let (whole, rest) = mask.apply(text, true);
        let expected = format!("x{MASK}{MASK}X{MASK} {MASK}b\u{fc} a");
        assert_eq!((&*whole, rest), (&*expected, ""));
        for split in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (first, held) = mask.apply(&text[..split], false);
            let next = format!("{held}{}", &text[split..]);
            let (second, _) = mask.apply(&next, true);
            assert_eq!(format!("{first}{second}"), whole, "{split}");
        }
    }
}
