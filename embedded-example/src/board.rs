//! The board's file tree.

use core::fmt::{self, Write};

use datakit_core::files::{
    Command, Doc, Help, Ipv4, LevelFile, Live, Mac, ParamType, Queue, Status,
};
use datakit_core::vfs::{Dir, Error, Result, Text, dir, file};
use datakit_core::{Decimal, Plain};

use crate::i2c::I2C;
use crate::params::{CONFIG, PARAMS, settings, write_path};
use crate::saving;
use crate::simulation::{Simulation, Zone};
use crate::state::{self, uptime_ms};

/// The root directory.
pub static ROOT: Dir = Dir::new(&[
    file("help", &Help::new(&ROOT)),
    dir("board", &BOARD),
    PARAMS.entry("params"),
    dir("i2c", &I2C),
    dir("net", &NET),
    dir("sys", &SYS),
    dir("log", &LOG),
    file(
        "events",
        // A client that connects later can read what happened during startup.
        &EVENTS
            .file(|event, out| writeln!(out, "{} {}", Seconds(event.at_ms), event.kind))
            .from_oldest(),
    ),
    file("ticks", &TICKS.file(write_tick)),
    file("probes", &Status::new(probes)),
]);

static BOARD: Dir = Dir::new(&[
    file("name", &Doc::new("lm3s6965evb")),
    file(
        "clock",
        &Status::new(|out: &mut dyn Write| {
            writeln!(out, "{} Hz", Decimal::from(state::CLOCK_HZ.get()))
        }),
    ),
    file("build", &Doc::new(BUILD)),
]);

/// The firmware's name and version.
const BUILD: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

static NET: Dir = Dir::new(&[
    file("address", &Status::new(address)),
    file("mac", &Status::new(mac)),
    file("frames-in", &Status::new(|out: &mut dyn Write| write_count(state::FRAMES_IN.get(), out))),
    file(
        "frames-out",
        &Status::new(|out: &mut dyn Write| write_count(state::FRAMES_OUT.get(), out)),
    ),
    file(
        "frames-dropped",
        &Status::new(|out: &mut dyn Write| write_count(state::FRAMES_DROPPED.get(), out)),
    ),
]);

fn address(out: &mut dyn Write) -> fmt::Result {
    Ipv4(state::ADDRESS).render(&(), out)?;
    writeln!(out, "/{}", Decimal::from(state::PREFIX))
}

fn mac(out: &mut dyn Write) -> fmt::Result {
    Mac(state::MAC.get()).render(&(), out)?;
    out.write_str("\n")
}

// `Decimal` and `Plain` avoid the standard library's padding code, which takes up 2 KiB of flash.
fn write_count(count: u32, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{}", Decimal::from(count))
}

static SYS: Dir = Dir::new(&[
    file("uptime", &Status::new(|out: &mut dyn Write| writeln!(out, "{}", Seconds(uptime_ms())))),
    file("stack", &Status::new(stack)),
    file("memory", &Status::new(memory)),
    file(
        "reset-cause",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", Plain(state::RESET_CAUSE.get()))),
    ),
    file("last-panic", &Status::new(last_panic)),
    file("version", &Doc::new(env!("CARGO_PKG_VERSION"))),
    file("build-id", &Doc::new(env!("BUILD_ID"))),
    file("connections", &state::CONNECTIONS),
    file("kick", &KICK),
    file("wear", &Status::new(saving::wear)),
    file("reset", &RESET),
]);

fn stack(out: &mut dyn Write) -> fmt::Result {
    let stack = state::STACK.get().map(|probe| probe()).unwrap_or_default();
    writeln!(out, "{} of {} bytes", Decimal::from(stack.used), Decimal::from(stack.size))
}

fn memory(out: &mut dyn Write) -> fmt::Result {
    let memory = state::MEMORY.get().map(|probe| probe()).unwrap_or_default();
    for (name, size) in
        [("statics", memory.statics), ("stack", memory.stack), ("free", memory.free)]
    {
        writeln!(out, "{} {}", Plain(name), Decimal::from(size))?;
    }
    Ok(())
}

