//! Strings that refer to matrix axes, for example `rust:${matrix.rust}`.
//!
//! References are not expanded in commands, because an axis value could change the meaning of a
//! command. Commands use the `MATRIX_NAME` environment variables instead.

/// Checks that every reference names an axis.
///
/// # Errors
/// Returns a message that says what is wrong.
pub(super) fn check(text: &str, axes: &[&str]) -> Result<(), String> {
    for part in text.split("${").skip(1) {
        let reference = part.split_once('}').map(|(reference, _)| reference);
        let Some(axis) = reference.and_then(|reference| reference.strip_prefix("matrix.")) else {
            return Err(
                "`${` starts a reference to a matrix axis, `${matrix.AXIS}`; other variables are \
                 not expanded"
                    .to_owned(),
            );
        };
        if !axes.contains(&axis) {
            let axes = match axes {
                [] => "the step has no matrix".to_owned(),
                axes => format!("the axes are {}", axes.join(", ")),
            };
            return Err(format!("`${{matrix.{}}}`: no such axis; {axes}", axis.escape_debug()));
        }
    }
    Ok(())
}

/// Expands the references to axes.
pub(super) fn expand(text: &str, axes: &[(&str, &str)]) -> String {
    axes.iter().fold(text.to_owned(), |text, (axis, value)| {
        text.replace(&format!("${{matrix.{axis}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_and_replaced() {
        assert_eq!(check("rust:${matrix.rust}-${matrix.os}", &["os", "rust"]), Ok(()));
        let axes = [("os", "linux"), ("rust", "1.88")];
        assert_eq!(expand("rust:${matrix.rust}-${matrix.os} $x", &axes), "rust:1.88-linux $x");
        for text in ["${HOME}", "a ${", "${matrix.x", "${matrix.x}", "${matrix.}"] {
            assert!(check(text, &["os"]).is_err(), "{text}");
        }
        assert!(check("${matrix.x}", &[]).unwrap_err().ends_with("the step has no matrix"));
    }
}
