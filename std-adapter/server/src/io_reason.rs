/// Returns the text of an I/O error without the trailing error number, such as ` (os error 2)`. On
/// some systems, the omitted number differs from the error number that 9P sends.
#[must_use]
pub fn io_reason(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" (os error").unwrap_or(text.len()));
    text
}
