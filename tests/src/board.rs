//! Runs the firmware in `embedded-example/` in QEMU, with a separate board for each test.
//!
//! The operating system chooses a port on the host. QEMU's user network forwards this port to port
//! 564 on the board. A board resets connections while it boots or reopens a socket, so the methods
//! of [`Board`] retry failed connections. Other clients that connect to a board must also retry.

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
use crate::{TIMEOUT, within};

/// The delay between connection attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// The msize offered by [`Board::wire_client`].
const MSIZE: u32 = 4096;

/// All paths in the board's tree, in the order in which [`list_tree`] returns them.
pub const PATHS: &[&str] = &[
    "help",
    "board",
    "board/name",
    "board/clock",
    "board/build",
    "params",
    "params/help",
    "params/schema",
    "params/schema-id",
    "params/changes",
    "params/modified",
    "params/ctl",
    "params/save-rate",
    "params/transactions",
    "params/transactions/0",
    "params/transactions/1",
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
    "params/probes",
    "params/probes/0",
    "params/probes/0/scale",
    "params/probes/0/offset",
    "params/probes/1",
    "params/probes/1/scale",
    "params/probes/1/offset",
    "params/probes/2",
    "params/probes/2/scale",
    "params/probes/2/offset",
    "params/probes/3",
    "params/probes/3/scale",
    "params/probes/3/offset",
    "i2c",
    "i2c/0x48",
    "i2c/0x48/temperature",
    "i2c/0x48/low",
    "i2c/0x48/high",
    "net",
    "net/address",
    "net/mac",
    "net/frames-in",
    "net/frames-out",
    "net/frames-dropped",
    "sys",
    "sys/uptime",
    "sys/stack",
    "sys/memory",
    "sys/reset-cause",
    "sys/last-panic",
    "sys/version",
    "sys/build-id",
    "sys/connections",
    "sys/kick",
    "sys/wear",
    "sys/reset",
    "log",
    "log/doc",
    "log/level",
    "log/tail",
    "events",
    "ticks",
    "probes",
];

/// A running board. Dropping the board stops QEMU.
///
/// # Panics
/// Panics when dropped if QEMU has exited on its own, for example because the firmware panicked.
/// Dropping a board does not panic once [`wait_for_exit`](Board::wait_for_exit) has returned.
pub struct Board {
    qemu: Child,
    port: u16,
    monitor: Monitor,
    ended: bool,
}

impl Board {
    /// Boots a board.
    ///
    /// # Panics
    /// Panics if the firmware has not been built or QEMU is not installed.
    pub fn boot() -> Board {
        Board::start(&firmware(), "none".into(), true)
    }

    /// Boots a board with an image from `tests/size/` instead of the firmware.
    ///
    /// # Panics
    /// Panics under the same conditions as [`boot`](Board::boot).
    pub fn boot_image(name: &str) -> Board {
        Board::start(&firmware().with_file_name(name), "none".into(), true)
    }

    /// Boots a board whose flash is the `flash.bin` file in the `dir` directory, if that file
    /// exists.
    ///
    /// # Panics
    /// Panics under the same conditions as [`boot`](Board::boot).
    pub fn boot_in(dir: &Path) -> Board {
        Board::start_in(dir, &firmware(), "none".into(), true)
    }

    /// Boots a board without a debugger and without semihosting.
    ///
    /// # Panics
    /// Panics under the same conditions as [`boot`](Board::boot).
    pub fn boot_without_semihosting() -> Board {
        Board::start(&firmware(), "none".into(), false)
    }

    /// Boots a board without a debugger and without semihosting. Its firmware has no log.
    ///
    /// # Panics
    /// Panics under the same conditions as [`boot`](Board::boot).
    pub fn boot_without_log() -> Board {
        let firmware = firmware().with_file_name("datakit-firmware-without-log");
        Board::start(&firmware, "none".into(), false)
    }

