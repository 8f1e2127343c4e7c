//! Builds the chain of programs that starts a command.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use super::bubblewrap::{self, Root};
use super::cgroup::{Cgroup, Controller};
use super::{CommandError, Isolation, Limits, Sandbox, find_program};

/// Joins the control groups whose files precede `--`, and then executes the remaining arguments.
/// File descriptor 3 is the standard input of the script. File descriptor 4 is the file `$0`, which
/// contains the system call filter.
pub(crate) const JOIN: &str = "exec 3<&0 4<\"$0\" </dev/null
while [ \"$1\" != -- ]; do echo $$ >\"$1\" || exit 125; shift; done
shift
exec \"$@\"";

/// Limits the number of processes to the first argument, and then executes the remaining arguments.
/// The option's name depends on the shell.
const LIMIT_PROCESSES: &str =
    "ulimit -u \"$0\" 2>/dev/null || ulimit -p \"$0\" 2>/dev/null; exec \"$@\"";

/// A command that is ready to start.
pub(super) struct Launch {
    pub(super) command: tokio::process::Command,
    /// The data for the standard input of the command.
    pub(super) input: Option<Vec<u8>>,
    /// The limits that cannot be enforced.
    pub(super) not_enforced: Vec<&'static str>,
}

/// Returns the command that runs `args` in the sandbox and in the control group.
pub(super) fn launch(
    sandbox: &Sandbox,
    root: &Root,
    args: &[OsString],
    dir: &Path,
    env: &[(OsString, OsString)],
    limits: &Limits,
    group: &Cgroup,
) -> Result<Launch, CommandError> {
    let mut line: Vec<OsString> = vec![need("sh", "dash")?.into(), "-c".into()];
    let filter = match sandbox {
        Sandbox::Isolated(isolation) if isolation.seccomp => seccomp_file(),
        _ => None,
    };
    let has_filter = filter.is_some();
    line.extend([JOIN.into(), filter.unwrap_or_else(|| "/dev/null".into()).into_os_string()]);
    line.extend(group.join_files().map(PathBuf::into_os_string));
    line.push("--".into());
    if matches!(sandbox, Sandbox::Unsandboxed) {
        // In a sandbox, `bwrap` does the same.
        line.extend(killed_with_parent());
    }
    let options = limits.options(!group.limits(Controller::Memory));
    if !options.is_empty() {
        line.push(need("prlimit", "util-linux")?.into());
        line.extend(options);
        line.push("--".into());
    }
    let input = match sandbox {
        Sandbox::Unsandboxed => None,
        Sandbox::Isolated(isolation) => {
            line.extend([need("bwrap", "bubblewrap")?.into(), "--args".into(), "3".into()]);
            if has_filter {
                line.extend(["--seccomp".into(), "4".into()]);
            }
            line.push("--".into());
            line.extend(inside(isolation, root, dir, limits, group));
            let options = bubblewrap::options(isolation, root, dir, env);
            let options = options.map_err(|source| CommandError::Sandbox { source })?;
            Some(
                options
                    .iter()
                    .flat_map(|option| [option.as_encoded_bytes(), b"\0"].concat())
                    .collect(),
            )
        }
    };
    line.extend_from_slice(args);
    let (program, rest) = line.split_first().map_or((OsStr::new("true"), &[][..]), |(p, r)| (p, r));
    let mut command = tokio::process::Command::new(program);
    command.args(rest).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if matches!(sandbox, Sandbox::Unsandboxed) {
        command.current_dir(dir).env("HOME", dir);
        command.envs(env.iter().map(|(name, value)| (name, value)));
    }
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    Ok(Launch { command, input, not_enforced: not_enforced(sandbox, limits, group) })
}

#[cfg(target_os = "linux")]
fn seccomp_file() -> Option<PathBuf> {
    super::seccomp::file()
}

#[cfg(not(target_os = "linux"))]
fn seccomp_file() -> Option<PathBuf> {
    None
}

/// Returns the programs that start the command inside the sandbox.
fn inside(
    isolation: &Isolation,
    root: &Root,
    dir: &Path,
    limits: &Limits,
    group: &Cgroup,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = Vec::new();
    let has_shell = root.on_host(Path::new("/bin/sh")).exists();
    if let (Some(count), true) =
        (limits.processes.filter(|_| !group.limits(Controller::Pids)), has_shell)
    {
        // Outside the sandbox, the kernel would also count the user's other processes.
        line.extend(["/bin/sh", "-c", LIMIT_PROCESSES].map(Into::into));
        line.push(count.to_string().into());
    }
    // The program may depend on libraries that are missing from other images.
    if let Some(launcher) = isolation.landlock.as_ref().filter(|_| root.is_host()) {
        line.extend(launcher.iter().map(|part| part.as_os_str().to_owned()));
        let writable = isolation.writable.iter().map(|bind| bind.target.as_path());
        line.extend([dir].into_iter().chain(writable).map(|path| path.as_os_str().to_owned()));
        line.push("--".into());
    }
    line
}

/// Returns the limits that cannot be enforced.
fn not_enforced(sandbox: &Sandbox, limits: &Limits, group: &Cgroup) -> Vec<&'static str> {
    let mut list = Vec::new();
    if matches!(sandbox, Sandbox::Unsandboxed) {
        // The user has chosen to run without protection for the host.
        return list;
    }
    // The kernel does not apply the limit of `setrlimit(2)` to root.
    let is_root = rustix::process::geteuid().is_root();
    if limits.processes.is_some() && !group.limits(Controller::Pids) && is_root {
        list.push("the number of processes");
    }
    if limits.cpu_percent.is_some() && !group.limits(Controller::Cpu) {
        list.push("processors");
    }
    list
}

/// Returns a program, with its arguments, that starts a command and arranges for the kernel to kill
/// it when this process dies, even if this process has no time to clean up. The result is empty if
/// the program is not installed.
pub(crate) fn killed_with_parent() -> Vec<OsString> {
    static PROGRAM: OnceLock<Vec<OsString>> = OnceLock::new();
    let find = || {
        let program = find_program("setpriv")?;
        let line: Vec<OsString> = vec![program.into(), "--pdeathsig".into(), "KILL".into()];
        // The busybox program of the same name does not have this option.
        let mut test = std::process::Command::new(line.first()?);
        test.args(line.iter().skip(1)).arg("true").stdin(Stdio::null());
        let status = test.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then_some(line)
    };
    PROGRAM.get_or_init(|| find().unwrap_or_default()).clone()
}

fn need(program: &'static str, package: &'static str) -> Result<PathBuf, CommandError> {
    find_program(program).ok_or(CommandError::NoSandbox { program, package })
}