fn last_panic(out: &mut dyn Write) -> fmt::Result {
    match state::LAST_PANIC.get().bytes() {
        [] => out.write_str("none\n"),
        text => writeln!(out, "{}", Plain(core::str::from_utf8(text).unwrap_or_default())),
    }
}

static KICK: Command<16> = Command::new(|command, _| state::CONNECTIONS.kick_command(command))
    .doc("closes the connection with the written number");

static RESET: Command<16> = Command::new(reset).doc("`reset` restarts the board");

fn reset(command: &str, reply: &mut dyn Write) -> Result<()> {
    if command != "reset" {
        return Err(Error::Invalid.with_message(Plain("write `reset` to restart the board")));
    }
    state::RESET.set(true);
    // The write cannot fail, because the text fits into the reply.
    let _ = reply.write_str("restarting\n");
    Ok(())
}

static LOG: Dir = Dir::new(&[
    file("doc", &Doc::new("log of the board on its serial port, as defmt frames")),
    file("level", &LevelFile::new(&state::LEVEL)),
    file(
        "tail",
        &LOG_TAIL
            .file(write_log_line)
            .from_oldest()
            .doc("stream of log lines, from the oldest kept"),
    ),
]);

/// A stream that delivers the last log lines and then each new line.
static LOG_TAIL: Queue<LogLine, 8> = Queue::new();

fn write_log_line(line: &LogLine, out: &mut dyn Write) -> fmt::Result {
    let LogLine { at_ms, level, text, number } = line;
    write!(out, "{} {} {}", Seconds(*at_ms), Plain(level), Plain(text))?;
    number.map_or(Ok(()), |number| write!(out, "{}", Decimal::from(number)))?;
    out.write_str("\n")
}

/// A log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogLine {
    at_ms: u64,
    level: &'static str,
    text: &'static str,
    number: Option<u32>,
}

/// Appends a line to `log/tail`. If `number` is given, the line ends with the number.
pub fn log_line(level: &'static str, text: &'static str, number: Option<u32>) {
    LOG_TAIL.publish(LogLine { at_ms: uptime_ms(), level, text, number });
}

/// Writes one line for each probe. The line contains the probe's number and its latest sample,
/// scaled and shifted according to the probe's settings.
fn probes(out: &mut dyn Write) -> fmt::Result {
    let sample = TICKS.get().sample;
    CONFIG.probes.iter().enumerate().try_for_each(|(number, probe)| {
        writeln!(out, "{} {}", Decimal::from(number), probe.load().convert(sample))
    })
}

/// A stream that returns each event once, in order.
pub static EVENTS: Queue<Event, 16> = Queue::new();

/// A stream that returns the latest simulation step.
pub static TICKS: Live<Tick> = Live::new(Tick::FIRST);

fn write_tick(tick: &Tick, out: &mut dyn Write) -> fmt::Result {
    let light = Plain(if tick.lit { "on" } else { "off" });
    let (number, sample) = (Decimal::from(tick.number), Decimal::from(tick.sample));
    writeln!(out, "{} {number} light {light} sample {sample}", Seconds(tick.at_ms))
}

/// An event and the time at which it occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    at_ms: u64,
    kind: EventKind,
}

/// The kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The board has started.
    Boot,
    /// A client was assigned a slot.
    Connected,
    /// A client disconnected.
    Disconnected,
    /// The sample moved to a different zone.
    Entered(Zone, i32),
    /// The stored value of the parameter with this ordinal was not loaded, because the parameter
    /// rejected the value.
    NotLoaded(u16),
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::Boot => f.write_str("boot"),
            EventKind::Connected => f.write_str("connected"),
            EventKind::Disconnected => f.write_str("disconnected"),
            EventKind::Entered(zone, sample) => {
                let zone = match zone {
                    Zone::Low => "low",
                    Zone::Normal => "normal",
                    Zone::High => "high",
                };
                write!(f, "{} {}", Plain(zone), Decimal::from(*sample))
            }
            EventKind::NotLoaded(ordinal) => {
                f.write_str("not loaded: ")?;
                write_path(*ordinal, f)
            }
        }
    }
}

