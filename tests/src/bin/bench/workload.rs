//! The workloads, their budgets, and the messages that each operation sends.

use crate::{
    Res,
    client::{BenchClient, MSIZE, ROOT, Target, expect},
    wire::{Message, OVERHEAD, kind, kind_of, tag_of, u16_at, u32_at, u64_at},
};

/// A workload and its budget. A budget consists of a required share and a desired share of the
/// baseline server's speed.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    pub(crate) connections: usize,
    /// The number of operations in flight on each connection.
    pub(crate) depth: u16,
    /// Whether the baseline server serves all connections on one thread.
    pub(crate) single: bool,
    /// The share of the baseline server's speed that the `release` profile must reach.
    pub(crate) must: f64,
    /// The share of the baseline server's speed that the `dist` profile should reach.
    pub(crate) aim: f64,
    /// The required and desired limits on the 99th-percentile latency, as multiples of the median.
    pub(crate) tail: Option<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reads 4 KiB at offset 0 of an open file.
    Read,
    /// Writes 4 KiB at offset 0 of an open file.
    Write,
    /// Gets the attributes of a file.
    Getattr,
    /// Walks to a small file, then opens, reads and clunks it. Each message is sent only after the
    /// reply to the previous one has arrived.
    Cycle,
    /// Sends the same four messages as `Cycle`, but all together without waiting for replies.
    Burst,
    /// Reads a large file from beginning to end using messages of the maximum size. The speed is
    /// measured in bytes per second.
    Bulk,
    /// Lists a directory of 1000 entries.
    Readdir,
}

/// Returns a workload that uses one connection.
pub(crate) const fn row(
    name: &'static str,
    operation: Operation,
    depth: u16,
    must: f64,
    aim: f64,
) -> Workload {
    let single = depth == 1 && !matches!(operation, Operation::Bulk | Operation::Readdir);
    Workload { name, operation, connections: 1, depth, single, must, aim, tail: None }
}

pub(crate) static WORKLOADS: [Workload; 10] = [
    row("read-32", Operation::Read, 32, 0.65, 0.9),
    row("write-32", Operation::Write, 32, 0.6, 0.85),
    row("cycle-32", Operation::Cycle, 32, 0.5, 0.65),
    row("stat-32", Operation::Getattr, 32, 0.45, 0.6),
    row("read-1", Operation::Read, 1, 0.85, 0.95),
    row("stat-1", Operation::Getattr, 1, 0.85, 0.95),
    row("cycle-1", Operation::Cycle, 1, 0.85, 0.95),
    row("bulk", Operation::Bulk, 1, 0.55, 0.75),
    row("readdir", Operation::Readdir, 1, 0.5, 0.75),
    Workload {
        connections: 64,
        tail: Some((4.0, 2.0)),
        ..row("conns-64", Operation::Cycle, 1, 0.85, 0.95)
    },
];

/// The fid of the file that remains open during the measurement.
const OPEN: u32 = 1;
/// The base number for the fids that operations create. An operation's fid is the sum of this base
/// and the operation's tag.
const WALKED: u32 = 100;
const BLOCK: u32 = 4096;
/// The mask of the attributes returned by `stat(2)` (`P9_GETATTR_BASIC`).
const BASIC: u64 = 0x7ff;
const O_DIRECTORY: u32 = 0o200_000;

/// A slot for an operation in flight. The operation's tags are derived from the slot's index.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    offset: u64,
    entries: usize,
    /// How many small files this slot has read.
    turn: usize,
}

/// The state shared by all operations on a connection.
pub(crate) struct Script {
    operation: Operation,
    /// The number of bytes to request in each read of a file or directory.
    count: u32,
    big: u64,
    block: Vec<u8>,
    small: Vec<String>,
}

/// The progress of an operation after a reply.
pub(crate) enum Progress {
    /// The operation continues, and its next request has been appended to the output.
    Continues,
    /// The operation is complete. The value is the number of data bytes transferred.
    Done(u64),
}

