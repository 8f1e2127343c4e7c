//! A session and a naive model are sent the same messages: after each one they agree on which fids
//! there are and what each stands for, by path, kind, and open or not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod model {
    pub mod messages;
    pub mod state;
}

use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{Name, Vfs};
use datakit_core::wire::{Dialect, Fid, Qid, Rmessage as R, Tag, Tmessage as T};
use datakit_server::scratch::Scratch;
use embassy_futures::block_on;
use model::messages::{Message, Version, message};
use model::state::{FIDS, Known, Model, Opened};
use proptest::collection::vec;
use proptest::prelude::*;

const MSIZE: u32 = 8192;

type Scratched<'v> = Session<'v, Scratch, FidArray<Scratch, FIDS>>;

/// Both sides, and where the replies go.
struct Both<'v> {
    tree: &'v Scratch,
    session: Scratched<'v>,
    model: Model,
    buf: Vec<u8>,
}

impl Both<'_> {
    /// A message for both sides, then all that can be asked without changing anything.
    fn check(&mut self, message: &Message) {
        // Of two that go at once one may be in the other, and which goes first is not promised.
        if matches!(message, Message::Version(_)) && self.model.leaving().len() > 1 {
            return;
        }
        let len = message.encode(&self.model, &mut self.buf);
        let answered = self.answer(len);
        let dialect = self.session.dialect().unwrap_or(Dialect::Legacy);
        let (_, reply) = R::decode(&answered, dialect).unwrap();
        let refused = matches!(reply, R::Error { .. } | R::Lerror { .. });
        let due = self.model.apply(message, &reply);
        assert_eq!(refused, due.is_none(), "{message:?} got {reply:?}");
        assert_eq!(self.session.fids(), self.model.fids.len(), "fids after {message:?}");
        let known: Vec<(u32, Known)> =
            self.model.fids.iter().map(|(fid, known)| (*fid, known.clone())).collect();
        for (fid, known) in known {
            self.probe(fid, &known);
        }
    }

    /// What the session says of a fid.
    fn probe(&mut self, fid: u32, known: &Known) {
        let node = &self.model.nodes[&known.ino];
        let (name, dir) = (node.name.clone(), node.entries.is_some());
        let stat = match self.model.dialect {
            Some(Dialect::Linux) => T::Getattr { fid: Fid(fid), mask: !0 },
            _ => T::Stat { fid: Fid(fid) },
        };
        let qid = self.ask(&stat, |reply| match reply {
            R::Getattr { attr } => attr.qid,
            R::Stat { stat } => {
                assert!(stat.name == name.as_str(), "fid {fid} is {}, not {name}", stat.name);
                stat.qid
            }
            refused => panic!("fid {fid} has no attributes: {refused:?}"),
        });
        assert_eq!(
            (qid.path, qid.kind == Qid::DIR),
            (known.ino, dir),
            "fid {fid} should be {name}"
        );
        if let Some(path) = self.model.path(known.ino) {
            assert_eq!(self.resolve(&path), known.ino, "fid {fid} should be {path:?}");
        }
        // No read goes on there: what kind of open file it is shows in the refusal.
        let opened =
            self.ask(&T::Read { fid: Fid(fid), offset: u64::MAX, count: 0 }, |reply| match reply {
                R::Read { .. } => "file",
                R::Lerror { ecode: 9 } => "not to be read",
                R::Lerror { ecode: 21 } => "directory",
                R::Error { ename, .. } if ename == "Can't read from unopened fid" => "closed",
                R::Error { ename, .. } if ename == "Bad file descriptor" => "not to be read",
                R::Error { ename, .. } if ename == "Can't seek in a directory" => "directory",
                other => panic!("fid {fid}: {other:?}"),
            });
        let due = match known.opened {
            Opened::No if self.model.dialect == Some(Dialect::Linux) => "not to be read",
            Opened::No => "closed",
            Opened::File { access: 1, .. } => "not to be read",
            Opened::File { .. } => "file",
            Opened::Dir { .. } => "directory",
        };
        assert_eq!(opened, due, "fid {fid}");
        // Where a directory goes on: too short a read says so, or that it is the end. In .L there
        // is no such place.
        if let Opened::Dir { at } = known.opened {
            self.ask(&T::Read { fid: Fid(fid), offset: at, count: 0 }, |reply| {
                let elsewhere =
                    matches!(reply, R::Error { ename, .. } if ename == "Can't seek in a directory");
                assert!(!elsewhere, "fid {fid} does not go on at {at}");
            });
        }
    }

    fn ask<X>(&mut self, request: &T<'_>, with: impl FnOnce(R<'_>) -> X) -> X {
        let dialect = self.session.dialect().unwrap_or(Dialect::Legacy);
        let len = request.encode(Tag(7), dialect, &mut self.buf).unwrap();
        let frame = self.answer(len);
        with(R::decode(&frame, dialect).unwrap().1)
    }

    /// As the server asks: at once, or with a wait, which ends at once on a tree in memory.
    fn answer(&mut self, len: usize) -> Vec<u8> {
        let frame = self.buf[..len].to_vec();
        let n = match self.session.try_answer_now(&frame, &mut self.buf) {
            Some(n) => n,
            None => {
                self.buf[..len].copy_from_slice(&frame);
                block_on(self.session.answer(&mut self.buf, len))
            }
        };
        self.buf[..n].to_vec()
    }

    /// The number of what is at a path of the tree, without a session.
    fn resolve(&self, path: &[String]) -> u64 {
        let mut inode = self.tree.root();
        for name in path {
            inode =
                block_on(self.tree.lookup(&inode, Name::new(name.as_bytes()).unwrap())).unwrap();
        }
        self.tree.id(&inode).ino
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_agrees_with_a_model(dialect in 0..3u8, messages in vec(message(), 1..80)) {
        let tree = Scratch::new();
        let session = Session::new(&tree, FidArray::new(), Limits::new(MSIZE));
        let model = Model::new(tree.id(&tree.root()).ino);
        let mut both = Both { tree: &tree, session, model, buf: vec![0; MSIZE as usize] };
        let spoken = [Version::Legacy, Version::Unix, Version::Linux][usize::from(dialect)];
        both.check(&Message::Version(spoken));
        // `a/b` and a file, so that short sequences find something.
        for message in Message::beginning() {
            both.check(&message);
        }
        for message in &messages {
            both.check(message);
        }
    }
}
