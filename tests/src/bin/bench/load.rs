//! The load generator, which drives all connections from one thread. Each operation starts as soon
//! as the previous one completes (a closed loop).

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{BenchClient, TIMEOUT, Target, receive},
    ready::Ready,
    wire::tag_of,
    workload::{InFlight, Operation, Progress, Script, Workload},
};

/// The warm-up time before the measurement begins. During this time, caches and pools are filled,
/// and the scheduler adapts to the load.
const WARMUP: Duration = Duration::from_millis(100);

/// The result of one measurement.
pub(crate) struct Measured {
    /// Operations per second.
    pub(crate) rate: f64,
    /// The number of data bytes per second.
    pub(crate) bytes: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Runs `workload` for `length` on new connections to the server at `target`.
pub(crate) fn measure(
    target: &Target,
    workload: &Workload,
    length: Duration,
    big: u64,
) -> Res<Measured> {
    let mut drivers = Vec::with_capacity(workload.connections);
    for _ in 0..workload.connections {
        drivers.push(LoadDriver::new(target, workload, big)?);
    }
    let mut window = Window::new(length);
    for driver in &mut drivers {
        driver.start(Instant::now())?;
    }
    match drivers.as_mut_slice() {
        // With a single connection, the client reads without epoll to save a system call. The burst
        // operation nevertheless uses epoll, because its speed is compared with that of `git`. A
        // thread blocked in a read on a Unix socket is also woken when the peer reads from its end.
        // Pipes, which `git` uses, do not cause this extra wake-up, so blocking reads would make
        // the comparison unfair.
        [driver] if workload.operation != Operation::Burst => {
            while driver.busy > 0 {
                driver.advance(&mut window)?;
            }
        }
        drivers => take_turns(drivers, &mut window)?,
    }
    window.result()
}

fn take_turns(drivers: &mut [LoadDriver], window: &mut Window) -> Res<()> {
    let mut ready = Ready::new(drivers.iter().map(|driver| &driver.client.socket))?;
    ready.set_deadline(window.end.duration_since(window.begin) + TIMEOUT)?;
    let mut busy = drivers.len();
    while busy > 0 {
        for number in ready.wait()? {
            let driver = &mut drivers[number];
            driver.advance(window)?;
            busy -= usize::from(driver.busy == 0);
        }
    }
    Ok(())
}

/// A connection and its operations in flight.
struct LoadDriver {
    client: BenchClient,
    script: Script,
    slots: Vec<(InFlight, Instant)>,
    /// The number of tags that one operation uses.
    tags: u16,
    /// The number of operations in flight.
    busy: usize,
}

impl LoadDriver {
    fn new(target: &Target, workload: &Workload, big: u64) -> Res<Self> {
        let mut client = BenchClient::attach(target, workload.operation.msize())?;
        let script = workload.operation.prepare(&mut client, target, big)?;
        let slots = vec![(InFlight::default(), Instant::now()); workload.depth.into()];
        Ok(Self { client, script, slots, tags: workload.operation.tags(), busy: 0 })
    }

    fn start(&mut self, now: Instant) -> Res<()> {
        for (tag, (slot, started)) in self.slots.iter_mut().enumerate() {
            *started = now;
            self.script.start(tag as u16 * self.tags, slot, &mut self.client.out);
        }
        self.busy = self.slots.len();
        self.send()
    }

    /// Reads once from the socket, processes all complete replies, and sends the next requests with
    /// a single write.
    ///
    /// The clock is read only once per batch, because reading it takes time.
    fn advance(&mut self, window: &mut Window) -> Res<()> {
        let BenchClient { socket, frames, out, .. } = &mut self.client;
        receive(frames, socket)?;
        let now = Instant::now();
        while let Some(frame) = frames.next()? {
            let tag = tag_of(frame);
            let tag = tag - tag % self.tags;
            let (slot, started) = self
                .slots
                .get_mut(usize::from(tag / self.tags))
                .ok_or_else(|| format!("a reply with unknown tag {tag}"))?;
            if let Progress::Done(bytes) = self.script.handle_reply(frame, slot, out)? {
                window.count(*started, now, bytes);
                if now < window.end {
                    *started = now;
                    self.script.start(tag, slot, out);
                } else {
                    self.busy -= 1;
                }
            }
        }
        self.send()
    }

    fn send(&mut self) -> Res<()> {
        let BenchClient { socket, out, .. } = &mut self.client;
        socket.write_all(out).map_err(|error| format!("send: {error}"))?;
        out.clear();
        Ok(())
    }
}

/// The period from `begin` to `end`, during which completed operations are counted.
struct Window {
    begin: Instant,
    end: Instant,
    bytes: u64,
    /// The latency, in nanoseconds, of each counted operation.
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
            return Err("no operation completed in the measured time".into());
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

    fn floor(single: bool) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || floor::serve(&listener, single));
        Target::new(address)
    }

    #[test]
    fn every_workload_runs_against_its_floor() {
        for workload in &WORKLOADS {
            let target = floor(workload.single);
            client::fill_tree(&target, BIG).unwrap();
            let measured = measure(&target, workload, Duration::from_millis(50), BIG).unwrap();
            assert!(measured.rate > 0.0 && measured.p50 <= measured.p99, "{}", workload.name);
        }
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::new(listener.local_addr().unwrap().to_string());
        let server = thread::spawn(move || drop(listener.accept()));
        let error = measure(&target, &WORKLOADS[0], Duration::from_millis(50), BIG).err().unwrap();
        assert!(error.contains("closed") || error.contains("receive"), "{error}");
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
