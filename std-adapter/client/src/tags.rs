//! The tags of a connection. A tag identifies one request until the caller takes the reply or the
//! server replies to a flush of the request.

use std::task::Waker;

use bytes::Bytes;
use datakit_core::wire::{Fid as FidNumber, Tag};

use super::error::{Error, ProtocolError, Result};

/// The effect of a reply on fids and tags, whether or not a caller is still waiting for the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnReply {
    Nothing,
    /// The request is a Tattach or a Twalk with `names` names. If the request succeeds, the fid has
    /// been created.
    CreatesFid {
        fid: FidNumber,
        names: u16,
    },
    /// The request is a Tclunk or a Tremove. Any reply frees the fid.
    FreesFid(FidNumber),
    /// The request is a Tflush. Any reply frees the tag of the flushed request.
    FreesTag(Tag),
}

enum TagState {
    Free,
    /// A caller is waiting for the reply, which has not arrived yet.
    Waiting(OnReply, Waker),
    /// The reply has arrived, but the caller has not taken it yet.
    Answered(OnReply, Bytes),
    /// The caller has dropped the request, which is being flushed. The tag is in use until Rflush
    /// arrives. The value is `None` if the reply arrived before Rflush.
    Flushing(Option<OnReply>),
    /// The request is a clunk or a flush. No caller is waiting for the reply.
    Background(OnReply),
}

/// The action to take when a reply arrives.
pub(crate) enum ReplyAction {
    /// Wake the caller after releasing the lock.
    Wake(Waker),
    /// Apply the effect immediately, because no caller is waiting.
    Apply(OnReply),
}

/// All tags of a connection.
#[derive(Default)]
pub(crate) struct TagPool {
    states: Vec<TagState>,
    free: Vec<u16>,
}

impl TagPool {
    /// Allocates a tag for a request.
    pub(crate) fn acquire(&mut self, on_reply: OnReply) -> Result<Tag> {
        let state = TagState::Waiting(on_reply, Waker::noop().clone());
        if let Some(number) = self.free.pop() {
            self.set_state(Tag(number), state);
            return Ok(Tag(number));
        }
        let number =
            u16::try_from(self.states.len()).ok().filter(|number| Tag(*number) != Tag::NONE);
        let number =
            number.ok_or(Error::Unsupported("65535 requests are already waiting for replies"))?;
        self.states.push(state);
        Ok(Tag(number))
    }

    /// Records that the caller has dropped a request and that the request is being flushed. The tag
    /// remains in use until [`TagPool::flushed`] is called.
    pub(crate) fn start_flush(&mut self, tag: Tag) {
        if let Some(on_reply) = self.pending_effect(tag) {
            self.set_state(tag, TagState::Flushing(Some(on_reply)));
        }
    }

    /// Records that no caller is waiting for the reply to a request. The tag remains in use until
    /// the reply arrives.
    pub(crate) fn detach(&mut self, tag: Tag) {
        if let Some(on_reply) = self.pending_effect(tag) {
            self.set_state(tag, TagState::Background(on_reply));
        }
    }

    fn pending_effect(&self, tag: Tag) -> Option<OnReply> {
        match self.states.get(usize::from(tag.0)) {
            Some(TagState::Waiting(on_reply, _) | TagState::Flushing(Some(on_reply))) => {
                Some(*on_reply)
            }
            _ => None,
        }
    }

    /// Frees a tag whose request was not sent or whose reply has been taken.
    pub(crate) fn release(&mut self, tag: Tag) {
        if !matches!(self.replace(tag, TagState::Free), TagState::Free) {
            self.free.push(tag.0);
        }
    }

    /// Takes the reply to a request, if it has arrived, and frees the tag.
    ///
    /// If no reply has arrived, `waker` is swapped with the previously stored waker. The caller
    /// must release the lock before dropping `waker`.
    pub(crate) fn poll_reply(&mut self, tag: Tag, waker: &mut Waker) -> Option<(OnReply, Bytes)> {
        match self.states.get_mut(usize::from(tag.0))? {
            TagState::Waiting(_, known) => std::mem::swap(known, waker),
            TagState::Answered(on_reply, frame) => {
                let reply = (*on_reply, std::mem::take(frame));
                self.release(tag);
                return Some(reply);
            }
            _ => {}
        }
        None
    }

    /// Stores a received reply.
    pub(crate) fn receive(
        &mut self,
        tag: Tag,
        frame: &Bytes,
    ) -> Result<ReplyAction, ProtocolError> {
        match self.replace(tag, TagState::Free) {
            TagState::Waiting(on_reply, waker) => {
                self.set_state(tag, TagState::Answered(on_reply, frame.clone()));
                Ok(ReplyAction::Wake(waker))
            }
            TagState::Flushing(Some(on_reply)) => {
                self.set_state(tag, TagState::Flushing(None));
                Ok(ReplyAction::Apply(on_reply))
            }
            TagState::Background(on_reply) => {
                self.free.push(tag.0);
                Ok(ReplyAction::Apply(on_reply))
            }
            other => {
                self.set_state(tag, other);
                Err(ProtocolError::UnknownTag(tag.0))
            }
        }
    }

    /// Frees the tag of a flushed request after Rflush. Returns the pending effect if no reply to
    /// the request has arrived.
    pub(crate) fn flushed(&mut self, oldtag: Tag) -> Option<OnReply> {
        match self.replace(oldtag, TagState::Free) {
            TagState::Flushing(on_reply) => {
                self.free.push(oldtag.0);
                on_reply
            }
            other => {
                self.set_state(oldtag, other);
                None
            }
        }
    }

    /// Returns the wakers of all waiting callers.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let waiting = |state: &TagState| {
            if let TagState::Waiting(_, waker) = state { Some(waker.clone()) } else { None }
        };
        self.states.iter().filter_map(waiting).collect()
    }

    fn set_state(&mut self, tag: Tag, state: TagState) {
        self.replace(tag, state);
    }

    /// Replaces the state of a tag. Tags that have never been used are free.
    fn replace(&mut self, tag: Tag, state: TagState) -> TagState {
        self.states
            .get_mut(usize::from(tag.0))
            .map_or(TagState::Free, |known| std::mem::replace(known, state))
    }
}
