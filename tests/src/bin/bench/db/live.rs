//! Many that follow one branch.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Res,
    client::{Client, MSIZE, PATIENCE, Place, expect, receive},
    ready::Ready,
    wire::{Message, kind},
};

const LIVE: u32 = 1;

/// Connections that read `head.live`, and wait for what comes next.
pub(crate) struct Watchers {
    clients: Vec<(Client, u64)>,
    ready: Ready,
}

impl Watchers {
    pub(crate) fn new(place: &Place, branch: &str, count: usize) -> Res<Self> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = Client::attach(place, MSIZE)?;
            client.walk(LIVE, &format!("branch/{branch}/head.live"))?;
            client.open(LIVE, false)?;
            ask(&mut client, 0)?;
            clients.push((client, 0));
        }
        let ready = Ready::of(clients.iter().map(|(client, _)| &client.socket))?;
        let mut watchers = Self { clients, ready };
        // Where the branch is now.
        watchers.wait()?;
        Ok(watchers)
    }

    /// How long after the moment that `change` returns each of them has the news; nothing for those
    /// that had it before.
    pub(crate) fn after(&mut self, change: impl FnOnce() -> Res<Instant>) -> Res<Vec<Duration>> {
        let acknowledged = change()?;
        let came = self.wait()?;
        Ok(came.into_iter().map(|came| came.saturating_duration_since(acknowledged)).collect())
    }

    /// Waits for one delivery to each and asks for the next.
    fn wait(&mut self) -> Res<Vec<Instant>> {
        self.ready.limit(PATIENCE)?;
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
        // Not before all have it: what is measured is the server.
        for number in news {
            let (client, offset) = &mut self.clients[number];
            ask(client, *offset)?;
        }
        Ok(came)
    }
}

fn ask(client: &mut Client, offset: u64) -> Res<()> {
    Message::new(&mut client.out, kind::TREAD, 0).u32(LIVE).u64(offset).u32(4096).end();
    let sent = client.socket.write_all(&client.out);
    client.out.clear();
    sent.map_err(|error| format!("send: {error}"))
}
