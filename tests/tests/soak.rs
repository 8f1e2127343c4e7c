//! One board that stays up while three clients do everything at once, for `SOAK_SECONDS` (600):
//! `tests/run soak`.
//!
//! Each client connects in some dialect, does some of the [`ACTIVITIES`], leaves in some way and
//! comes back. Every answer is checked; at the end the board must have lost nothing. What is done
//! is the same in every run, when it is done is not.

#[path = "soak/activities.rs"]
mod activities;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use datakit_core::wire::{Dialect, Fid, Tag, Tmessage};
use datakit_tests::board::Board;
use datakit_tests::malformed::FATAL;
use datakit_tests::random::Random;
use datakit_tests::wire_client::WireClient;
use datakit_tests::{PATIENCE, within};

use crate::activities::{ACTIVITIES, content, set};

/// As many as the board has seats.
const CLIENTS: u32 = 3;
/// Stack that must never have been used, bytes.
const SPARE_STACK: u32 = 1024;
/// Streams of one client, nearly as many files as the board can have open for all.
const STREAMS: u32 = 20;

#[test]
fn soak() {
    let seconds = std::env::var("SOAK_SECONDS")
        .map_or(600, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let board = Board::boot();
    // Many deliveries, and many crossings of a limit.
    let mut client = board.wire_client(Dialect::Unix);
    set(&mut client, "params/blink/period", "40");
    drop(client);
    let failed = AtomicBool::new(false);
    let mut total = Counts::new();
    thread::scope(|scope| {
        let visitors = [0, 1, 2].map(|number| {
            let visitor = Visitor::new(number, &board, &failed);
            scope.spawn(move || visitor.visit_until(end))
        });
        for visitor in visitors {
            for (what, times) in visitor.join().expect("all answers were right") {
                *total.entry(what).or_default() += times;
            }
        }
    });
    for (what, times) in &total {
        println!("{times:8} {what}");
    }
    println!("{:8} in {seconds} s", total.values().sum::<u64>());
    look_over(&board);
}

/// The board has lost nothing: no frame, no seat, no open file, and not its stack.
fn look_over(board: &Board) {
    let mut client = board.wire_client(Dialect::Unix);
    within(PATIENCE, "everybody else has left", || {
        content(&mut client, "sys/connections") == "1\n"
    });
    for path in ["sys/uptime", "sys/stack", "net/frames-in", "net/frames-out", "net/frames-dropped"]
    {
        print!("{path} {}", content(&mut client, path));
    }
    for fid in 1..=STREAMS {
        client.open_path(fid, "events", 0);
    }
    let stack = content(&mut client, "sys/stack");
    let mut numbers = stack.split(' ').filter_map(|word| word.parse::<u32>().ok());
    let (used, size) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(used + SPARE_STACK <= size, "{stack}");
    assert_eq!(content(&mut client, "net/frames-dropped"), "0\n");
}

/// How often something was done.
type Counts = BTreeMap<&'static str, u64>;

/// One of the clients, that comes and goes.
struct Visitor<'b> {
    number: u32,
    board: &'b Board,
    failed: &'b AtomicBool,
    random: Random,
    counts: Counts,
    /// What the board's clock said last, milliseconds: a board that restarts meanwhile is found
    /// out.
    uptime: u64,
}

impl<'b> Visitor<'b> {
    fn new(number: u32, board: &'b Board, failed: &'b AtomicBool) -> Visitor<'b> {
        Visitor {
            number,
            board,
            failed,
            random: Random::new(number),
            counts: Counts::new(),
            uptime: 0,
        }
    }

    fn visit_until(mut self, end: Instant) -> Counts {
        let _alarm = Alarm(self.failed);
        while Instant::now() < end && !self.failed.load(Ordering::Relaxed) {
            let dialect =
                [Dialect::Legacy, Dialect::Unix, Dialect::Linux][self.random.below(3) as usize];
            let mut client = self.board.wire_client(dialect);
            self.count("connections");
            for _ in 0..self.random.below(8) {
                let (what, act) = ACTIVITIES[self.random.below(ACTIVITIES.len() as u32) as usize];
                act(&mut client, &mut self.random, self.number);
                self.count(what);
                self.look(&mut client);
            }
            self.leave(client);
        }
        self.counts
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The board is still the same.
    fn look(&mut self, client: &mut WireClient) {
        let uptime = content(client, "sys/uptime").trim_end().replace('.', "").parse().unwrap();
        assert!(uptime >= self.uptime, "the board has restarted: {uptime} after {}", self.uptime);
        self.uptime = uptime;
        let connections: u32 = content(client, "sys/connections").trim_end().parse().unwrap();
        assert!((1..=CLIENTS).contains(&connections), "{connections} connections");
    }

    fn leave(&mut self, mut client: WireClient) {
        match self.random.below(5) {
            0 => {
                let (what, frame) = FATAL[self.random.below(FATAL.len() as u32) as usize];
                client.socket.write_all(frame).unwrap();
                assert!(client.closed(), "{what}");
                self.count("left by a fatal frame");
            }
            1 => {
                client.socket.write_all(&[100, 0, 0, 0, 118, 1]).unwrap();
                self.count("left in the middle of a message");
            }
            2 => {
                for fid in 1..=3 {
                    client.open_path(fid, "events", 0);
                }
                for fid in 1..=3u16 {
                    client.send(
                        Tag(fid),
                        &Tmessage::Read { fid: Fid(fid.into()), offset: 0, count: 100 },
                    );
                }
                self.count("left with blocked reads");
            }
            _ => self.count("left in peace"),
        }
    }
}

/// Tells the others to stop when one fails.
struct Alarm<'f>(&'f AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
