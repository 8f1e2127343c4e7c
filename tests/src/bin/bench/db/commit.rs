//! Commits by files: what a client sends for one, and many clients that do.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{Client, MSIZE, PATIENCE, Place, ROOT, expect, receive},
    ready::Ready,
    wire::{Message, kind, kind_of, tag_of},
};

/// `transactions` of the branch.
const TRANSACTIONS: u32 = 1;
/// The file that is changed, `msg` and `ctl`.
const FILE: u32 = 2;
const MSG: u32 = 3;
const CTL: u32 = 4;
const WRONLY: u32 = 1;

/// Clients that commit, each to its branch, as fast as they are answered.
pub(crate) struct Committer {
    lines: Vec<Line>,
    ready: Ready,
    /// Commits that were acknowledged.
    pub(crate) made: u64,
}

/// A client in the middle of a commit: five steps, in each of which what depends on nothing goes
/// together.
struct Line {
    client: Client,
    number: u64,
    step: u8,
    /// Answers that have not come.
    waiting: usize,
}

impl Committer {
    pub(crate) fn new(place: &Place, branches: &[&str]) -> Res<Self> {
        let lines =
            branches.iter().map(|branch| Line::new(place, branch)).collect::<Res<Vec<_>>>()?;
        let ready = Ready::of(lines.iter().map(|line| &line.client.socket))?;
        Ok(Self { lines, ready, made: 0 })
    }

    /// Commits a second of all of them, of a file at `path` that is another one each time.
    pub(crate) fn rate(&mut self, length: Duration, path: &str) -> Res<f64> {
        let (begin, before) = (Instant::now(), self.made);
        let took = self.run(begin, begin + length, path)?;
        Ok((self.made - before) as f64 / took.as_secs_f64())
    }

    /// One commit of each: when the last was acknowledged.
    pub(crate) fn one(&mut self, path: &str) -> Res<Instant> {
        let now = Instant::now();
        self.run(now, now, path)?;
        Ok(Instant::now())
    }

    fn run(&mut self, begin: Instant, end: Instant, path: &str) -> Res<Duration> {
        self.lines.iter_mut().try_for_each(|line| line.go(path))?;
        let mut busy = self.lines.len();
        if let [line] = self.lines.as_mut_slice() {
            while busy > 0 {
                busy -= line.turn(end, path, &mut self.made)?;
            }
        }
        self.ready.limit(end.duration_since(begin) + PATIENCE)?;
        while busy > 0 {
            for number in self.ready.wait()? {
                busy -= self.lines[number].turn(end, path, &mut self.made)?;
            }
        }
        Ok(begin.elapsed())
    }
}

impl Line {
    fn new(place: &Place, branch: &str) -> Res<Self> {
        const BRANCHES: u32 = 5;
        let mut client = Client::attach(place, MSIZE)?;
        client.walk(BRANCHES, "branch")?;
        if client.walk(TRANSACTIONS, &format!("branch/{branch}/transactions")).is_err() {
            client.call(kind::TMKDIR, |m| m.u32(BRANCHES).text(branch).u32(0o755).u32(0))?;
            client.walk(TRANSACTIONS, &format!("branch/{branch}/transactions"))?;
        }
        client.call(kind::TWALK, |m| m.u32(ROOT).u32(CTL).u16(0))?;
        Ok(Self { client, number: 0, step: 0, waiting: 0 })
    }

    /// Sends what is next.
    fn go(&mut self, path: &str) -> Res<()> {
        let mut tag = 0;
        let out = &mut self.client.out;
        let mut say = |kind: u8, fill: &dyn Fn(Message<'_>) -> Message<'_>| {
            fill(Message::new(out, kind, tag)).end();
            tag += 1;
        };
        let name = format!("t{}", self.number);
        let (dir, file) = path
            .rsplit_once('/')
            .map_or((String::new(), path), |(dir, file)| (format!("/{dir}"), file));
        match self.step {
            0 => {
                say(kind::TCLUNK, &|m| m.u32(CTL));
                say(kind::TMKDIR, &|m| m.u32(TRANSACTIONS).text(&name).u32(0o755).u32(0));
            }
            1 => {
                say(kind::TWALK, &|m| {
                    m.u32(TRANSACTIONS).u32(FILE).path(&format!("{name}/rw{dir}"))
                });
                say(kind::TWALK, &|m| m.u32(TRANSACTIONS).u32(MSG).path(&format!("{name}/msg")));
                say(kind::TWALK, &|m| m.u32(TRANSACTIONS).u32(CTL).path(&format!("{name}/ctl")));
            }
            2 => {
                say(kind::TLCREATE, &|m| m.u32(FILE).text(file).u32(WRONLY).u32(0o644).u32(0));
                say(kind::TLOPEN, &|m| m.u32(MSG).u32(WRONLY));
                say(kind::TLOPEN, &|m| m.u32(CTL).u32(WRONLY));
            }
            3 => {
                let text = format!("change {}\n", self.number);
                say(kind::TWRITE, &|m| {
                    m.u32(FILE).u64(0).u32(text.len() as u32).bytes(text.as_bytes())
                });
                say(kind::TWRITE, &|m| m.u32(MSG).u64(0).u32(8).bytes(b"a change"));
            }
            // What was written counts from its answer on, not from the clunk.
            _ => {
                say(kind::TWRITE, &|m| m.u32(CTL).u64(0).u32(6).bytes(b"commit"));
                say(kind::TCLUNK, &|m| m.u32(FILE));
                say(kind::TCLUNK, &|m| m.u32(MSG));
            }
        }
        self.waiting = tag.into();
        let sent = self.client.socket.write_all(out);
        out.clear();
        sent.map_err(|error| format!("send: {error}"))
    }

    /// One read and what follows from it: 1 when the last commit before `end` has ended.
    fn turn(&mut self, end: Instant, path: &str, made: &mut u64) -> Res<usize> {
        let Client { socket, frames, .. } = &mut self.client;
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
        self.go(path).map(|()| 0)
    }
}
