//! The rules for Git ref names.

/// The maximum length of a component in bytes. A component must still be a valid file name once
/// `.lock` has been appended to it.
const COMPONENT_MAX: usize = 250;

/// Returns the first rule of git-check-ref-format(1) that a ref name violates, or `None` if the
/// name is valid. The name does not include `refs/heads/` or `refs/tags/`.
#[must_use]
pub fn ref_name_fault(name: &[u8]) -> Option<String> {
    let broken = |rule: &str| Some(rule.to_owned());
    if name.is_empty() {
        return broken("it is empty");
    }
    let forbidden = |byte: &&u8| matches!(byte, 0..=b' ' | 127) || b"~^:?*[\\".contains(byte);
    if let Some(byte) = name.iter().find(forbidden) {
        return Some(format!("it contains {:?}", char::from(*byte)));
    }
    for pair in ["..", "@{"] {
        if name.windows(2).any(|two| two == pair.as_bytes()) {
            return Some(format!("it contains {pair:?}"));
        }
    }
    if name.ends_with(b".") {
        return broken("it ends with a dot");
    }
    name.split(|byte| *byte == b'/').find_map(|component| match component {
        [] => broken("it starts or ends with a slash, or has two in a row"),
        [b'.', ..] => broken("a component starts with a dot"),
        _ if component.ends_with(b".lock") => broken("a component ends with \".lock\""),
        _ if component.len() > COMPONENT_MAX => {
            Some(format!("a component is longer than {COMPONENT_MAX} bytes"))
        }
        _ => None,
    })
}
