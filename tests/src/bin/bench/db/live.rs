//! Measures how quickly a branch's new head reaches many connections that follow the branch.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{BenchClient, MSIZE, TIMEOUT, Target, expect, receive},
    ready::Ready,
    wire::{Message, kind},
};

const LIVE: u32 = 1;

/// Connections that each have a pending read from `head.live`.
pub(crate) struct Watchers {
    clients: Vec<(BenchClient, u64)>,
    ready: Ready,
}

impl Watchers {
    pub(crate) fn new(target: &Target, branch: &str, count: usize) -> Res<Self> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = BenchClient::attach(target, MSIZE)?;
            client.walk(LIVE, &format!("branch/{branch}/head.live"))?;
            client.open(LIVE, false)?;
            send_read(&mut client, 0)?;
            clients.push((client, 0));
        }
        let ready = Ready::new(clients.iter().map(|(client, _)| &client.socket))?;
        let mut watchers = Self { clients, ready };
        // The first delivery contains the current head and is not measured.
        watchers.wait()?;
        Ok(watchers)
    }

    /// Calls `change`, which makes a commit and returns the time at which it was acknowledged. For
    /// each connection, returns the delay between the acknowledgment and the delivery of the new
    /// head. If the delivery precedes the acknowledgment, the delay is zero.
    pub(crate) fn after(&mut self, change: impl FnOnce() -> Res<Instant>) -> Res<Vec<Duration>> {
        let acknowledged = change()?;
        let came = self.wait()?;
        Ok(came.into_iter().map(|came| came.saturating_duration_since(acknowledged)).collect())
    }

    /// Waits until each connection has received one delivery, and then sends the next reads.
    fn wait(&mut self) -> Res<Vec<Instant>> {
        self.ready.set_deadline(TIMEOUT)?;
        let mut came = Vec::with_capacity(self.clients.len());
        let mut news = Vec::with_capacity(self.clients.len());
        while came.len() < self.clients.len() {
            for number in self.ready.wait()? {
                let (client, offset) = &mut self.clients[number];
                receive(&mut client.frames, &mut client.socket)?;
                while let Some(frame) = client.frames.next()? {
                    expect(frame, kind::RREAD)?;
                    *offset += frame.len() as u64 - 11;
                    came.push(Instant::now());
                    news.push(number);
                }
            }
        }
        // Sending the next reads earlier would delay the remaining deliveries.
        for number in news {
            let (client, offset) = &mut self.clients[number];
            send_read(client, *offset)?;
        }
        Ok(came)
    }
}

fn send_read(client: &mut BenchClient, offset: u64) -> Res<()> {
    Message::new(&mut client.out, kind::TREAD, 0).u32(LIVE).u64(offset).u32(4096).finish();
    let sent = client.socket.write_all(&client.out);
    client.out.clear();
    sent.map_err(|error| format!("send: {error}"))
}
