//! The firmware of `embedded-example/` in QEMU, one board a test.
//!
//! QEMU's user network forwards a port of the host, chosen by the system, to the board's port 564.
//! A connection that comes while the board boots or turns a closed socket over is reset; everything
//! here tries again then, as any client of a board has to.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use datakit_client::{Client, Error, Options};
use datakit_core::wire::Dialect;
use datakit_server::Url;

use crate::gdb;
use crate::wire_client::WireClient;
use crate::{PATIENCE, within};

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(5);
/// The msize that [`Board::wire_client`] offers.
const MSIZE: u32 = 4096;

/// Every path of the board's tree, as [`listing`] gives them.
pub const PATHS: &[&str] = &[
    "help",
    "board",
    "board/name",
    "board/clock",
    "board/build",
    "params",
    "params/help",
    "params/blink",
    "params/blink/enabled",
    "params/blink/period",
    "params/blink/duty",
    "params/wave",
    "params/wave/shape",
    "params/wave/length",
    "params/wave/amplitude",
    "params/wave/offset",
    "params/wave/smoothing",
    "params/limits",
    "params/limits/high",
    "params/limits/low",
    "params/net",
    "params/net/idle",
    "params/net/nagle",
    "net",
    "net/address",
    "net/mac",
    "net/frames-in",
    "net/frames-out",
    "net/frames-dropped",
    "sys",
    "sys/uptime",
    "sys/stack",
    "sys/connections",
    "sys/reset",
    "log",
    "log/doc",
    "log/level",
    "events",
    "ticks",
];

/// A board that runs. Dropped, it is switched off; unless somebody waited for its
/// [`end`](Board::end) it must not have stopped by itself before, as it does when it panics.
pub struct Board {
    qemu: Child,
    port: u16,
    monitor: Monitor,
    ended: bool,
}

impl Board {
    /// Switches a board on.
    ///
    /// # Panics
    /// Says what to do when the firmware is not built or QEMU is not installed.
    pub fn boot() -> Board {
        Board::start(&firmware(), "none".into(), true)
    }

    /// Switches a board on that runs another program: an image of `tests/size/`.
    ///
    /// # Panics
    /// As [`boot`](Board::boot).
    pub fn boot_image(name: &str) -> Board {
        Board::start(&firmware().with_file_name(name), "none".into(), true)
    }

    /// Switches a board on as it is on a desk: there is neither a debugger nor semihosting.
    ///
    /// # Panics
    /// As [`boot`](Board::boot).
    pub fn boot_alone() -> Board {
        Board::start(&firmware(), "none".into(), false)
    }

    /// Switches a board on that logs to a file, in defmt's frames.
    ///
    /// # Panics
    /// As [`boot`](Board::boot).
    pub fn boot_with_log(log: &Path) -> Board {
        let mut serial = OsString::from("file:");
        serial.push(log);
        Board::start(&firmware(), serial, true)
    }

    fn start(firmware: &Path, serial: OsString, semihosting: bool) -> Board {
        assert!(
            firmware.exists(),
            "no firmware at {}: `tests/run qemu` builds it",
            firmware.display()
        );
        let semihosting = if semihosting { "enable=on,target=native" } else { "enable=off" };
        let mut qemu = Command::new("qemu-system-arm")
            .args(["-machine", "lm3s6965evb", "-display", "none", "-monitor", "stdio", "-serial"])
            .arg(serial)
            .args(["-semihosting-config", semihosting])
            .args([
                "-nic",
                "user,model=stellaris,restrict=on,hostfwd=tcp:127.0.0.1:0-:564",
                "-kernel",
            ])
            .arg(firmware)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("qemu-system-arm is needed (Debian: `apt install qemu-system-arm`)");
        let monitor = Monitor {
            commands: qemu.stdin.take().expect("piped"),
            answers: BufReader::new(qemu.stdout.take().expect("piped")),
        };
        let mut board = Board { qemu, port: 0, monitor, ended: false };
        board.port =
            board.monitor.ask("info usernet", forwarded).expect("QEMU tells the port it forwards");
        // What is sent before is lost, and sent again by QEMU after 6 s.
        let start = Instant::now();
        while board.monitor.word(MAC_CONTROL) & 1 == 0 {
            assert!(start.elapsed() < PATIENCE, "the board does not start its network");
        }
        board
    }

    /// Where the host finds the board.
    pub fn url(&self) -> Url {
        Url::Tcp { host: "127.0.0.1".into(), port: self.port }
    }

    /// The same, as an address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// A client that is attached.
    ///
    /// # Panics
    /// When the board does not let it in within [`PATIENCE`].
    pub async fn client(&self, dialect: Dialect) -> Client {
        let options = Options::default().dialect(dialect);
        let start = Instant::now();
        loop {
            match Client::connect(&self.url(), options.clone()).await {
                Ok(client) => return client,
                Err(Error::Lost(_)) if start.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => panic!("cannot connect to the board: {error}"),
            }
        }
    }

