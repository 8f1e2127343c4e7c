//! The command lines of the sandbox.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{CommandError, find_program};

/// The isolation of a command from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sandbox {
    /// A sandbox made by bubblewrap. The root directory is read-only. The command can write only to
    /// its own directory and to a private `/tmp`.
    Bubblewrap {
        /// The directory that is the root directory in the sandbox.
        root: PathBuf,
        /// Whether the command may use the network.
        network: Network,
    },
    /// No sandbox. No isolation. The command has the same access rights as this process, and a
    /// process that leaves the process group of the command is not killed when the command ends.
    None,
}

/// Whether a command may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The command has only a loopback interface of its own.
    None,
    /// The command uses the network of the host.
    Host,
}

impl Default for Sandbox {
    /// Returns a sandbox with the root directory of the host and without network.
    fn default() -> Sandbox {
        Sandbox::Bubblewrap { root: PathBuf::from("/"), network: Network::None }
    }
}

/// Limits on the resources of a command (`setrlimit(2)`). `None` means that there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of processes of the user.
    pub processes: Option<u64>,
    /// The address space of each process, in bytes.
    pub memory: Option<u64>,
    /// The size of each file, in bytes.
    pub file_size: Option<u64>,
    /// The processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
}

impl Default for Limits {
    /// Returns limits of 4 GiB of address space, files of 10 GiB, and one hour of processor time.
    /// The number of processes is not limited, because the kernel also counts the user's processes
    /// outside the sandbox.
    fn default() -> Limits {
        Limits {
            processes: None,
            memory: Some(4 << 30),
            file_size: Some(10 << 30),
            cpu_seconds: Some(3600),
        }
    }
}

impl Limits {
    /// Returns the options of `prlimit(1)`.
    fn options(&self) -> Vec<OsString> {
        let limits = [
            ("nproc", self.processes),
            ("as", self.memory),
            ("fsize", self.file_size),
            ("cpu", self.cpu_seconds),
        ];
        let set = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
        set.map(|(name, limit)| format!("--{name}={limit}").into()).collect()
    }
}

impl Sandbox {
    /// Returns the command that runs `args` in the sandbox.
    ///
    /// # Errors
    /// Returns [`CommandError::NoSandbox`] if a program that the sandbox needs is missing.
    pub(super) fn command(
        &self,
        args: &[OsString],
        dir: &Path,
        env: &[(OsString, OsString)],
        limits: &Limits,
    ) -> Result<tokio::process::Command, CommandError> {
        let mut line: Vec<OsString> = Vec::new();
        if let Sandbox::Bubblewrap { root, network } = self {
            line.push(need("bwrap", "bubblewrap")?.into());
            line.extend(bubblewrap(root, *network, dir));
        }
        let limits = limits.options();
        if !limits.is_empty() {
            line.push(need("prlimit", "util-linux")?.into());
            line.extend(limits);
            line.push("--".into());
        }
        line.extend_from_slice(args);
        let (program, rest) = match line.split_first() {
            Some((program, rest)) => (program.as_os_str(), rest),
            None => (OsStr::new("true"), &[][..]),
        };
        let mut command = tokio::process::Command::new(program);
        command.args(rest).env_clear().env("HOME", dir);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if matches!(self, Sandbox::None) {
            command.current_dir(dir);
        }
        Ok(command)
    }
}

fn need(program: &'static str, package: &'static str) -> Result<PathBuf, CommandError> {
    find_program(program).ok_or(CommandError::NoSandbox { program, package })
}

/// Returns the options of `bwrap(1)`, up to the command.
fn bubblewrap(root: &Path, network: Network, dir: &Path) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["--unshare-all".into()];
    if network == Network::Host {
        line.push("--share-net".into());
    }
    line.extend(["--die-with-parent", "--new-session", "--ro-bind"].map(Into::into));
    line.extend([root.into(), "/".into()]);
    line.extend(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind"].map(Into::into));
    line.extend([dir.into(), dir.into(), "--chdir".into(), dir.into(), "--".into()]);
    line
}