/// One step of the simulated light and sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tick {
    at_ms: u64,
    number: u32,
    lit: bool,
    sample: i32,
}

impl Tick {
    const FIRST: Tick = Tick { at_ms: 0, number: 0, lit: false, sample: 0 };
}

/// A duration in milliseconds, displayed in seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", Decimal::from(self.0 / 1000))?;
        let ms = (self.0 % 1000) as u16;
        [ms / 100, ms / 10 % 10, ms % 10]
            .into_iter()
            .try_for_each(|digit| f.write_char(char::from(b'0' + digit as u8)))
    }
}

/// Publishes an event on the `events` stream.
pub fn publish_event(kind: EventKind) {
    EVENTS.publish(Event { at_ms: uptime_ms(), kind });
}

/// Performs a simulation step according to the parameters and publishes the result. Returns whether
/// the light is on and how many milliseconds remain until the next step.
pub fn step(simulation: &mut Simulation) -> (bool, u32) {
    let step = simulation.step(&settings());
    TICKS.publish(Tick {
        at_ms: uptime_ms(),
        number: step.number,
        lit: step.lit,
        sample: step.sample,
    });
    if let Some(zone) = step.entered {
        publish_event(EventKind::Entered(zone, step.sample));
    }
    (step.lit, step.wait_ms)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::{String, ToString};

    use datakit_core::vfs::{Name, OpenMode, StaticTree, Vfs};
    use embassy_futures::block_on;

    use super::*;

    type Tree = StaticTree<4, 128>;

    fn with_open_file<R>(
        path: &str,
        with: impl AsyncFnOnce(&Tree, &<Tree as Vfs>::Open) -> R,
    ) -> R {
        let tree = Tree::new(&ROOT);
        block_on(async {
            let mut inode = tree.root();
            for name in path.split('/') {
                inode = tree.lookup(&inode, Name::new(name.as_bytes()).unwrap()).await.unwrap();
            }
            let open = tree.open(&inode, OpenMode::READ_WRITE).await.unwrap();
            with(&tree, &open).await
        })
    }

    fn read(path: &str) -> String {
        with_open_file(path, async |tree, open| {
            let mut buf = [0; 128];
            let n = tree.read(open, 0, &mut buf).await.unwrap();
            String::from_utf8(buf[..n].into()).unwrap()
        })
    }

    fn write(path: &str, text: &str) -> Result<usize> {
        with_open_file(path, async |tree, open| {
            let written = tree.write(open, 0, text.as_bytes()).await?;
            tree.flush(open).await.map(|()| written)
        })
    }

    #[test]
    fn parameters_control_the_next_step() {
        write("params/blink/period", "200\n").unwrap();
        write("params/blink/duty", "25").unwrap();
        write("params/wave/offset", "10").unwrap();
        let mut simulation = Simulation::new();
        let steps = [(); 2].map(|()| step(&mut simulation));
        assert_eq!(steps, [(true, 50), (false, 150)]);
        let tick = read("ticks");
        assert!(tick.starts_with("0.000 2 light off sample -50\n"), "{tick}");
    }

    #[test]
    fn probes_convert_the_latest_sample() {
        write("params/probes/2/scale", "-0.5").unwrap();
        write("params/probes/2/offset", "7").unwrap();
        let probe = CONFIG.probes[2].load();
        assert_eq!(probe.convert(101).to_string(), "-43.5");
        assert_eq!(probe.convert(i32::MAX).to_string(), "-21474836.48");
        assert_eq!(read("probes").lines().count(), 4);
        let error = write("params/probes/0/scale", "0.125").unwrap_err();
        assert_eq!(error.to_string(), "\"0.125\" is not a multiple of 0.01 from -100 to 100");
    }

    #[test]
    fn limits_must_not_cross() {
        let error = write("params/limits/low", "2000000").unwrap_err();
        assert_eq!(error.to_string(), "limits/low must be below limits/high");
        assert_eq!(read("params/limits/low"), "-90\n");
        assert_eq!(write("params/limits/high", "-90").unwrap_err(), error);
    }

    #[test]
    fn reset_requires_the_word_reset() {
        assert_eq!(
            write("sys/reset", "now").unwrap_err().to_string(),
            "write `reset` to restart the board"
        );
        assert!(!state::RESET.get());
        write("sys/reset", "reset").unwrap();
        assert!(state::RESET.get());
    }

    #[test]
    fn files_of_missing_hardware_read_as_zero() {
        assert_eq!(read("sys/stack"), "0 of 0 bytes\n");
        assert_eq!(read("sys/memory"), "statics 0\nstack 0\nfree 0\n");
        assert_eq!(read("sys/reset-cause"), "unknown\n");
        assert_eq!(read("sys/last-panic"), "none\n");
        assert_eq!(read("net/mac"), "00:00:00:00:00:00\n");
        assert_eq!(read("net/address"), "10.0.2.15/24\n");
    }

    #[test]
    fn a_new_reader_gets_the_last_lines_of_the_log() {
        log_line("warn", "message size ", Some(7));
        log_line("info", "connected", None);
        let read_line = async |tree: &Tree, open: &_, at: &mut u64| {
            let mut buf = [0; 64];
            let n = tree.read(open, *at, &mut buf).await.unwrap();
            *at += n as u64;
            String::from_utf8(buf[..n].into()).unwrap()
        };
        with_open_file("log/tail", async |tree, open| {
            let mut at = 0;
            assert_eq!(read_line(tree, open, &mut at).await, "0.000 warn message size 7\n");
            assert_eq!(read_line(tree, open, &mut at).await, "", "the mark between two lines");
            assert_eq!(read_line(tree, open, &mut at).await, "0.000 info connected\n");
        });
    }

    #[test]
    fn changes_of_parameters_and_refusals_can_be_read() {
        crate::params::start();
        let schema = read("params/schema");
        let first = "{\"version\":1,\"params\":[\n{\"path\":\"save-rate\",\"type\":\"u32\"";
        assert!(schema.starts_with(first), "{schema}");
        assert_eq!(read("params/schema-id").len(), 9);
        with_open_file("params/changes", async |tree, open| {
            write("params/probes/3/offset", "8").unwrap();
            let mut buf = [0; 96];
            let n = tree.read(open, 0, &mut buf).await.unwrap();
            let line = core::str::from_utf8(&buf[..n]).unwrap();
            assert!(line.ends_with(" program probes/3/offset 8\n"), "{line}");
        });
        assert!(read("params/modified").contains("probes/3/offset 8\n"));
        write("params/ctl", "reset probes/3/offset").unwrap();
        assert_eq!(read("params/ctl"), "reset 1 value\n");
        write("params/ctl", "reset none").unwrap_err();
        assert_eq!(read("params/ctl"), "\"none\" is not the path of a parameter\n");
    }

    #[test]
    fn events_are_kept_and_delivered_in_order() {
        publish_event(EventKind::Connected);
        publish_event(EventKind::Entered(Zone::High, 95));
        with_open_file("events", async |tree, open| {
            // Other tests may have published events before.
            let mut events = std::string::String::new();
            let (mut buf, mut at) = ([0; 32], 0);
            while !events.ends_with("0.000 connected\n\n0.000 high 95\n") {
                let count = tree.read(open, at, &mut buf).await.unwrap();
                at += count as u64;
                // An empty read marks the end of an event.
                events +=
                    if count == 0 { "\n" } else { core::str::from_utf8(&buf[..count]).unwrap() };
            }
        });
    }
}
