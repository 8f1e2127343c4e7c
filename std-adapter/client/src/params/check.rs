//! Checks values against the parameter schema. The error messages are the same as the server's.

use std::fmt::{self, Display};

use datakit_core::files::{Ipv4, Mac, Micros, ParamType, Step};

use super::decimal::{scaled, value_scaled};
use super::error::{Error, Result};
use super::schema::{Kind, Parameter, Range};

impl Parameter {
    /// Checks whether the parameter can be set to `value`. The server may still reject the value,
    /// because it may have rules that the schema does not describe.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] with a reason that describes the allowed values.
    pub fn check(&self, value: &str) -> Result<()> {
        let refused = |reason| Err(Error::Refused { path: self.path.clone(), reason });
        if self.read_only {
            return refused("the parameter is read-only".to_owned());
        }
        if value.contains(['\n', '\r']) {
            return refused("a value is a single line".to_owned());
        }
        let value = value.trim_matches(|c: char| c.is_ascii_whitespace());
        if self.accepts(value) { Ok(()) } else { refused(format!("{value:?} is not {self}")) }
    }

    fn accepts(&self, value: &str) -> bool {
        if self.optional && !self.each_optional && value == "none" {
            return true;
        }
        let Some(count) = self.count else { return self.accepts_one(value) };
        let is_none = |word: &str| self.each_optional && word == "none";
        let mut words = value.split_ascii_whitespace();
        words.clone().count() == count && words.all(|word| is_none(word) || self.accepts_one(word))
    }

    fn accepts_one(&self, text: &str) -> bool {
        let number_step = self.step.as_deref().and_then(parse_step);
        match &self.kind {
            Kind::Bool => bool::parse(text.as_bytes(), &()).is_some(),
            Kind::Choice(names) => names.iter().any(|name| name == text),
            Kind::Number { name, range } => {
                let accepts = match &**name {
                    "u8" => accepts::<u8>,
                    "u16" => accepts::<u16>,
                    "u32" => accepts::<u32>,
                    "u64" => accepts::<u64>,
                    "i8" => accepts::<i8>,
                    "i16" => accepts::<i16>,
                    "i32" => accepts::<i32>,
                    "i64" => accepts::<i64>,
                    "f32" => accepts::<f32>,
                    _ => accepts::<f64>,
                };
                accepts(text, range, number_step)
            }
            Kind::Decimal { decimals, range } => {
                let scaled = |text: &str| scaled(text, *decimals);
                let value = value_scaled(text, *decimals);
                let step = self.step.as_deref().and_then(scaled).filter(|step| *step != 0);
                value.is_some_and(|value| step.is_none_or(|step| value % step == 0))
                    && value >= scaled(&range.min)
                    && value <= scaled(&range.max)
            }
            // The schema does not contain the resolution of a duration, so only the server can
            // reject a duration with too many decimal places.
            Kind::Duration(range) => {
                accepts::<Micros>(text, range, None) && self.is_multiple_of_duration(text)
            }
            Kind::Text { max_bytes } => {
                text.len() <= *max_bytes && !text.contains(char::is_control)
            }
            Kind::Bytes { max_bytes } => hex_bytes(text).is_some_and(|count| count <= *max_bytes),
            Kind::Ipv4 => Ipv4::parse(text.as_bytes(), &()).is_some(),
            Kind::Mac => Mac::parse(text.as_bytes(), &()).is_some(),
            Kind::Other(_) => true,
        }
    }

    /// Returns whether a duration is a multiple of the step. A step without a unit is ignored,
    /// because the unit is not known.
    fn is_multiple_of_duration(&self, text: &str) -> bool {
        let micros = |text: &str| Micros::parse(text.as_bytes(), &Micros::ANY).map(|value| value.0);
        let step = self.step.as_deref().and_then(micros).filter(|step| *step != 0);
        step.is_none_or(|step| micros(text).is_some_and(|value| value % step == 0))
    }