impl Operation {
    /// Returns the number of tags that one operation uses. The operation's first tag is a multiple
    /// of this number.
    pub(crate) fn tags(self) -> u16 {
        if self == Operation::Burst { 4 } else { 1 }
    }

    /// Returns the msize to offer to the server.
    pub(crate) fn msize(self) -> u32 {
        if self == Operation::Bulk { (1 << 20) + OVERHEAD } else { MSIZE }
    }

    /// Prepares the file that this operation uses. `big` is the length of the large file.
    pub(crate) fn prepare(
        self,
        client: &mut BenchClient,
        target: &Target,
        big: u64,
    ) -> Res<Script> {
        let mut count = BLOCK;
        match self {
            Operation::Read | Operation::Bulk => {
                client.walk(OPEN, "big.bin")?;
                let most = client.open(OPEN, false)?;
                count = if self == Operation::Bulk { most } else { BLOCK };
            }
            Operation::Write => {
                client.walk(OPEN, "rw.bin")?;
                client.open(OPEN, true)?;
            }
            Operation::Getattr => client.walk(OPEN, "small.txt")?,
            Operation::Cycle | Operation::Burst => count = target.count,
            Operation::Readdir => count = client.msize - OVERHEAD,
        }
        Ok(Script {
            operation: self,
            count,
            big,
            block: vec![b'w'; BLOCK as usize],
            small: target.small.clone(),
        })
    }
}

impl Script {
    /// Appends the first request of an operation.
    pub(crate) fn start(&self, tag: u16, slot: &mut InFlight, out: &mut Vec<u8>) {
        let fid = WALKED + u32::from(tag);
        match self.operation {
            Operation::Read => read(out, tag, OPEN, 0, self.count),
            Operation::Bulk => read(out, tag, OPEN, slot.offset, self.count),
            Operation::Write => {
                let message = Message::new(out, kind::TWRITE, tag).u32(OPEN).u64(0);
                message.u32(self.block.len() as u32).bytes(&self.block).finish();
            }
            Operation::Getattr => {
                Message::new(out, kind::TGETATTR, tag).u32(OPEN).u64(BASIC).finish()
            }
            Operation::Cycle => walk(out, tag, fid, self.next(tag, slot)),
            Operation::Burst => {
                walk(out, tag, fid, self.next(tag, slot));
                Message::new(out, kind::TLOPEN, tag + 1).u32(fid).u32(0).finish();
                read(out, tag + 2, fid, 0, self.count);
                clunk(out, tag + 3, fid);
            }
            Operation::Readdir => {
                *slot = InFlight::default();
                walk(out, tag, fid, "dir1k");
            }
        }
    }

    /// Returns the path of the small file to read next.
    fn next(&self, tag: u16, slot: &mut InFlight) -> &str {
        // Add the tag so that concurrent operations read different files.
        let next = slot.turn * 61 + usize::from(tag);
        slot.turn += 1;
        &self.small[next % self.small.len()]
    }

    /// Processes a reply that belongs to an operation. If the operation has another request, that
    /// request is appended to `out`.
    pub(crate) fn handle_reply(
        &self,
        frame: &[u8],
        slot: &mut InFlight,
        out: &mut Vec<u8>,
    ) -> Res<Progress> {
        match self.operation {
            Operation::Read => match data_len(frame, kind::RREAD)? {
                BLOCK => Ok(Progress::Done(BLOCK.into())),
                len => Err(format!("a read of {BLOCK} bytes returned {len}")),
            },
            Operation::Bulk => {
                let len = u64::from(data_len(frame, kind::RREAD)?);
                let next = slot.offset + len;
                slot.offset = if next >= self.big || len == 0 { 0 } else { next };
                Ok(Progress::Done(len))
            }
            Operation::Write => {
                expect(frame, kind::RWRITE)?;
                match u32_at(frame, 7)? {
                    BLOCK => Ok(Progress::Done(BLOCK.into())),
                    len => Err(format!("a write of {BLOCK} bytes wrote {len}")),
                }
            }
            Operation::Getattr => expect(frame, kind::RGETATTR).map(|()| Progress::Done(0)),
            Operation::Burst => match kind_of(frame) {
                kind::RWALK | kind::RLOPEN => Ok(Progress::Continues),
                kind::RREAD if data_len(frame, kind::RREAD)? == self.count => {
                    Ok(Progress::Continues)
                }
                other => expect(frame, kind::RCLUNK)
                    .map(|()| Progress::Done(self.count.into()))
                    .map_err(|error| format!("{other}: {error}")),
            },
            Operation::Cycle | Operation::Readdir => self.handle_step(frame, slot, out),
        }
    }

