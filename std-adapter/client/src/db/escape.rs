//! Encodes multi-line text as a single log line by using escape sequences.

/// Appends `text` to `to`, escaping line breaks and other control characters. A backslash becomes
/// `\\`, a newline becomes `\n`, a tab becomes `\t`, and any other control character becomes
/// `\xHH`. Other bytes are copied unchanged.
pub fn escape(text: &[u8], to: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\t' => to.extend_from_slice(b"\\t"),
            0..=31 | 127 => to.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            other => to.push(*other),
        }
    }
}

/// Reverses [`escape`]. Unrecognized escape sequences are copied unchanged.
#[must_use]
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'\\', b'\\', behind @ ..] => (b'\\', behind),
            [b'\\', b'n', behind @ ..] => (b'\n', behind),
            [b'\\', b't', behind @ ..] => (b'\t', behind),
            [b'\\', b'x', high, low, behind @ ..] => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => (high << 4 | low, behind),
                None => (*first, rest.get(1..).unwrap_or_default()),
            },
            _ => (*first, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