    /// Formats the allowed values of the type, without the unit and step.
    fn allowed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from_to = |f: &mut fmt::Formatter<'_>, what: &str, range: &Range| {
            write!(f, "{what} from {} to {}", range.min, range.max)
        };
        match &self.kind {
            Kind::Bool => f.write_str("on or off"),
            Kind::Choice(names) => write!(f, "one of {}", names.join(" ")),
            Kind::Number { name, range } if name.starts_with('f') => from_to(f, "a number", range),
            Kind::Number { range, .. } => from_to(f, "a whole number", range),
            Kind::Decimal { decimals: 0, range } => from_to(f, "a whole number", range),
            Kind::Decimal { decimals, range } => {
                let zeros = "0".repeat(decimals.saturating_sub(1) as usize);
                from_to(f, &format!("a multiple of 0.{zeros}1"), range)
            }
            Kind::Duration(range) => from_to(f, "a duration such as 1.5 s or 250 ms,", range),
            Kind::Text { max_bytes } => {
                write!(f, "a line of at most {max_bytes} bytes without control characters")
            }
            Kind::Bytes { max_bytes } => {
                write!(f, "a byte string such as 0aff, of at most {max_bytes} bytes")
            }
            Kind::Ipv4 => f.write_str("an IPv4 address such as 192.168.0.1"),
            Kind::Mac => f.write_str("an Ethernet address such as 02:00:00:12:ab:ff"),
            Kind::Other(name) => write!(f, "a value of the type {name}"),
        }
    }
}

/// Describes the allowed values, for example `a whole number from 10 to 60000 ms that is a multiple
/// of 5`.
impl Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.optional && !self.each_optional {
            f.write_str("none or ")?;
        }
        if let Some(count) = self.count {
            write!(f, "{count} values separated by spaces, each ")?;
        }
        if self.each_optional {
            f.write_str("none or ")?;
        }
        self.allowed(f)?;
        if !self.unit.is_empty() {
            write!(f, " {}", self.unit)?;
        }
        self.step.as_ref().map_or(Ok(()), |step| write!(f, " that is a multiple of {step}"))
    }
}

/// Parses a value in the same way as the server. A bound that is not a valid value of the type is
/// ignored, because the server also checks the value.
fn accepts<T: ParamType<Limits = (T, T)>>(text: &str, range: &Range, step: Option<Step>) -> bool {
    let (low, high) = T::ANY;
    let bound = |text: &str, other| T::parse(text.as_bytes(), &T::ANY).unwrap_or(other);
    let limits = (bound(&range.min, low), bound(&range.max, high));
    T::parse(text.as_bytes(), &limits)
        .is_some_and(|value| step.is_none_or(|step| value.is_multiple(text.as_bytes(), step)))
}

/// Parses a step such as `5` or `0.25`. Returns `None` if the text is not a decimal number that a
/// server can use as a step.
fn parse_step(text: &str) -> Option<Step> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{decimals}").parse().ok().filter(|digits| *digits != 0)?;
    Some(Step { digits, decimals: decimals.len().try_into().ok()? })
}

/// Returns the number of bytes in a hexadecimal byte string, or `None` if the text is malformed.
pub(super) fn hex_bytes(text: &str) -> Option<usize> {
    let (mut rest, mut count) = (text.as_bytes(), 0);
    while let [high, low, tail @ ..] = rest {
        (high.is_ascii_hexdigit() && low.is_ascii_hexdigit()).then_some(())?;
        count += 1;
        rest = match tail {
            [b':' | b'-' | b'_' | b' ', next @ ..] if !next.is_empty() => next,
            tail => tail,
        };
    }
    rest.is_empty().then_some(count)
}

#[cfg(test)]
mod tests {
    use super::super::Schema;
    use super::*;

    fn parameter(members: &str) -> Parameter {
        let text = format!("{{\"version\":1,\"params\":[{{\"path\":\"a/b\",{members}}}]}}");
        Schema::parse(&text).unwrap().parameters()[0].clone()
    }

    /// Checks that each value in `accepted` is accepted and that each value in `refused` is
    /// rejected with a message that contains `allowed`.
    fn check(members: &str, accepted: &[&str], refused: &[&str], allowed: &str) {
        let parameter = parameter(members);
        for value in accepted {
            assert_eq!(parameter.check(value), Ok(()), "{members} {value}");
        }
        for value in refused {
            let error = parameter.check(value).unwrap_err().to_string();
            assert_eq!(error, format!("a/b: {value:?} is not {allowed}"));
        }
    }

