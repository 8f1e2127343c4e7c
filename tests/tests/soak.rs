//! A soak test in which three clients use one board for `SOAK_SECONDS` seconds (600 by default).
//! Use `tests/run soak` to run the test.
//!
//! Each client connects with a random dialect, performs random [`ACTIVITIES`], disconnects in a
//! random way, and then reconnects. The clients check every reply. At the end, the test checks that
//! the board has not leaked any resources. The clients make the same random choices on every run,
//! but the timing varies.

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
use datakit_tests::{TIMEOUT, within};

use crate::activities::{ACTIVITIES, content, set};

/// The number of client slots on the board.
const CLIENTS: u32 = 3;
/// The minimum number of stack bytes that must remain unused.
const SPARE_STACK: u32 = 1024;
/// The number of streams that one client opens at the end. The board reserves 8 of its 24 open
/// files for the other clients, so a single client can open at most 16 files. The client opens only
/// 15 streams because it also reads other files.
const STREAMS: u32 = 15;

#[test]
fn soak_three_clients_find_no_wrong_reply_and_no_leak() {
    let seconds = std::env::var("SOAK_SECONDS")
        .map_or(600, |text| text.parse().expect("SOAK_SECONDS is a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let board = Board::boot();
    // Set a short period to cause many ticks and events.
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
            for (what, times) in visitor.join().expect("every reply was right") {
                *total.entry(what).or_default() += times;
            }
        }
    });
    for (what, times) in &total {
        println!("{times:8} {what}");
    }
    println!("{:8} in {seconds} s", total.values().sum::<u64>());
    check_for_leaks(&board);
}

/// Checks that the board has not dropped frames, leaked client slots or open files, or exhausted
/// its stack.
fn check_for_leaks(board: &Board) {
    let mut client = board.wire_client(Dialect::Unix);
    within(TIMEOUT, "all other clients are gone", || {
        content(&mut client, "sys/connections").lines().count() == 1
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

/// How many times each activity has been performed.
type Counts = BTreeMap<&'static str, u64>;

/// A client that repeatedly connects and disconnects.
struct Visitor<'b> {
    number: u32,
    board: &'b Board,
    failed: &'b AtomicBool,
    random: Random,
    counts: Counts,
    /// The board's last known uptime in milliseconds. If the uptime decreases, the board has
    /// restarted.
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
        let _guard = FailureGuard(self.failed);
        while Instant::now() < end && !self.failed.load(Ordering::Relaxed) {
            let dialect =
                [Dialect::Legacy, Dialect::Unix, Dialect::Linux][self.random.below(3) as usize];
            let mut client = self.board.wire_client(dialect);
            self.count("connections");
            for _ in 0..self.random.below(8) {
                let (what, activity) =
                    ACTIVITIES[self.random.below(ACTIVITIES.len() as u32) as usize];
                activity(&mut client, &mut self.random, self.number);
                self.count(what);
                self.check_board(&mut client);
            }
            self.disconnect(client);
        }
        self.counts
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Checks that the board has not restarted and that it reports a plausible number of clients.
    fn check_board(&mut self, client: &mut WireClient) {
        let uptime = content(client, "sys/uptime").trim_end().replace('.', "").parse().unwrap();
        assert!(uptime >= self.uptime, "the board has restarted: {uptime} after {}", self.uptime);
        self.uptime = uptime;
        let connections = content(client, "sys/connections").lines().count();
        assert!((1..=CLIENTS as usize).contains(&connections), "{connections} connections");
    }

    fn disconnect(&mut self, mut client: WireClient) {
        match self.random.below(5) {
            0 => {
                let (what, frame) = FATAL[self.random.below(FATAL.len() as u32) as usize];
                client.socket.write_all(frame).unwrap();
                assert!(client.closed(), "{what}");
                self.count("disconnects after a fatal frame");
            }
            1 => {
                client.socket.write_all(&[100, 0, 0, 0, 118, 1]).unwrap();
                self.count("disconnects within a message");
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
                self.count("disconnects with blocked reads");
            }
            _ => self.count("orderly disconnects"),
        }
    }
}

/// A guard that stops the other clients if its own client panics.
struct FailureGuard<'f>(&'f AtomicBool);

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
