//! The board's tree.

use core::fmt::{self, Write};

use datakit_core::files::{Command, Doc, Help, LevelFile, Live, Queue, Status};
use datakit_core::vfs::{Dir, Error, Result, dir, file};

use crate::facts::{self, uptime_ms};
use crate::params::{PARAMS, settings};
use crate::signal::{Signal, Zone};

/// What `ls /` shows.
pub static ROOT: Dir = Dir::new(&[
    file("help", &Help::new(&ROOT)),
    dir("board", &BOARD),
    dir("params", &PARAMS),
    dir("net", &NET),
    dir("sys", &SYS),
    dir("log", &LOG),
    file("events", &EVENTS),
    file("ticks", &TICKS),
]);

static BOARD: Dir = Dir::new(&[
    file("name", &Doc::new("lm3s6965evb")),
    file(
        "clock",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{} Hz", facts::CLOCK_HZ.get())),
    ),
    file("build", &Doc::new(BUILD)),
]);

/// Which program this is.
const BUILD: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

static NET: Dir = Dir::new(&[
    file("address", &Status::new(address)),
    file("mac", &Status::new(mac)),
    file(
        "frames-in",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", facts::FRAMES_IN.get())),
    ),
    file(
        "frames-out",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", facts::FRAMES_OUT.get())),
    ),
    file(
        "frames-dropped",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", facts::FRAMES_DROPPED.get())),
    ),
]);

fn address(out: &mut dyn Write) -> fmt::Result {
    let [a, b, c, d] = facts::ADDRESS;
    writeln!(out, "{a}.{b}.{c}.{d}/{}", facts::PREFIX)
}

fn mac(out: &mut dyn Write) -> fmt::Result {
    let [a, b, c, d, e, f] = facts::MAC.get();
    writeln!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

static SYS: Dir = Dir::new(&[
    file("uptime", &Status::new(|out: &mut dyn Write| writeln!(out, "{}", Seconds(uptime_ms())))),
    file("stack", &Status::new(stack)),
    file(
        "connections",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", facts::CONNECTIONS.get())),
    ),
    file("reset", &RESET),
]);

fn stack(out: &mut dyn Write) -> fmt::Result {
    let stack = facts::STACK.get().map(|ask| ask()).unwrap_or_default();
    writeln!(out, "{} of {} bytes", stack.used, stack.size)
}

static RESET: Command<16> = Command::new(reset).doc("`reset` restarts the board");

fn reset(command: &str, reply: &mut dyn Write) -> Result<()> {
    if command != "reset" {
        return Err(Error::Invalid.with_message("write `reset` to restart the board"));
    }
    facts::RESET.set(true);
    // The text has room for it.
    let _ = reply.write_str("restarting\n");
    Ok(())
}

static LOG: Dir = Dir::new(&[
    file("doc", &Doc::new("what the board says on its serial port, in defmt's frames")),
    file("level", &LevelFile::new(&facts::LEVEL)),
]);

/// What happened, each event once and in order.
pub static EVENTS: Queue<Event, 16> =
    Queue::new(|event, out| writeln!(out, "{} {}", Seconds(event.at_ms), event.what));

/// The latest step of the light and the sensor.
pub static TICKS: Live<Tick> = Live::new(Tick::FIRST, |tick, out| {
    let light = if tick.lit { "on" } else { "off" };
    writeln!(out, "{} {} light {light} sample {}", Seconds(tick.at_ms), tick.number, tick.sample)
});

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    at_ms: u64,
    what: What,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The board has started.
    Boot,
    /// A client was given a seat.
    Connected,
    /// A client left.
    Disconnected,
    /// The sample went beyond a limit, or came back.
    Entered(Zone, i32),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Boot => f.write_str("boot"),
            What::Connected => f.write_str("connected"),
            What::Disconnected => f.write_str("disconnected"),
            What::Entered(Zone::Low, sample) => write!(f, "low {sample}"),
            What::Entered(Zone::Normal, sample) => write!(f, "normal {sample}"),
            What::Entered(Zone::High, sample) => write!(f, "high {sample}"),
        }
    }
}

/// One step of the light and the sensor.
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

/// Milliseconds, shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Puts an event on `events`.
pub fn tell(what: What) {
    EVENTS.publish(Event { at_ms: uptime_ms(), what });
}

/// Turns the light and takes a sample, by the parameters, and shows both: whether the light is on
/// now, and milliseconds until the next step is due.
pub fn step(signal: &mut Signal) -> (bool, u32) {
    let step = signal.step(&settings());
    TICKS.publish(Tick {
        at_ms: uptime_ms(),
        number: step.number,
        lit: step.lit,
        sample: step.sample,
    });
    if let Some(zone) = step.entered {
        tell(What::Entered(zone, step.sample));
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

    fn opened<R>(path: &str, with: impl AsyncFnOnce(&Tree, &<Tree as Vfs>::Open) -> R) -> R {
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
        opened(path, async |tree, open| {
            let mut buf = [0; 128];
            let n = tree.read(open, 0, &mut buf).await.unwrap();
            String::from_utf8(buf[..n].into()).unwrap()
        })
    }

    fn write(path: &str, text: &str) -> Result<usize> {
        opened(path, async |tree, open| {
            let written = tree.write(open, 0, text.as_bytes()).await?;
            tree.flush(open).await.map(|()| written)
        })
    }

    #[test]
    fn a_parameter_drives_the_next_step() {
        write("params/blink/period", "200\n").unwrap();
        write("params/blink/duty", "25").unwrap();
        write("params/wave/offset", "10").unwrap();
        let mut signal = Signal::new();
        let steps = [(); 2].map(|()| step(&mut signal));
        assert_eq!(steps, [(true, 50), (false, 150)]);
        let tick = read("ticks");
        assert!(tick.starts_with("0.000 2 light off sample -50\n"), "{tick}");
    }

    #[test]
    fn a_limit_across_the_other_one_is_refused() {
        let error = write("params/limits/low", "2000000").unwrap_err();
        assert_eq!(error.to_string(), "the lower limit must be below the upper one");
        assert_eq!(read("params/limits/low"), "-90\n");
    }

    #[test]
    fn a_reset_must_be_meant() {
        assert_eq!(
            write("sys/reset", "now").unwrap_err().to_string(),
            "write `reset` to restart the board"
        );
        assert!(!facts::RESET.get());
        write("sys/reset", "reset").unwrap();
        assert!(facts::RESET.get());
    }

    #[test]
    fn hardware_that_is_not_there_reads_as_nothing() {
        assert_eq!(read("sys/stack"), "0 of 0 bytes\n");
        assert_eq!(read("net/mac"), "00:00:00:00:00:00\n");
        assert_eq!(read("net/address"), "10.0.2.15/24\n");
    }

    #[test]
    fn every_event_is_told_in_order() {
        opened("events", async |tree, open| {
            tell(What::Connected);
            tell(What::Entered(Zone::High, 95));
            let mut buf = [0; 32];
            let n = tree.read(open, 0, &mut buf).await.unwrap();
            assert_eq!(&buf[..n], b"0.000 connected\n");
            assert_eq!(
                tree.read(open, n as u64, &mut buf).await,
                Ok(0),
                "the mark between two events"
            );
            let n = tree.read(open, n as u64, &mut buf).await.unwrap();
            assert_eq!(&buf[..n], b"0.000 high 95\n");
        });
    }
}
