//! The `datakit completions` and `datakit man` commands.

use std::path::Path;

use clap_complete::Shell;

use crate::args::Program;
use crate::error::{CliResult, at, io_reason};
use crate::stdio;

/// Prints the completion script for `shell`. In bash, fish and zsh, the script completes parameter
/// paths, which it reads from the server.
pub(crate) fn completions(shell: Shell) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Program::full_command(), "datakit", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    stdio::print(with_parameters(shell, script).as_bytes())
}

fn with_parameters(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + include_str!("completions/params.bash"),
        Shell::Fish => script + include_str!("completions/params.fish"),
        Shell::Zsh => with_zsh_parameters(&script),
        _ => script,
    }
}

/// Inserts the parameter completion functions before the last command of the script, which calls or
/// registers the main completion function.
fn with_zsh_parameters(script: &str) -> String {
    let (functions, last) = script.rsplit_once("\nif [").unwrap_or((script, ""));
    let functions: String = functions.lines().map(|line| zsh_line(line) + "\n").collect();
    functions + include_str!("completions/params.zsh") + "\nif [" + last
}

/// Adds the completion function to a line that describes a parameter argument. The hint of these
/// arguments is [`PARAMETER`](crate::args::PARAMETER), for which clap generates no completions.
fn zsh_line(line: &str) -> String {
    let described = line.strip_suffix(":' \\");
    let function = |line: &str| match line {
        _ if line.starts_with("'*::paths -- ") => Some("_datakit_parameters"),
        _ if line.starts_with("'*::settings -- ") => Some("_datakit_settings"),
        _ => None,
    };
    match described.and_then(|described| Some((described, function(described)?))) {
        Some((described, function)) => format!("{described}:{function}' \\"),
        None => line.to_owned(),
    }
}

/// Prints datakit(1), or writes the manual pages for all commands to `dir`.
pub(crate) fn man(dir: Option<&Path>) -> CliResult {
    let command = Program::full_command();
    let Some(dir) = dir else {
        let mut text = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut text);
        rendered.map_err(|error| at(&"manual page")(io_reason(&error)))?;
        return stdio::print(&text);
    };
    let reason = |error: std::io::Error| at(&dir.display())(io_reason(&error));
    std::fs::create_dir_all(dir).map_err(reason)?;
    clap_mangen::generate_to(command, dir).map_err(reason)
}
