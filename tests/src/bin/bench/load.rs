//! The closed loop: a new operation starts when one ends, from one thread, whatever the number of
//! connections.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{Client, PATIENCE, Place, receive},
    ready::Ready,
    wire::tag_of,
    workload::{Operation, Progress, Script, Slot, Workload},
};

/// Runs that long before it counts: caches, pools and the scheduler settle.
const WARMUP: Duration = Duration::from_millis(100);

/// One measurement.
pub(crate) struct Measured {
    /// Operations a second.
    pub(crate) rate: f64,
    /// Bytes of data a second.
    pub(crate) bytes: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Measures `workload` on the server at `place` for `length`, on connections of its own.
pub(crate) fn measure(
    place: &Place,
    workload: &Workload,
    length: Duration,
    big: u64,
) -> Res<Measured> {
    let mut lines = Vec::with_capacity(workload.connections);
    for _ in 0..workload.connections {
        lines.push(Line::new(place, workload, big)?);
    }
    let mut window = Window::new(length);
    for line in &mut lines {
        line.start(Instant::now())?;
    }
    match lines.as_mut_slice() {
        // Nothing to choose from: a blocking read saves a system call of the client's. But who
        // sleeps in one of a Unix socket is woken as well when the server takes what it was sent,
        // to go to sleep again. The pipes to `git`, which a burst is compared with, do not cost
        // these two switches of the thread.
        [line] if workload.operation != Operation::Burst => {
            while line.busy > 0 {
                line.turn(&mut window)?;
            }
        }
        lines => take_turns(lines, &mut window)?,
    }
    window.result()
}

fn take_turns(lines: &mut [Line], window: &mut Window) -> Res<()> {
    let mut ready = Ready::of(lines.iter().map(|line| &line.client.socket))?;
    ready.limit(window.end.duration_since(window.begin) + PATIENCE)?;
    let mut busy = lines.len();
    while busy > 0 {
        for number in ready.wait()? {
            let line = &mut lines[number];
            line.turn(window)?;
            busy -= usize::from(line.busy == 0);
        }
    }
    Ok(())
}

/// One connection and its operations in flight.
struct Line {
    client: Client,
    script: Script,
    slots: Vec<(Slot, Instant)>,
    /// Of one operation.
    tags: u16,
    /// Operations that have not ended.
    busy: usize,
}

impl Line {
    fn new(place: &Place, workload: &Workload, big: u64) -> Res<Self> {
        let mut client = Client::attach(place, workload.operation.msize())?;
        let script = workload.operation.prepare(&mut client, place, big)?;
        let slots = vec![(Slot::default(), Instant::now()); workload.depth.into()];
        Ok(Self { client, script, slots, tags: workload.operation.tags(), busy: 0 })
    }

    fn start(&mut self, now: Instant) -> Res<()> {
        for (tag, (slot, started)) in self.slots.iter_mut().enumerate() {
            *started = now;
            self.script.begin(tag as u16 * self.tags, slot, &mut self.client.out);
        }
        self.busy = self.slots.len();
        self.send()
    }

    /// One read, and everything that follows from the answers it brought in one write. One look at
    /// the clock serves the whole batch, so that the clock is not what is measured.
    fn turn(&mut self, window: &mut Window) -> Res<()> {
        let Client { socket, frames, out, .. } = &mut self.client;
        receive(frames, socket)?;
        let now = Instant::now();
        while let Some(frame) = frames.next()? {
            let tag = tag_of(frame);
            let tag = tag - tag % self.tags;
            let (slot, started) = self
                .slots
                .get_mut(usize::from(tag / self.tags))
                .ok_or("an answer with a foreign tag")?;
            if let Progress::Done(bytes) = self.script.answered(frame, slot, out)? {
                window.count(*started, now, bytes);
                if now < window.end {
                    *started = now;
                    self.script.begin(tag, slot, out);
                } else {
                    self.busy -= 1;
                }
            }
        }
        self.send()
    }

    fn send(&mut self) -> Res<()> {
        let Client { socket, out, .. } = &mut self.client;
        socket.write_all(out).map_err(|error| format!("send: {error}"))?;
        out.clear();
        Ok(())
    }
}

/// Counts the operations that end between its two ends.
struct Window {
    begin: Instant,
    end: Instant,
    bytes: u64,
    /// Of every operation, in nanoseconds.
    latencies: Vec<u32>,
}

impl Window {
    fn new(length: Duration) -> Self {
        let begin = Instant::now() + WARMUP;
        Self { begin, end: begin + length, bytes: 0, latencies: Vec::new() }
    }

    fn count(&mut self, started: Instant, now: Instant, bytes: u64) {
        if self.begin <= now && now < self.end {
            self.bytes += bytes;
            let nanos = now.duration_since(started).as_nanos();
            self.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        }
    }

    fn result(mut self) -> Res<Measured> {
        let secs = self.end.duration_since(self.begin).as_secs_f64();
        let count = self.latencies.len();
        if count == 0 {
            return Err("no operation ended in the time given".into());
        }
        self.latencies.sort_unstable();
        let at =
            |part: usize| Duration::from_nanos(self.latencies[(count - 1) * part / 100].into());
        Ok(Measured {
            rate: count as f64 / secs,
            bytes: self.bytes as f64 / secs,
            p50: at(50),
            p99: at(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::{client, floor, workload::WORKLOADS};

    const BIG: u64 = 4 << 20;

    fn floor(single: bool) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || floor::serve(&listener, single));
        Place::new(address)
    }

    #[test]
    fn every_workload_runs_against_its_floor() {
        for workload in &WORKLOADS {
            let place = floor(workload.single);
            client::fill_tree(&place, BIG).unwrap();
            let measured = measure(&place, workload, Duration::from_millis(50), BIG).unwrap();
            assert!(measured.rate > 0.0 && measured.p50 <= measured.p99, "{}", workload.name);
        }
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::new(listener.local_addr().unwrap().to_string());
        let server = thread::spawn(move || drop(listener.accept()));
        let error = measure(&place, &WORKLOADS[0], Duration::from_millis(50), BIG).err().unwrap();
        assert!(error.contains("hung up") || error.contains("receive"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn operations_outside_the_window_do_not_count() {
        let mut window = Window::new(Duration::from_secs(1));
        let (begin, end) = (window.begin, window.end);
        window.count(begin, begin + Duration::from_millis(3), 7);
        window.count(begin - WARMUP, begin - WARMUP, 7);
        window.count(begin, end, 7);
        let result = window.result().unwrap();
        assert_eq!((result.rate, result.bytes, result.p99), (1.0, 7.0, Duration::from_millis(3)));
    }
}
