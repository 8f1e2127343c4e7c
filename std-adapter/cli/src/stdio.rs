//! Standard input, standard output and standard error.

use std::io::{self, IsTerminal as _, Write as _};

use datakit_client::{ByteString, Client};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::error::{CliError, CliResult, at, io_reason};
use crate::operand::ServerPath;

/// Writes to standard output and flushes it.
pub(crate) fn print(bytes: &[u8]) -> CliResult {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
        _ => at(&"standard output")(io_reason(&error)),
    })
}

/// Prints the content of a file on the server.
pub(crate) async fn print_file(client: &Client, path: &ServerPath) -> CliResult {
    let file = client.open_to_read(path).await.map_err(at(path))?;
    let mut chunks = file.chunks();
    while let Some(data) = chunks.next().await.map_err(at(path))? {
        print(&data)?;
    }
    Ok(())
}

/// Reads standard input to the end.
pub(crate) async fn read_stdin() -> CliResult<Vec<u8>> {
    let mut content = Vec::new();
    let read = tokio::io::stdin().read_to_end(&mut content).await;
    read.map_err(|error| at(&"standard input")(io_reason(&error)))?;
    Ok(content)
}

/// Prints an indented JSON value.
pub(crate) fn print_json(value: &Value) -> CliResult {
    print(format!("{}\n", escape_hidden(&format!("{value:#}"))).as_bytes())
}

/// Prints an error message to standard error.
pub(crate) fn complain(text: &str) {
    let text = if io::stderr().is_terminal() { printable(text) } else { text.to_owned() };
    eprintln!("datakit: {text}");
}

/// Runs `command` for each operand, continuing with the next operand after a failure.
///
/// # Errors
/// Returns [`CliError::Reported`] if the command failed for at least one operand. Returns
/// [`CliError::BrokenPipe`] immediately if the command fails with this error.
pub(crate) async fn for_each<T>(
    operands: &[T],
    mut command: impl AsyncFnMut(&T) -> CliResult,
) -> CliResult {
    let mut result = Ok(());
    for operand in operands {
        match command(operand).await {
            Ok(()) => continue,
            Err(CliError::BrokenPipe) => return Err(CliError::BrokenPipe),
            Err(CliError::Reported) => {}
            Err(CliError::Failed(text)) => complain(&text),
        }
        result = Err(CliError::Reported);
    }
    result
}

/// Prints every failure that has not been printed yet.
///
/// # Errors
/// Returns [`CliError::Reported`] if there is at least one failure.
pub(crate) fn report_all(failures: impl IntoIterator<Item = CliError>) -> CliResult {
    let mut result = Ok(());
    for failure in failures {
        if failure != CliError::Reported {
            complain(&failure.to_string());
        }
        result = Err(CliError::Reported);
    }
    result
}

/// Escapes control and invisible characters in JSON text, except newlines.
fn escape_hidden(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || !is_hidden(character) {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("\\u{unit:04x}"));
        }
    }
    text
}

/// Replaces characters that would move a terminal's cursor or reorder the displayed text.
pub(crate) fn printable(text: &str) -> String {
    text.replace(is_hidden, "?")
}

/// Returns whether a character is a control character (C0 or C1), a bidirectional control, a line
/// separator or a zero-width character.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the bytes of a name, replacing control and invisible characters if standard output is a
/// terminal.
pub(crate) fn name_bytes(name: &ByteString) -> Vec<u8> {
    if io::stdout().is_terminal() {
        printable(&name.to_string()).into()
    } else {
        name.as_bytes().to_vec()
    }
}

/// Returns `text`, replacing control and invisible characters if standard output is a terminal.
pub(crate) fn line(text: &str) -> String {
    if io::stdout().is_terminal() { printable(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn controls_are_replaced_for_a_terminal() {
        for hidden in [
            '\0', '\x1b', '\n', '\x7f', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}',
            '\u{2028}', '\u{feff}',
        ] {
            assert_eq!(printable(&format!("a{hidden}b")), "a?b", "{hidden:?}");
        }
        assert_eq!(
            printable("caf\u{e9} \u{5d0}\u{5d1} \u{1f600}"),
            "caf\u{e9} \u{5d0}\u{5d1} \u{1f600}"
        );
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = json!({ "name": "a\u{9b}\u{202e}\u{e0001}\n\u{1b}z" });
        let text = escape_hidden(&format!("{value:#}"));
        assert_eq!(text.lines().nth(1), Some(r#"  "name": "a\u009b\u202e\udb40\udc01\n\u001bz""#));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
