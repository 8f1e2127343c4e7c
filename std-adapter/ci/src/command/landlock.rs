//! Restricts a command with Landlock, in addition to the mounts of its sandbox.
//!
//! Landlock restricts the calling process, and a restricted process cannot create mounts. The
//! restriction must therefore be applied inside the sandbox, after `bwrap` has created the mounts.
//! Running code between `fork` and `exec` is unsafe, so a separate program, set in
//! [`Isolation::landlock`](super::Isolation::landlock), calls [`restrict_and_run`].

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    path_beneath_rules,
};

/// The Landlock ABI version whose access rights are used. Rights that an older kernel does not
/// support are ignored.
const VERSION: ABI = ABI::V5;

/// The directories to which every command can write, if the mounts allow it.
const WRITABLE: [&str; 4] = ["/dev", "/proc", "/tmp", "/var/tmp"];

/// Restricts this process and then replaces it with a command. The arguments are the directories to
/// which the command can write, followed by `--`, the program, and the program's arguments.
///
/// If the kernel does not support Landlock, the command runs without the restriction.
///
/// # Errors
/// Returns only if the arguments are invalid or the command cannot be started.
pub fn restrict_and_run(args: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut args = args.into_iter();
    let writable: Vec<PathBuf> =
        args.by_ref().take_while(|arg| arg != "--").map(PathBuf::from).collect();
    let Some(program) = args.next() else {
        let text = "expected directories, `--` and a command";
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    };
    if let Err(error) = restrict(writable) {
        return io::Error::other(error);
    }
    Command::new(program).args(args).exec()
}

fn restrict(writable: Vec<PathBuf>) -> Result<(), RulesetError> {
    let writable = writable.into_iter().chain(WRITABLE.map(PathBuf::from));
    let rules = Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.create()?;
    rules
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(VERSION)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(VERSION)))?
        .restrict_self()
        .map(drop)
}