    #[test]
    fn values_are_checked_by_type_and_range() {
        check(
            r#""type":"u32","min":10,"max":60000,"step":5,"unit":"ms""#,
            &["10", "60_000", "0xf", " 15 "],
            &["5", "60005", "12", "-10", "1e2", "", "15 ms"],
            "a whole number from 10 to 60000 ms that is a multiple of 5",
        );
        check(
            r#""type":"u64","min":0,"max":18446744073709551615"#,
            &["18446744073709551615"],
            &["18446744073709551616", "-1"],
            "a whole number from 0 to 18446744073709551615",
        );
        check(
            r#""type":"f32","min":0,"max":1,"step":0.25"#,
            &["0.5", "1e0", "0.750"],
            &["0.3", "1.25", "NaN", "x"],
            "a number from 0 to 1 that is a multiple of 0.25",
        );
        check(
            r#""type":"decimal","decimals":2,"min":-0.5,"max":12.5"#,
            &["12.5", "-0.50", "10.", ".5", "1.500"],
            &["0.001", "12.51", "-0.51", ".", "-", "1e1", "1E1", "+0.01", "1.2.3", "0x1", "1_0"],
            "a multiple of 0.01 from -0.5 to 12.5",
        );
        check(
            r#""type":"decimal","decimals":1,"min":0,"max":9,"step":0.5"#,
            &["0.5", "9"],
            &["0.4"],
            "a multiple of 0.1 from 0 to 9 that is a multiple of 0.5",
        );
        check(
            r#""type":"duration","min":"10 ms","max":"60 s""#,
            &["1.5 s", "10ms", "1 min"],
            &["9 ms", "61 s", "5"],
            "a duration such as 1.5 s or 250 ms, from 10 ms to 60 s",
        );
        check(
            r#""type":"duration","min":"10 ms","max":"60 s","step":"10 ms""#,
            &["1.5 s", "10ms", "1 min", "20000 us"],
            &["15 ms", "10001 us", "0 s", "61 s"],
            "a duration such as 1.5 s or 250 ms, from 10 ms to 60 s that is a multiple of 10 ms",
        );
        // The unit of this step depends on the type, which the schema does not contain.
        check(r#""type":"duration","min":"10 ms","max":"60 s","step":10"#, &["15 ms"], &[], "");
    }

    #[test]
    fn values_that_are_not_numbers_are_checked() {
        check(r#""type":"bool""#, &["on", "0", "true"], &["yes", "On"], "on or off");
        check(
            r#""type":"choice","names":["auto","slow-blink"]"#,
            &["auto", "slow-blink"],
            &["fast", ""],
            "one of auto slow-blink",
        );
        check(
            r#""type":"string","max-bytes":4"#,
            &["", "a b", "\u{e9}\u{e9}"],
            &["abcde", "\u{e9}\u{e9}x", "a\tb"],
            "a line of at most 4 bytes without control characters",
        );
        check(
            r#""type":"bytes","max-bytes":2"#,
            &["", "0aff", "0A:FF"],
            &["0", "0a0b0c", "xy", "0a:"],
            "a byte string such as 0aff, of at most 2 bytes",
        );
        check(
            r#""type":"ipv4""#,
            &["10.0.0.1"],
            &["10.0.0", "256.0.0.1"],
            "an IPv4 address such as 192.168.0.1",
        );
        check(r#""type":"new-type""#, &["anything", ""], &[], "");
    }

    #[test]
    fn several_values_and_absent_values_are_checked() {
        check(
            r#""type":"u8","min":1,"max":9,"count":3"#,
            &["1 2 3", "1\t2  3"],
            &["1 2", "1 2 3 4", "1 2 10", ""],
            "3 values separated by spaces, each a whole number from 1 to 9",
        );
        check(
            r#""type":"i16","min":-5,"max":5,"optional":true"#,
            &["none", "-5"],
            &["6", "None"],
            "none or a whole number from -5 to 5",
        );
        check(
            r#""type":"u8","min":0,"max":255,"optional":true,"count":3,"each-optional":true"#,
            &["none 0 255", "1 2 3", "none none none"],
            &["none", "none none", "1 2", "1 2 256", "None 1 2"],
            "3 values separated by spaces, each none or a whole number from 0 to 255",
        );
        check(
            r#""type":"u8","min":0,"max":255,"count":3,"optional":true"#,
            &["none", "1 2 3"],
            &["none 0 255", "none none none", "1 2"],
            "none or 3 values separated by spaces, each a whole number from 0 to 255",
        );
    }

    #[test]
    fn read_only_parameters_and_several_lines_are_refused() {
        let fixed = parameter(r#""type":"bool","flags":["read-only"]"#);
        assert_eq!(fixed.check("on").unwrap_err().to_string(), "a/b: the parameter is read-only");
        let line = parameter(r#""type":"string","max-bytes":9"#);
        assert_eq!(line.check("a\nb").unwrap_err().to_string(), "a/b: a value is a single line");
    }
}
