//! The limits on the resources of a command.

use std::ffi::OsString;

/// The processor time, in seconds, between SIGXCPU and SIGKILL.
const CPU_GRACE: u64 = 5;

/// Limits on the resources of a command. `None` means that there is no limit.
///
/// If the CI can create control groups (`cgroups(7)`), the limits on memory, processors and
/// processes apply to all processes of the command together. Otherwise, the memory limit applies to
/// the private writable memory of each process (`RLIMIT_DATA`), the process limit applies to the
/// processes in the sandbox (unless the CI runs as root), and processors are not limited. The
/// command's log lists the limits that cannot be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The number of processes and threads.
    pub processes: Option<u64>,
    /// The memory in bytes. In a control group, the limit includes the files in `/tmp`.
    pub memory: Option<u64>,
    /// The processor usage, in percent of one processor. A command with a limit of 200 can use two
    /// processors.
    pub cpu_percent: Option<u32>,
    /// The processor time of each process, in seconds. A process that exceeds the limit receives
    /// SIGXCPU, followed by SIGKILL after five more seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// The size of each file, in bytes.
    pub file_size: Option<u64>,
    /// The size of the directory in which the command runs, in bytes. The size is measured only
    /// periodically (more often while a lot is being written), so a command can exceed the limit
    /// for a short time. A single file cannot exceed this limit by more than 64 MiB.
    pub disk: Option<u64>,
    /// The total output on standard output and standard error, in bytes. The limit on the size of
    /// the log determines only how much of the output is kept.
    pub output: Option<u64>,
    /// The output per second, in bytes. A command that exceeds this rate for more than a few
    /// seconds is slowed down: it has to wait until the CI has read its output.
    pub output_rate: Option<u64>,
}

impl Default for Limits {
    /// Returns the default limits: 4096 processes, 4 GiB of memory, one hour of processor time per
    /// process, 10 GiB per file, 20 GiB for the directory, 1 GiB of output, and 16 MiB of output
    /// per second.
    fn default() -> Limits {
        Limits {
            processes: Some(4096),
            memory: Some(4 << 30),
            cpu_percent: None,
            cpu_seconds: Some(3600),
            file_size: Some(10 << 30),
            disk: Some(20 << 30),
            output: Some(1 << 30),
            output_rate: Some(16 << 20),
        }
    }
}

/// The number of bytes by which a single file can exceed the limit on the directory. SIGXFSZ ends a
/// process that writes a larger file. Because of this margin, the directory is usually measured
/// before SIGXFSZ is sent, so the log says that the directory is too large.
const DISK_MARGIN: u64 = 64 << 20;

impl Limits {
    /// No limits.
    pub const NONE: Limits = Limits {
        processes: None,
        memory: None,
        cpu_percent: None,
        cpu_seconds: None,
        file_size: None,
        disk: None,
        output: None,
        output_rate: None,
    };

    /// Returns the lower of the two limits for each resource.
    #[must_use]
    pub fn at_most(&self, other: &Limits) -> Limits {
        Limits {
            processes: lower(self.processes, other.processes),
            memory: lower(self.memory, other.memory),
            cpu_percent: lower(self.cpu_percent, other.cpu_percent),
            cpu_seconds: lower(self.cpu_seconds, other.cpu_seconds),
            file_size: lower(self.file_size, other.file_size),
            disk: lower(self.disk, other.disk),
            output: lower(self.output, other.output),
            output_rate: lower(self.output_rate, other.output_rate),
        }
    }

    /// Returns the options of `prlimit(1)`. If `memory` is `true`, the options include the memory
    /// limit, which applies to each process.
    pub(super) fn options(&self, memory: bool) -> Vec<OsString> {
        // The address space is not limited, because WebAssembly runtimes and browsers reserve much
        // more of it than they use.
        let memory = self.memory.filter(|_| memory);
        let disk = self.disk.map(|disk| disk.saturating_add(DISK_MARGIN));
        let file_size = [self.file_size, disk].into_iter().flatten().min();
        let limits = [("data", memory), ("fsize", file_size)];
        let set = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
        let mut options: Vec<OsString> =
            set.map(|(name, limit)| format!("--{name}={limit}").into()).collect();
        if let Some(cpu) = self.cpu_seconds {
            // At the soft limit, the kernel sends SIGXCPU, so the log can name the reason. At the
            // hard limit, it sends SIGKILL.
            let option = format!("--cpu={cpu}:{}", cpu.saturating_add(CPU_GRACE));
            options.push(option.into());
        }
        if !options.is_empty() {
            // Otherwise, the kernel would write core dumps of crashed processes to the host.
            options.push("--core=0".into());
        }
        options
    }
}

/// Returns the lower of two limits, either of which can be missing.
fn lower<T: Ord>(first: Option<T>, second: Option<T>) -> Option<T> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (first, second) => first.or(second),
    }
}