    /// Boots a board that logs defmt frames to a file.
    ///
    /// # Panics
    /// Panics under the same conditions as [`boot`](Board::boot).
    pub fn boot_with_log(log: &Path) -> Board {
        let mut serial = OsString::from("file:");
        serial.push(log);
        Board::start(&firmware(), serial, true)
    }

    fn start(firmware: &Path, serial: OsString, semihosting: bool) -> Board {
        Board::start_in(Path::new("."), firmware, serial, semihosting)
    }

    fn start_in(dir: &Path, firmware: &Path, serial: OsString, semihosting: bool) -> Board {
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
            .current_dir(dir)
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
        board.port = board
            .monitor
            .query("info usernet", forwarded_port)
            .expect("QEMU lists the forwarded port");
        // Wait until the board's network is up. QEMU drops data that arrives earlier and does not
        // retransmit it for 6 seconds.
        let start = Instant::now();
        while board.monitor.read_word(MAC_CONTROL) & 1 == 0 {
            assert!(start.elapsed() < TIMEOUT, "the board did not start its network");
        }
        board
    }

    /// Returns the URL at which the host can reach the board.
    pub fn url(&self) -> Url {
        Url::Tcp { host: "127.0.0.1".into(), port: self.port }
    }

    /// Returns the address at which the host can reach the board.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Connects a client and attaches it to the root.
    ///
    /// # Panics
    /// Panics if the board does not accept the connection within [`TIMEOUT`].
    pub async fn client(&self, dialect: Dialect) -> Client {
        let options = Options::default().dialect(dialect);
        let start = Instant::now();
        loop {
            match Client::connect(&self.url(), options.clone()).await {
                Ok(client) => return client,
                Err(Error::Lost(_)) if start.elapsed() < TIMEOUT => tokio::time::sleep(PAUSE).await,
                Err(error) => panic!("cannot connect to the board: {error}"),
            }
        }
    }

    /// Opens a connection for sending individual messages and attaches fid 0 to the root.
    ///
    /// # Panics
    /// Panics if the board does not accept the connection within [`TIMEOUT`].
    pub fn wire_client(&self, dialect: Dialect) -> WireClient {
        let start = Instant::now();
        loop {
            match WireClient::try_attached(self.addr(), dialect, MSIZE) {
                Ok(client) => return client,
                Err(_) if start.elapsed() < TIMEOUT => thread::sleep(PAUSE),
                Err(error) => panic!("cannot connect to the board: {error}"),
            }
        }
    }

    /// Makes the processor execute the handler of an interrupt that the firmware does not expect.
    ///
    /// # Panics
    /// Panics if QEMU cannot start a gdb server or resume the processor.
    pub fn interrupt(&mut self) {
        let handler = self.handler(FIRST_INTERRUPT);
        self.resume_at(handler);
    }

    /// Returns the address of the code that a vector table entry refers to.
    ///
    /// # Panics
    /// Panics if QEMU does not return the entry.
    pub fn handler(&mut self, entry: u32) -> u32 {
        // Bit 0 of a vector table entry marks Thumb code, but bit 0 of the program counter must be
        // clear.
        self.monitor.read_word(entry) & !1
    }

    /// Triggers a fault by making the processor continue at an address that contains no code.
    ///
    /// # Panics
    /// Panics if QEMU cannot start a gdb server or resume the processor.
    pub fn fault(&mut self) {
        self.resume_at(NO_CODE);
    }

    fn resume_at(&mut self, address: u32) {
        let socket = std::env::temp_dir().join(format!("datakit-gdb-{}", self.qemu.id()));
        let command = format!("gdbserver unix:{},server=on,wait=off", socket.display());
        self.monitor
            .query(&command, |line| line.contains("Waiting for gdb").then_some(()))
            .expect("QEMU starts a gdb server");
        let done = gdb::resume_at(&socket, address);
        let _ = fs::remove_file(&socket);
        done.expect("QEMU resumes the processor");
    }