    /// Processes a reply that belongs to a `Cycle` or `Readdir` operation. The type of the reply
    /// determines the next request.
    fn handle_step(&self, frame: &[u8], slot: &mut InFlight, out: &mut Vec<u8>) -> Res<Progress> {
        let tag = tag_of(frame);
        let fid = WALKED + u32::from(tag);
        let lists = self.operation == Operation::Readdir;
        match kind_of(frame) {
            kind::RWALK if u16_at(frame, 7)? > 0 => {
                let flags = if lists { O_DIRECTORY } else { 0 };
                Message::new(out, kind::TLOPEN, tag).u32(fid).u32(flags).finish();
            }
            kind::RLOPEN if lists => readdir(out, tag, fid, 0, self.count),
            kind::RLOPEN => read(out, tag, fid, 0, self.count),
            kind::RREADDIR if lists => match count_entries(frame, slot)? {
                0 if slot.entries < 1000 => {
                    return Err(format!("{} of 1000 names listed", slot.entries));
                }
                0 => clunk(out, tag, fid),
                _ => readdir(out, tag, fid, slot.offset, self.count),
            },
            kind::RREAD if !lists && data_len(frame, kind::RREAD)? > 0 => clunk(out, tag, fid),
            kind::RCLUNK => return Ok(Progress::Done(0)),
            other => return expect(frame, 0).and(Err(format!("unexpected type {other}"))),
        }
        Ok(Progress::Continues)
    }
}

fn data_len(frame: &[u8], wanted: u8) -> Res<u32> {
    expect(frame, wanted)?;
    let len = u32_at(frame, 7)?;
    (frame.len() == 11 + len as usize)
        .then_some(len)
        .ok_or_else(|| format!("{len} bytes of data in a message of {} bytes", frame.len()))
}

/// Counts the entries in an Rreaddir and stores the offset at which the next read starts.
fn count_entries(frame: &[u8], slot: &mut InFlight) -> Res<usize> {
    let end = 11 + data_len(frame, kind::RREADDIR)? as usize;
    let (mut at, mut entries) = (11, 0);
    while at < end {
        slot.offset = u64_at(frame, at + 13)?;
        at += 24 + usize::from(u16_at(frame, at + 22)?);
        entries += 1;
    }
    slot.entries += entries;
    (at == end).then_some(entries).ok_or_else(|| "a directory entry is cut off".into())
}

fn walk(out: &mut Vec<u8>, tag: u16, fid: u32, path: &str) {
    Message::new(out, kind::TWALK, tag).u32(ROOT).u32(fid).path(path).finish();
}

fn read(out: &mut Vec<u8>, tag: u16, fid: u32, offset: u64, count: u32) {
    Message::new(out, kind::TREAD, tag).u32(fid).u64(offset).u32(count).finish();
}

fn readdir(out: &mut Vec<u8>, tag: u16, fid: u32, offset: u64, count: u32) {
    Message::new(out, kind::TREADDIR, tag).u32(fid).u64(offset).u32(count).finish();
}

fn clunk(out: &mut Vec<u8>, tag: u16, fid: u32) {
    Message::new(out, kind::TCLUNK, tag).u32(fid).finish();
}
