//! Helper functions that run the program as a server and as a client of that server. No function
//! waits longer than [`TIMEOUT`].
// Each test file uses only part of this module. The Clippy configuration allows panics in tests,
// but not in helper functions.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_datakit");
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A server process that is killed when the value is dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    /// The addresses that the server listens on.
    pub(crate) addresses: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server with an empty scratch tree.
    pub(crate) fn scratch() -> Server {
        Server::start("tcp://127.0.0.1:0", &["--scratch"])
    }

    /// Starts a server and waits until it is listening on all addresses.
    pub(crate) fn start(listen: &str, options: &[&str]) -> Server {
        Server::run(listen, Server::command(listen, options))
    }

    /// Starts a server whose standard input is a listening socket.
    pub(crate) fn inheriting(socket: impl Into<Stdio>) -> Server {
        let listen = "fd://0";
        let mut command = Server::command(listen, &["--scratch"]);
        command.stdin(socket);
        Server::run(listen, command)
    }

    /// Starts a server and returns a channel that receives the lines of its log.
    pub(crate) fn logging(
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> (Server, Receiver<String>) {
        let listen = "tcp://127.0.0.1:0";
        let mut command = Server::command(listen, options);
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut server = Server::run(listen, command);
        let log = lines(server.child.stderr.take().unwrap());
        (server, log)
    }

    /// Starts a server and returns the pipe to which its log is written. Nothing reads from the
    /// pipe.
    pub(crate) fn with_unread_log(options: &[&str]) -> (Server, ChildStderr) {
        let listen = "tcp://127.0.0.1:0";
        let mut command = Server::command(listen, options);
        command.stderr(Stdio::piped());
        let mut server = Server::run(listen, command);
        let log = server.child.stderr.take().unwrap();
        (server, log)
    }

    /// Starts a server with a limit on open files.
    pub(crate) fn with_files(files: u32, options: &[&str]) -> Server {
        let listen = "tcp://127.0.0.1:0";
        let serve = Server::command(listen, options);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
            .arg(serve.get_program());
        command.args(serve.get_args()).stdout(Stdio::piped());
        Server::run(listen, command)
    }

    fn command(listen: &str, options: &[&str]) -> Command {
        // Reset SIGHUP with env(1), because the server would otherwise ignore SIGHUP when the tests
        // run under nohup(1).
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP", PROGRAM, "serve", "--url", listen]).args(options);
        for variable in ["DATAKIT_ADDRESS", "DATAKIT_VERBOSE", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.stdout(Stdio::piped());
        command
    }

    fn run(listen: &str, mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let mut server = Server { child, lines, addresses: Vec::new() };
        for _ in listen.split(',') {
            let line = server.line();
            server.addresses.push(line.strip_prefix("listening on ").unwrap().to_owned());
        }
        server
    }

    /// Returns the next line that the server prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("the server prints its address")
    }

    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Returns a client that speaks 9P2000.L.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { address: self.address(), dialect: "9p2000.L" }
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends a signal and waits until the server exits.
    pub(crate) fn end(&mut self, signal: &str) -> ExitStatus {
        end(&mut self.child, signal)
    }
}

/// Sends a signal and waits until the process exits.
pub(crate) fn end(child: &mut Child, signal: &str) -> ExitStatus {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut status = None;
    within("the end after a signal", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Polls a condition until it holds.
pub(crate) fn within(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns a channel that receives the lines of a pipe.
pub(crate) fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(pipe)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| sender.send(line.clone()).is_ok())
            .count()
    });
    receiver
}

/// The address of a server, and the dialect that client commands use. If the dialect is empty, each
/// command uses its default dialect.
pub(crate) struct Client<'s> {
    pub(crate) address: &'s str,
    pub(crate) dialect: &'s str,
}

impl Client<'_> {
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("DATAKIT_ADDRESS", self.address);
        if !self.dialect.is_empty() {
            command.args(["--dialect", self.dialect]);
        }
        command.args(arguments);
        command
    }

    /// Runs a command that must succeed and returns its standard output.
    pub(crate) fn bytes(&self, arguments: &[impl AsRef<OsStr>]) -> Vec<u8> {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        assert!(status.success() && stderr.is_empty(), "{} {arguments:?}: {stderr}", self.dialect);
        stdout
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.bytes(arguments)).unwrap()
    }

    /// Runs a command that must exit with status 1 and returns its standard error.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        self.fail_with(1, arguments)
    }

    /// Runs a command that must exit with `status` and returns its standard error.
    pub(crate) fn fail_with(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{} {arguments:?}", self.dialect);
        String::from_utf8(output.stderr).unwrap()
    }
}

pub(crate) fn in_every_dialect(test: impl Fn(Client<'_>)) {
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let server = Server::scratch();
        test(Client { address: server.address(), dialect });
    }
}

/// An initially empty temporary directory, which is removed at the end of the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("datakit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
