/// Returns the text of an I/O error without its number (` (os error 2)`), which is not the number
/// that 9P sends on every system.
#[must_use]
pub fn io_reason(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" (os error").unwrap_or(text.len()));
    text
}