    /// Waits for `time` and returns, in order, the numbers of the exceptions and interrupts that
    /// the processor takes during the wait. Interrupt N has the exception number N + 16.
    ///
    /// # Panics
    /// Panics if QEMU cannot write its log.
    pub fn exceptions_during(&mut self, time: Duration) -> Vec<u32> {
        let log = tempfile::NamedTempFile::new().expect("a file for the log");
        self.monitor.tell(&format!("logfile {}", log.path().display()));
        self.monitor.tell("log int");
        thread::sleep(time);
        self.monitor.tell("log none");
        // QEMU carries out the commands in order, so the log is complete when QEMU answers the last
        // one.
        self.monitor.tell("logfile /dev/null");
        self.monitor.read_word(MAC_CONTROL);
        let log = fs::read_to_string(log.path()).expect("the log of QEMU");
        let number =
            |line: &str| line.strip_prefix("...taking pending ")?.rsplit(' ').next()?.parse().ok();
        log.lines().filter_map(number).collect()
    }

    /// Returns the CPU time that QEMU has used since it started.
    ///
    /// # Panics
    /// Panics on systems other than Linux.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.qemu.id()))
            .expect("the statistics of the QEMU process");
        // The 12th and 13th fields after the program's name are utime and stime, in hundredths of a
        // second. The program's name may contain spaces, so the code skips to the last closing
        // parenthesis.
        let fields = stat.rsplit_once(')').expect("a name").1;
        let hundredths: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|time| time.parse::<u64>().expect("a time"))
            .sum();
        Duration::from_millis(hundredths * 10)
    }

    /// Waits until the board stops on its own. Returns QEMU's exit status.
    ///
    /// # Panics
    /// Panics if the board does not stop within [`TIMEOUT`].
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        within(TIMEOUT, "the board stops", || {
            status = self.qemu.try_wait().expect("a status");
            status.is_some()
        });
        self.ended = true;
        status.expect("checked above")
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

/// Returns the path of the firmware's ELF file.
pub fn firmware() -> PathBuf {
    let built = "../embedded-example/target/thumbv7m-none-eabi/release/datakit-firmware";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(built)
}

/// A connection to the QEMU monitor.
struct Monitor {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Monitor {
    /// Sends a command, passes each line of the reply to `find`, and returns the first value found.
    fn query<T>(&mut self, command: &str, find: impl Fn(&str) -> Option<T>) -> io::Result<T> {
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

    /// Sends a command that QEMU does not answer.
    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("QEMU reads commands");
    }

    /// Reads a word from the board's memory. QEMU prints a line such as `0000000040048008:
    /// 0x00000001`.
    fn read_word(&mut self, address: u32) -> u32 {
        let start = format!("{address:016x}: 0x");
        self.query(&format!("xp /1wx {address}"), |line| {
            u32::from_str_radix(line.trim_end().strip_prefix(&start)?, 16).ok()
        })
        .expect("QEMU shows the board's memory")
    }
}

/// Parses the port in a line such as `TCP[HOST_FORWARD] 12 127.0.0.1 43211 10.0.2.15 564 0 0`.
fn forwarded_port(line: &str) -> Option<u16> {
    let mut words =
        line.split_whitespace().skip_while(|word| !word.starts_with("TCP[HOST_FORWARD]"));
    words.nth(3)?.parse().ok()
}

/// The receive control register (RCTL) of the MAC. Bit 0 enables the receiver.
const MAC_CONTROL: u32 = 0x4004_8008;

/// The address of the vector table entry for interrupt 0, which the firmware does not use.
pub const FIRST_INTERRUPT: u32 = 0x40;

/// An address in the peripheral region, from which the processor cannot execute code.
const NO_CODE: u32 = 0x5000_0000;

/// Returns all paths below a server's root. Each directory precedes its entries. The result does
/// not include the entries in transaction directories, because those entries only repeat the
/// parameters.
///
/// # Panics
/// Panics if a directory cannot be listed.
pub async fn list_tree(client: &Client) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = vec![String::new()];
    while let Some(path) = rest.pop() {
        if !path.is_empty() {
            paths.push(path.clone());
        }
        if path.starts_with("params/transactions/") {
            continue;
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
