//! Waits for data on many connections simultaneously.

use std::time::Duration;

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use crate::Res;

/// An epoll instance with a deadline.
pub(crate) struct Ready {
    poll: OwnedFd,
    events: Vec<Event>,
    /// A timer in the epoll set that expires at the deadline. With a separate timeout for each
    /// wait, the kernel would have to set a timer every time.
    late: OwnedFd,
}

/// The timer's epoll key.
const LATE: u64 = u64::MAX;

impl Ready {
    /// Registers the sockets, which are numbered from 0 in the given order.
    pub(crate) fn new<'s, S: AsFd + 's>(sockets: impl IntoIterator<Item = &'s S>) -> Res<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let late =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).map_err(failed)?;
        epoll::add(&poll, &late, EventData::new_u64(LATE), EventFlags::IN).map_err(failed)?;
        let mut count = 0;
        for socket in sockets {
            epoll::add(&poll, socket, EventData::new_u64(count), EventFlags::IN).map_err(failed)?;
            count += 1;
        }
        Ok(Self { poll, events: Vec::with_capacity(count as usize + 1), late })
    }

    /// Sets the deadline for all subsequent waits to the current time plus `time`.
    pub(crate) fn set_deadline(&self, time: Duration) -> Res<()> {
        let it_value =
            Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.late, TimerfdTimerFlags::empty(), &timer).map(drop).map_err(failed)
    }

    /// Waits until at least one socket is readable and returns the numbers of all readable sockets.
    /// Returns an error if the deadline is reached first.
    pub(crate) fn wait(&mut self) -> Res<impl Iterator<Item = usize> + '_> {
        epoll::wait(&self.poll, spare_capacity(&mut self.events), None).map_err(failed)?;
        if self.events.iter().any(|event| event.data.u64() == LATE) {
            return Err("timed out: no reply before the deadline".into());
        }
        Ok(self.events.drain(..).map(|event| event.data.u64() as usize))
    }
}

fn failed(error: Errno) -> String {
    format!("epoll: {error}")
}
