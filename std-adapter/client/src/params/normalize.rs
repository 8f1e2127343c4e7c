//! Rewrites values in the form in which a server shows them.

use datakit_core::files::{Ipv4, Mac, Micros, ParamType};

use super::check::hex_bytes;
use super::decimal::{unscaled, value_scaled};
use super::schema::{Kind, Parameter};

impl Parameter {
    /// Returns a value in the form in which a server shows it, for example `4` for `0x4` and
    /// `1.5 s` for `1500ms`. Two texts stand for the same value if their normalized texts are
    /// equal. A value that is not valid or whose type is unknown is only trimmed.
    #[must_use]
    pub fn normalize(&self, value: &str) -> String {
        let value = value.trim_matches(|c: char| c.is_ascii_whitespace());
        if self.count.is_none() {
            return self.kind.normalize(value);
        }
        let words = value.split_ascii_whitespace().map(|word| self.kind.normalize(word));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Kind {
    /// Rewrites a single value.
    fn normalize(&self, text: &str) -> String {
        let normalized = match self {
            Kind::Bool => shown::<bool>(text),
            Kind::Number { name, .. } => match &**name {
                "u8" | "u16" | "u32" | "u64" => shown::<u64>(text),
                "i8" | "i16" | "i32" | "i64" => shown::<i64>(text),
                "f32" => shown::<f32>(text),
                _ => shown::<f64>(text),
            },
            Kind::Decimal { decimals, .. } => {
                value_scaled(text, *decimals).map(|value| unscaled(value, *decimals))
            }
            Kind::Duration(_) => shown::<Micros>(text),
            Kind::Bytes { .. } => hex_bytes(text).map(|_| {
                let digits = text.chars().filter(char::is_ascii_hexdigit);
                digits.map(|digit| digit.to_ascii_lowercase()).collect()
            }),
            Kind::Ipv4 => shown::<Ipv4>(text),
            Kind::Mac => shown::<Mac>(text),
            Kind::Choice(_) | Kind::Text { .. } | Kind::Other(_) => None,
        };
        normalized.unwrap_or_else(|| text.to_owned())
    }
}

/// Parses a value in the same way as a server and writes it again. Returns `None` if the text is
/// not a value of the type.
fn shown<T: ParamType>(text: &str) -> Option<String> {
    let (value, mut shown) = (T::parse(text.as_bytes(), &T::ANY)?, String::new());
    value.render(&T::ANY, &mut shown).ok()?;
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::super::Schema;

    #[test]
    fn values_are_written_as_a_server_writes_them() {
        let normalize = |members: &str, value: &str| {
            let text = format!("{{\"version\":1,\"params\":[{{\"path\":\"a\",{members}}}]}}");
            Schema::parse(&text).unwrap().parameters()[0].normalize(value)
        };
        let byte = r#""type":"u8","min":0,"max":9"#;
        let list = r#""type":"u8","min":0,"max":9,"optional":true,"count":3,"each-optional":true"#;
        let decimal = r#""type":"decimal","decimals":2,"min":-9,"max":9"#;
        let duration = r#""type":"duration","min":"0 s","max":"9 s""#;
        let text = r#""type":"string","max-bytes":9"#;
        for (members, value, expected) in [
            (byte, " 0x4", "4"),
            (byte, "0b1_0", "2"),
            (byte, "+007", "7"),
            (byte, "x", "x"),
            (r#""type":"i8","min":-9,"max":9"#, "-0x4", "-4"),
            (list, "none 0x0  5", "none 0 5"),
            (list, "none", "none"),
            (decimal, "12.50", "12.5"),
            (decimal, "-.05", "-0.05"),
            (decimal, "-0.00", "0"),
            (decimal, "7.", "7"),
            (decimal, "1e1", "1e1"),
            (r#""type":"decimal","decimals":0,"min":-9,"max":9"#, "007", "7"),
            (r#""type":"f32","min":0,"max":9"#, "25e-2", "0.25"),
            (r#""type":"f64","min":0,"max":9"#, "1.0", "1"),
            (duration, "30s", "30 s"),
            (duration, "1500ms", "1.5 s"),
            (duration, "1 min", "60 s"),
            (duration, "0 ms", "0 s"),
            (r#""type":"bool""#, "true", "on"),
            (r#""type":"bytes","max-bytes":4"#, "0A:fF", "0aff"),
            (r#""type":"mac""#, "02-00-00-12-AB-FF", "02:00:00:12:ab:ff"),
            (r#""type":"ipv4""#, "10.0.0.1", "10.0.0.1"),
            (text, "0x4", "0x4"),
            (r#""type":"new""#, "0x4", "0x4"),
        ] {
            assert_eq!(normalize(members, value), expected, "{members} {value}");
        }
    }
}
