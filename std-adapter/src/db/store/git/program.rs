//! Other repositories by way of a program: `ssh`, or `git` for those of this machine.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::ssh::ProgramKind;
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
use gix::url::ArgumentSafety;
use gix::{Error, Repository, Result, Url};
use rustix::event::{PollFd, PollFlags};

use crate::db::group::Group;
use crate::db::patient::{Patient, wait};
use crate::locked;

/// By what `git` may have been told where its own repository is, which is not the other one.
const OURS: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
];

/// So many bytes of what a program says are kept: its reasons come first.
const WORDS: usize = 1024;

/// What a program says beside its output.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    /// The lines, in one.
    pub(super) fn text(&self) -> String {
        let words = locked::lock(&self.0);
        let text = String::from_utf8_lossy(&words);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn hear(&self, said: &[u8]) {
        let mut words = locked::lock(&self.0);
        let room = WORDS.saturating_sub(words.len());
        words.extend_from_slice(said.get(..room).unwrap_or(said));
    }
}

/// Starts a program that speaks for the repository at `url`.
pub(super) fn connect(
    mut command: Command,
    url: &Url,
    version: Protocol,
    patience: Option<Duration>,
    words: &Words,
) -> Result<Box<dyn Transport + Send>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Group::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut program = started.map_err(|error| wrong(format!("cannot start {name}: {error}")))?;
    let (Some(input), Some(stdout)) = (program.stdin.take(), program.stdout.take()) else {
        return Err(wrong(format!("{name} has no pipes")));
    };
    let stderr = program.stderr.take();
    let output = Output { stdout, stderr, words: words.clone(), patience, _program: program };
    let (input, path) = (Patient::new(input, patience), url.path.clone());
    let connection = Connection::new(output, input, version, path, None::<(&str, _)>, ConnectMode::Process, false);
    Ok(Box::new(connection.custom_url(Some(url.to_bstring()))))
}

/// For a repository of this machine.
pub(super) fn local(url: &Url, version: Protocol) -> Command {
    let mut git = Command::new("git");
    git.args(["upload-pack", "--"]).arg(OsStr::from_bytes(&url.path));
    for variable in OURS {
        git.env_remove(variable);
    }
    git.env("GIT_PROTOCOL", format!("version={}", version as usize));
    git
}

/// For one by `ssh`, or by what the settings of our repository have in its place.
pub(super) fn ssh(repository: &Repository, url: &Url, version: Protocol) -> Result<Command> {
    let options = repository.ssh_connect_options()?;
    let program = options.ssh_command();
    let mut ssh = match &options.command {
        Some(script) if !options.disallow_shell => {
            // It may have options of its own; the others are added.
            let mut shell = Command::new("sh");
            shell.arg("-c").arg([script, OsStr::new(" \"$@\"")].join(OsStr::new(""))).arg(script);
            shell
        }
        _ => Command::new(program),
    };
    let known = Some(ProgramKind::from(program)).filter(|kind| *kind != ProgramKind::Simple);
    match options.kind.or(known).unwrap_or(ProgramKind::Ssh) {
        ProgramKind::Ssh => {
            // Nobody is there to be asked for a password.
            ssh.args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"]);
            ssh.args(url.port.map(|port| format!("-p{port}")));
        }
        ProgramKind::Simple if url.port.is_some() => {
            return Err(wrong("ssh.variant=simple cannot be told the port of the URL".to_owned()));
        }
        ProgramKind::Simple => {}
        ProgramKind::Plink | ProgramKind::Putty | ProgramKind::TortoisePlink => {
            ssh.args(url.port.map(|port| format!("-P{port}")));
        }
    }
    ssh.arg(destination(url)?).arg("git-upload-pack").arg(quoted(url)?);
    ssh.env("LC_ALL", "C").env("GIT_PROTOCOL", format!("version={}", version as usize));
    Ok(ssh)
}

/// `USER@HOST`, if it is no option to whoever reads it.
fn destination(url: &Url) -> Result<String> {
    match (url.user_as_argument(), url.host_as_argument()) {
        (ArgumentSafety::Absent, ArgumentSafety::Usable(host)) => Ok(host.to_owned()),
        (ArgumentSafety::Usable(user), ArgumentSafety::Usable(host)) => Ok(format!("{user}@{host}")),
        _ => Err(wrong("the URL has no host, or user or host begin with '-'".to_owned())),
    }
}

/// The path, for the shell on the other side.
fn quoted(url: &Url) -> Result<String> {
    let path = gix::url::expand_path::for_shell(url.path.clone());
    match path.trim_start().first() {
        Some(b'-') => Err(wrong(format!("the path {path:?} begins with '-'"))),
        _ => Ok(gix::quote::single(path.as_bstr()).to_string()),
    }
}

fn wrong(why: String) -> Error {
    Error::from_error(io::Error::other(why))
}

/// The output of a program, which is killed when this is dropped.
struct Output {
    stdout: ChildStdout,
    /// Until it is closed.
    stderr: Option<ChildStderr>,
    words: Words,
    patience: Option<Duration>,
    _program: Group,
}

impl Output {
    /// Waits until there is output, or no more of it. What is said before is heard.
    fn ready(&mut self) -> io::Result<()> {
        loop {
            let output = PollFd::new(&self.stdout, PollFlags::IN);
            let Some(stderr) = &mut self.stderr else { return wait(&mut [output], self.patience) };
            let mut both = [output, PollFd::new(&*stderr, PollFlags::IN)];
            wait(&mut both, self.patience)?;
            let [_, words] = both;
            if words.revents().is_empty() {
                return Ok(());
            }
            let mut said = [0; WORDS];
            match stderr.read(&mut said)? {
                0 => self.stderr = None,
                len => self.words.hear(said.get(..len).unwrap_or_default()),
            }
        }
    }
}

impl Read for Output {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ready()?;
        self.stdout.read(buf)
    }
}
