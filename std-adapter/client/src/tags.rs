//! Which tag belongs to which request, until its reply has been taken or its flush answered.

use std::task::Waker;

use bytes::Bytes;
use datakit_core::wire::{Fid, Tag};

use super::error::{Error, Result};

/// What the reply to a request changes, whether somebody still waits for it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// Tattach, and Twalk of so many names: success makes the fid.
    Makes {
        fid: Fid,
        names: u16,
    },
    /// Tclunk and Tremove: any reply frees the fid.
    Frees(Fid),
    /// Tflush: any reply frees this tag.
    Flushes(Tag),
}

enum Slot {
    Free,
    /// Somebody waits for the reply.
    Waiting(Then, Waker),
    /// The reply is here.
    Answered(Then, Bytes),
    /// Nobody waits; for a request that is being flushed, the tag is busy until Rflush (`None`: its
    /// reply came before).
    Left(Option<Then>),
    /// Nobody ever waited: a clunk, a flush.
    Background(Then),
}

/// Whom a reply concerns.
pub(crate) enum Answer {
    /// Who waits for it; to be woken without a lock held.
    Wakes(Waker),
    /// Nobody: what it changes is settled at once.
    Settles(Then),
}

/// All tags of a connection.
#[derive(Default)]
pub(crate) struct Tags {
    slots: Vec<Slot>,
    free: Vec<u16>,
}

impl Tags {
    /// A free tag for a request.
    pub(crate) fn take(&mut self, then: Then) -> Result<Tag> {
        let slot = Slot::Waiting(then, Waker::noop().clone());
        if let Some(number) = self.free.pop() {
            self.put(Tag(number), slot);
            return Ok(Tag(number));
        }
        let number =
            u16::try_from(self.slots.len()).ok().filter(|number| Tag(*number) != Tag::NONE);
        let number = number.ok_or(Error::Unsupported("all tags wait for replies"))?;
        self.slots.push(slot);
        Ok(Tag(number))
    }

    /// Nobody waits any more, and the request is being flushed: busy until [`Tags::flushed`].
    pub(crate) fn leave(&mut self, tag: Tag) {
        if let Some(then) = self.waiting(tag) {
            self.put(tag, Slot::Left(Some(then)));
        }
    }

    /// Nobody waits for the reply: busy until it is here.
    pub(crate) fn background(&mut self, tag: Tag) {
        if let Some(then) = self.waiting(tag) {
            self.put(tag, Slot::Background(then));
        }
    }

    fn waiting(&self, tag: Tag) -> Option<Then> {
        match self.slots.get(usize::from(tag.0)) {
            Some(Slot::Waiting(then, _) | Slot::Left(Some(then))) => Some(*then),
            _ => None,
        }
    }

    pub(crate) fn free(&mut self, tag: Tag) {
        if !matches!(self.replace(tag, Slot::Free), Slot::Free) {
            self.free.push(tag.0);
        }
    }

    /// The reply of a request somebody waits for, once it is there; frees the tag.
    ///
    /// Takes `waker` and leaves the one it replaces, to be dropped without a lock held.
    pub(crate) fn poll(&mut self, tag: Tag, waker: &mut Waker) -> Option<(Then, Bytes)> {
        match self.slots.get_mut(usize::from(tag.0))? {
            Slot::Waiting(_, known) => std::mem::swap(known, waker),
            Slot::Answered(then, frame) => {
                let taken = (*then, std::mem::take(frame));
                self.free(tag);
                return Some(taken);
            }
            _ => {}
        }
        None
    }

    /// A reply has come.
    pub(crate) fn reply(&mut self, tag: Tag, frame: &Bytes) -> Result<Answer> {
        match self.replace(tag, Slot::Free) {
            Slot::Waiting(then, waker) => {
                self.put(tag, Slot::Answered(then, frame.clone()));
                Ok(Answer::Wakes(waker))
            }
            Slot::Left(Some(then)) => {
                self.put(tag, Slot::Left(None));
                Ok(Answer::Settles(then))
            }
            Slot::Background(then) => {
                self.free.push(tag.0);
                Ok(Answer::Settles(then))
            }
            other => {
                self.put(tag, other);
                Err(Error::protocol(format_args!(
                    "a reply with tag {}, which no request has",
                    tag.0
                )))
            }
        }
    }

    /// Rflush has come: the tag is free. Returns what the request would have changed, if it was
    /// never answered.
    pub(crate) fn flushed(&mut self, oldtag: Tag) -> Option<Then> {
        match self.replace(oldtag, Slot::Free) {
            Slot::Left(then) => {
                self.free.push(oldtag.0);
                then
            }
            other => {
                self.put(oldtag, other);
                None
            }
        }
    }

    /// Everybody who waits.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let waiting = |slot: &Slot| {
            if let Slot::Waiting(_, waker) = slot { Some(waker.clone()) } else { None }
        };
        self.slots.iter().filter_map(waiting).collect()
    }

    fn put(&mut self, tag: Tag, slot: Slot) {
        self.replace(tag, slot);
    }

    /// A tag that was never given out reads as free.
    fn replace(&mut self, tag: Tag, slot: Slot) -> Slot {
        self.slots
            .get_mut(usize::from(tag.0))
            .map_or(Slot::Free, |known| std::mem::replace(known, slot))
    }
}