    /// A connection on which fid 0 is attached to the root, for messages made by hand.
    ///
    /// # Panics
    /// When the board does not let it in within [`PATIENCE`].
    pub fn wire_client(&self, dialect: Dialect) -> WireClient {
        let start = Instant::now();
        loop {
            match WireClient::try_attached(self.addr(), dialect, MSIZE) {
                Ok(client) => return client,
                Err(_) if start.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(error) => panic!("cannot connect to the board: {error}"),
            }
        }
    }

    /// Has the processor go on in the handler of an interrupt that the firmware does not expect, as
    /// a debugger can.
    ///
    /// # Panics
    /// When QEMU does not do it.
    pub fn interrupt(&mut self) {
        let handler = self.monitor.word(FIRST_INTERRUPT);
        // Bit 0 says "Thumb" in the table, but not in the register.
        self.go_on_at(handler & !1);
    }

    /// Has the processor go on where no instructions can be, which is a fault.
    ///
    /// # Panics
    /// When QEMU does not do it.
    pub fn fault(&mut self) {
        self.go_on_at(NO_CODE);
    }

    fn go_on_at(&mut self, address: u32) {
        let socket = std::env::temp_dir().join(format!("datakit-gdb-{}", self.qemu.id()));
        let command = format!("gdbserver unix:{},server=on,wait=off", socket.display());
        self.monitor
            .ask(&command, |line| line.contains("Waiting for gdb").then_some(()))
            .expect("a server for gdb");
        let done = gdb::go_on_at(&socket, address);
        let _ = fs::remove_file(&socket);
        done.expect("QEMU's server for gdb does it");
    }

    /// The time that the host's processors have worked for the board since it was switched on.
    ///
    /// # Panics
    /// Where there is no Linux below.
    pub fn worked(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.qemu.id()))
            .expect("what Linux knows of QEMU");
        // Behind the program's name, which may have spaces: the 12th and 13th, in hundredths of a
        // second.
        let behind = stat.rsplit_once(')').expect("a name").1;
        let hundredths: u64 = behind
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|time| time.parse::<u64>().expect("a time"))
            .sum();
        Duration::from_millis(hundredths * 10)
    }

    /// Waits until the board stops by itself: QEMU's status.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        within(PATIENCE, "the board stops", || {
            status = self.qemu.try_wait().expect("a status");
            status.is_some()
        });
        self.ended = true;
        status.expect("just looked at")
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let ended = self.qemu.try_wait();
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if !self.ended && !thread::panicking() {
            assert!(matches!(ended, Ok(None)), "the board stopped by itself: {ended:?}");
        }
    }
}

/// The firmware, an ELF file.
pub fn firmware() -> PathBuf {
    let built = "../embedded-example/target/thumbv7m-none-eabi/release/datakit-firmware";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(built)
}

/// QEMU's monitor.
struct Monitor {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Monitor {
    /// Gives a command and reads on to the line that `find` takes.
    fn ask<T>(&mut self, command: &str, find: impl Fn(&str) -> Option<T>) -> io::Result<T> {
        writeln!(self.commands, "{command}")?;
        let mut line = String::new();
        while self.answers.read_line(&mut line)? > 0 {
            if let Some(found) = find(&line) {
                return Ok(found);
            }
            line.clear();
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// The word at an address of the board, as in `0000000040048008: 0x00000001`.
    fn word(&mut self, address: u32) -> u32 {
        let start = format!("{address:016x}: 0x");
        self.ask(&format!("xp /1wx {address}"), |line| {
            u32::from_str_radix(line.trim_end().strip_prefix(&start)?, 16).ok()
        })
        .expect("QEMU shows the board's memory")
    }
}

/// The port in `TCP[HOST_FORWARD] 12 127.0.0.1 43211 10.0.2.15 564 0 0`.
fn forwarded(line: &str) -> Option<u16> {
    let mut words =
        line.split_whitespace().skip_while(|word| !word.starts_with("TCP[HOST_FORWARD]"));
    words.nth(3)?.parse().ok()
}

/// RCTL of the board's MAC, whose bit 0 is "receive".
const MAC_CONTROL: u32 = 0x4004_8008;

/// The handler of interrupt 0 in the table of all, an interrupt that the firmware does not use.
const FIRST_INTERRUPT: u32 = 0x40;

/// Among the registers of peripherals, where the processor takes no instructions from.
const NO_CODE: u32 = 0x5000_0000;

/// Every path below the root of a server, each directory before what is in it.
///
/// # Panics
/// When a directory cannot be listed.
pub async fn listing(client: &Client) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = vec![String::new()];
    while let Some(path) = rest.pop() {
        if !path.is_empty() {
            paths.push(path.clone());
        }
        if path.is_empty() || client.stat(&path).await.expect("stat").is_dir() {
            let entries = client.read_dir(&path).await.expect("a listing");
            let join = |name: &str| {
                if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
            };
            rest.extend(entries.iter().rev().map(|entry| join(&entry.name.to_string())));
        }
    }
    paths
}
