//! Starts the processes under test, pins them to a CPU, and reads their memory usage.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use rustix::{
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{
    Res,
    client::{BenchClient, MSIZE, TIMEOUT, Target},
};

/// A listening server. Dropping this value kills the process if the benchmark started it.
pub(crate) struct ServerProcess {
    pub(crate) target: Target,
    pub(crate) pid: u32,
    child: Option<Child>,
    /// The path of the Unix socket. The socket is removed when this value is dropped.
    path: Option<PathBuf>,
    /// The server's standard output. The pipe must stay open because the server continues to write
    /// to it.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl ServerProcess {
    /// Returns a handle to a running server. `given` has the form `ADDR,PID`.
    pub(crate) fn running(given: &str) -> Res<Self> {
        let (address, pid) = given.split_once(',').ok_or("--server needs ADDR,PID")?;
        let pid = pid.parse().map_err(|_| format!("{pid} is not a process id"))?;
        let address = address.strip_prefix("tcp://").unwrap_or(address).to_owned();
        Ok(Self { target: Target::new(address), pid, child: None, path: None, _stdout: None })
    }

    /// Starts `datakit serve` with the given options on a TCP port.
    pub(crate) fn datakit(options: &[&str]) -> Res<Self> {
        Self::serve("tcp://127.0.0.1:0", options)
    }

    /// Starts `datakit serve` with the given options on a Unix socket.
    pub(crate) fn local(options: &[&str]) -> Res<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("datakit-bench-{}-{}", process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        let mut server = Self::serve(&format!("unix://{}", path.display()), options)?;
        server.path = Some(path);
        Ok(server)
    }

    fn serve(url: &str, options: &[&str]) -> Res<Self> {
        let program = match env::var_os("DATAKIT_BIN") {
            Some(path) => PathBuf::from(path),
            None => own_path()?.with_file_name("datakit"),
        };
        Self::start(Command::new(program).args(["serve", "-q", "--listen-9p", url]).args(options))
    }

    /// Starts this program as the baseline server.
    pub(crate) fn floor(single: bool) -> Res<Self> {
        Self::start(Command::new(own_path()?).arg("floor").args(single.then_some("--single")))
    }

    /// Starts the command and waits until it prints the address of its server.
    fn start(command: &mut Command) -> Res<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("{name}: {error}"))?;
        let pid = child.id();
        let stdout = child.stdout.take();
        let mut server = Self {
            target: Target::new(String::new()),
            pid,
            child: Some(child),
            path: None,
            _stdout: None,
        };
        let (address, stdout) = listening(stdout.ok_or("no standard output")?)
            .map_err(|error| format!("{name} {error}"))?;
        server.target.address = address;
        server._stdout = Some(stdout);
        Ok(server)
    }

    /// Pins all threads of the process to `cpu`. Threads created later inherit this setting.
    pub(crate) fn pin(&self, cpu: usize) -> Res<()> {
        let path = format!("/proc/{}/task", self.pid);
        for thread in fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))? {
            let name = thread.map_err(|error| format!("{path}: {error}"))?.file_name();
            let thread = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            sched_setaffinity(thread, &only(cpu)).map_err(|error| format!("CPU {cpu}: {error}"))?;
        }
        Ok(())
    }

    /// Returns the resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> Res<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} has no VmRSS"))
    }

    /// Attaches `count` idle connections and returns the resident memory per connection in bytes.
    pub(crate) fn idle(&self, count: usize) -> Res<f64> {
        // Attach one client before the measurement so that memory shared by all connections is
        // already allocated.
        let _first = BenchClient::attach(&self.target, MSIZE)?;
        let before = self.resident()?;
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(BenchClient::attach(&self.target, MSIZE)?);
        }
        let after = self.resident()?;
        Ok(after.saturating_sub(before) as f64 / count as f64)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Ignore errors because `kill` and `wait` fail only if the process has already exited.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(path) = &self.path {
            // Ignore errors because a socket left in the system's temporary directory is harmless.
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads lines until one contains an address, and returns that address.
fn listening(stdout: ChildStdout) -> Res<(String, BufReader<ChildStdout>)> {
    let (sender, receiver) = mpsc::channel();
    // A read from a pipe cannot time out, so a separate thread reads from it. After a timeout, the
    // caller kills the child. When the child exits, the pipe is closed and the thread exits.
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|len| len > 0) {
            let url = line.trim_end().strip_prefix("listening on ");
            if let Some(address) =
                url.and_then(|url| url.strip_prefix("tcp://").or(url.strip_prefix("unix://")))
            {
                let _ = sender.send((address.to_owned(), stdout));
                return;
            }
            line.clear();
        }
    });
    receiver.recv_timeout(TIMEOUT).map_err(|_| "did not print its address".to_owned())
}

fn own_path() -> Res<PathBuf> {
    env::current_exe().map_err(|error| format!("own path: {error}"))
}

/// Pins this process and its future children to one CPU and returns the CPU number.
///
/// The CPU is `wanted` or, by default, the last CPU that the process may use. If the processes ran
/// on several CPUs, waking up an idle CPU would take longer than processing a request.
pub(crate) fn pin(wanted: Option<usize>) -> Res<usize> {
    let allowed = sched_getaffinity(None).map_err(|error| format!("sched_getaffinity: {error}"))?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu));
    let cpu = wanted.or(last).filter(|&cpu| cpu < CpuSet::MAX_CPU).ok_or("no such CPU")?;
    sched_setaffinity(None, &only(cpu)).map_err(|error| format!("CPU {cpu}: {error}"))?;
    Ok(cpu)
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

/// Raises the open-file limit of this process and its children to `files`.
pub(crate) fn allow_files(files: u64) -> Res<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(files), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("cannot raise the limit of open files to {files}: {error}"))
}
