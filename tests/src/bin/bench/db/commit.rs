//! Clients that make commits through the file tree.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{BenchClient, MSIZE, ROOT, TIMEOUT, Target, expect, receive},
    ready::Ready,
    wire::{Message, kind, kind_of, tag_of},
};

/// The fid of the branch's `transactions` directory.
const TRANSACTIONS: u32 = 1;
/// The fids of the file to change, the `msg` file and the `ctl` file.
const FILE: u32 = 2;
const MSG: u32 = 3;
const CTL: u32 = 4;
const WRONLY: u32 = 1;

/// A set of clients, each of which makes one commit after another. Each client commits to its own
/// branch.
pub(crate) struct Committer {
    drivers: Vec<CommitDriver>,
    ready: Ready,
    /// The number of acknowledged commits.
    pub(crate) made: u64,
}

/// A client and the progress of its current commit. A commit takes five steps. The client sends the
/// messages of each step together because they do not depend on each other.
struct CommitDriver {
    client: BenchClient,
    number: u64,
    step: u8,
    /// The number of outstanding replies.
    waiting: usize,
}

impl Committer {
    pub(crate) fn new(target: &Target, branches: &[&str]) -> Res<Self> {
        let drivers = branches
            .iter()
            .map(|branch| CommitDriver::new(target, branch))
            .collect::<Res<Vec<_>>>()?;
        let ready = Ready::new(drivers.iter().map(|driver| &driver.client.socket))?;
        Ok(Self { drivers, ready, made: 0 })
    }

    /// Repeatedly commits a new version of `path` until `length` has elapsed. Returns the combined
    /// rate of all clients, in commits per second.
    pub(crate) fn rate(&mut self, length: Duration, path: &str) -> Res<f64> {
        let (begin, before) = (Instant::now(), self.made);
        let took = self.run(begin, begin + length, path)?;
        Ok((self.made - before) as f64 / took.as_secs_f64())
    }

    /// Makes one commit per client. Returns the time at which the last of these commits was
    /// acknowledged.
    pub(crate) fn one(&mut self, path: &str) -> Res<Instant> {
        let now = Instant::now();
        self.run(now, now, path)?;
        Ok(Instant::now())
    }

    fn run(&mut self, begin: Instant, end: Instant, path: &str) -> Res<Duration> {
        self.drivers.iter_mut().try_for_each(|driver| driver.send_step(path))?;
        let mut busy = self.drivers.len();
        if let [driver] = self.drivers.as_mut_slice() {
            while busy > 0 {
                busy -= driver.advance(end, path, &mut self.made)?;
            }
        }
        self.ready.set_deadline(end.duration_since(begin) + TIMEOUT)?;
        while busy > 0 {
            for number in self.ready.wait()? {
                busy -= self.drivers[number].advance(end, path, &mut self.made)?;
            }
        }
        Ok(begin.elapsed())
    }
}

impl CommitDriver {
    fn new(target: &Target, branch: &str) -> Res<Self> {
        const BRANCHES: u32 = 5;
        let mut client = BenchClient::attach(target, MSIZE)?;
        client.walk(BRANCHES, "branch")?;
        if client.walk(TRANSACTIONS, &format!("branch/{branch}/transactions")).is_err() {
            client.call(kind::TMKDIR, |m| m.u32(BRANCHES).text(branch).u32(0o755).u32(0))?;
            client.walk(TRANSACTIONS, &format!("branch/{branch}/transactions"))?;
        }
        client.call(kind::TWALK, |m| m.u32(ROOT).u32(CTL).u16(0))?;
        Ok(Self { client, number: 0, step: 0, waiting: 0 })
    }

    /// Sends the messages of the current step.
    fn send_step(&mut self, path: &str) -> Res<()> {
        let mut tag = 0;
        let out = &mut self.client.out;
        let mut push = |kind: u8, fill: &dyn Fn(Message<'_>) -> Message<'_>| {
            fill(Message::new(out, kind, tag)).finish();
            tag += 1;
        };
        let name = format!("t{}", self.number);
        let (dir, file) = path
            .rsplit_once('/')
            .map_or((String::new(), path), |(dir, file)| (format!("/{dir}"), file));
        match self.step {
            0 => {
                push(kind::TCLUNK, &|m| m.u32(CTL));
                push(kind::TMKDIR, &|m| m.u32(TRANSACTIONS).text(&name).u32(0o755).u32(0));
            }
            1 => {
                push(kind::TWALK, &|m| {
                    m.u32(TRANSACTIONS).u32(FILE).path(&format!("{name}/rw{dir}"))
                });
                push(kind::TWALK, &|m| m.u32(TRANSACTIONS).u32(MSG).path(&format!("{name}/msg")));
                push(kind::TWALK, &|m| m.u32(TRANSACTIONS).u32(CTL).path(&format!("{name}/ctl")));
            }
            2 => {
                push(kind::TLCREATE, &|m| m.u32(FILE).text(file).u32(WRONLY).u32(0o644).u32(0));
                push(kind::TLOPEN, &|m| m.u32(MSG).u32(WRONLY));
                push(kind::TLOPEN, &|m| m.u32(CTL).u32(WRONLY));
            }
            3 => {
                let text = format!("change {}\n", self.number);
                push(kind::TWRITE, &|m| {
                    m.u32(FILE).u64(0).u32(text.len() as u32).bytes(text.as_bytes())
                });
                push(kind::TWRITE, &|m| m.u32(MSG).u64(0).u32(8).bytes(b"a change"));
            }
            // A write takes effect before the server replies, so the files do not need to be
            // clunked before the commit.
            _ => {
                push(kind::TWRITE, &|m| m.u32(CTL).u64(0).u32(6).bytes(b"commit"));
                push(kind::TCLUNK, &|m| m.u32(FILE));
                push(kind::TCLUNK, &|m| m.u32(MSG));
            }
        }
        self.waiting = tag.into();
        let sent = self.client.socket.write_all(out);
        out.clear();
        sent.map_err(|error| format!("send: {error}"))
    }

    /// Reads once from the socket and starts the next step if all replies have arrived. The client
    /// stops when it completes a commit at or after `end`. Returns 1 if the client has stopped, and
    /// 0 otherwise.
    fn advance(&mut self, end: Instant, path: &str, made: &mut u64) -> Res<usize> {
        let BenchClient { socket, frames, .. } = &mut self.client;
        receive(frames, socket)?;
        while let Some(frame) = frames.next()? {
            if kind_of(frame) == kind::RLERROR {
                expect(frame, 0)
                    .map_err(|error| format!("step {}, {}: {error}", self.step, tag_of(frame)))?;
            }
            self.waiting -= 1;
        }
        if self.waiting > 0 {
            return Ok(0);
        }
        self.step += 1;
        if self.step == 5 {
            self.step = 0;
            self.number += 1;
            *made += 1;
            if Instant::now() >= end {
                return Ok(1);
            }
        }
        self.send_step(path).map(|()| 0)
    }
}
