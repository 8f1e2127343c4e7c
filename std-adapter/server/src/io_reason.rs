/// Returns the text of an I/O error without the trailing error number, such as ` (os error 2)`. The
/// number is removed because, on some systems, it differs from the error number sent in a 9P reply.
#[must_use]
pub fn io_reason(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" (os error").unwrap_or(text.len()));
    text
}
