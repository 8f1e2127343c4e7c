//! Which of many connections have something to be read.

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::{AsFd, OwnedFd},
};

use crate::{Res, client::PATIENCE};

pub(crate) struct Ready {
    poll: OwnedFd,
    events: Vec<Event>,
}

impl Ready {
    /// Of these, numbered from 0.
    pub(crate) fn of<'s, S: AsFd + 's>(sockets: impl IntoIterator<Item = &'s S>) -> Res<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let mut count = 0;
        for socket in sockets {
            epoll::add(&poll, socket, EventData::new_u64(count), EventFlags::IN).map_err(failed)?;
            count += 1;
        }
        Ok(Self { poll, events: Vec::with_capacity(count as usize) })
    }

    /// Waits for some; none for a long time is an error.
    pub(crate) fn wait(&mut self) -> Res<impl Iterator<Item = usize> + '_> {
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        match epoll::wait(&self.poll, spare_capacity(&mut self.events), Some(&patience)).map_err(failed)? {
            0 => Err("no answer for a long time".into()),
            _ => Ok(self.events.drain(..).map(|event| event.data.u64() as usize)),
        }
    }
}

fn failed(error: rustix::io::Errno) -> String {
    format!("epoll: {error}")
}
