//! The `datakit completions` and `datakit man` commands.

use std::path::Path;

use clap_complete::Shell;

use crate::args::Program;
use crate::error::{CliResult, at, io_reason};
use crate::stdio;

/// Prints the completion script for `shell`.
pub(crate) fn completions(shell: Shell) -> CliResult {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Program::full_command(), "datakit", &mut text);
    stdio::print(&text)
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
