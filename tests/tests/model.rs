//! Compares a session with a simple model that receives the same messages.
//!
//! After each message, the session and the model must have the same fids, with equal paths, kinds
//! and open modes.

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
use model::state::{FIDS, Known, Model, OpenState};
use proptest::collection::vec;
use proptest::prelude::*;

const MSIZE: u32 = 8192;

type Scratched<'v> = Session<'v, Scratch, FidArray<Scratch, FIDS>>;

/// A session, its model, and a buffer for messages.
struct Both<'v> {
    tree: &'v Scratch,
    session: Scratched<'v>,
    model: Model,
    buf: Vec<u8>,
}

impl Both<'_> {
    /// Sends a message to the session and the model and then compares their states.
    fn check(&mut self, message: &Message) {
        // Skip a Tversion that removes multiple files, because the order of the removals is
        // unspecified. The order matters if one removed file is the parent of another.
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

    /// Checks that the session and the model agree on the state of a fid.
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
        // The reply shows how the fid was opened. For example, reading at the maximum offset fails
        // for a directory but not for a file.
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
            OpenState::No if self.model.dialect == Some(Dialect::Linux) => "not to be read",
            OpenState::No => "closed",
            OpenState::File { access: 1, .. } => "not to be read",
            OpenState::File { .. } => "file",
            OpenState::Dir { .. } => "directory",
        };
        assert_eq!(opened, due, "fid {fid}");
        // The session must accept the model's offset. Because the count is 0, the reply either
        // contains no data or reports that the count is invalid. In 9P2000.L, the reply is always
        // an error, because Tread cannot read directories.
        if let OpenState::Dir { at } = known.opened {
            self.ask(&T::Read { fid: Fid(fid), offset: at, count: 0 }, |reply| {
                let elsewhere =
                    matches!(reply, R::Error { ename, .. } if ename == "Can't seek in a directory");
                assert!(!elsewhere, "fid {fid} does not continue at {at}");
            });
        }
    }

    fn ask<X>(&mut self, request: &T<'_>, with: impl FnOnce(R<'_>) -> X) -> X {
        let dialect = self.session.dialect().unwrap_or(Dialect::Legacy);
        let len = request.encode(Tag(7), dialect, &mut self.buf).unwrap();
        let frame = self.answer(len);
        with(R::decode(&frame, dialect).unwrap().1)
    }

    /// Answers a message in the same way as the server: without a future if possible. The tree is
    /// in memory, so its futures never wait.
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

    /// Returns the inode number of a path. Accesses the tree directly, without the session.
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
        // Create some files first, because a short random sequence would rarely create a file and
        // then use it.
        for message in Message::setup() {
            both.check(&message);
        }
        for message in &messages {
            both.check(message);
        }
    }
}
