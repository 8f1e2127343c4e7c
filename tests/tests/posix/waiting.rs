//! Tests for clunking or removing a fid while reads from it are blocked on a stream.

use datakit_core::files::{Live as CoreLive, StreamFile};
use datakit_core::vfs::{self, StaticTree};
use datakit_core::wire::{Dialect, Fid, List, Str, Tag, Tmessage as T};

use datakit_tests::db::TestDb;

use crate::*;

/// Opens the `live` stream as `fid` and sends a read that blocks.
fn send_waiting_read(client: &mut WireClient, fid: u32, tag: Tag) {
    client.open_path(fid, "live", 0);
    assert_eq!(client.read(fid, 0, 100).unwrap(), b"0\n");
    assert_eq!(client.read(fid, 2, 100).unwrap(), b"");
    client.send(tag, &T::Read { fid: Fid(fid), offset: 2, count: 100 });
}

static LIVE: CoreLive<u32> = CoreLive::new(0);
static FILE: StreamFile<'_, u32> = LIVE.file(|value, out| writeln!(out, "{value}"));
static ROOT: vfs::Dir = vfs::Dir::new(&[vfs::file("live", &FILE), vfs::file("other", &FILE)]);

#[test]
fn a_waiting_read_fails_when_its_fid_is_clunked() {
    let (live, dynamic) = dynamic();
    let fixed = serve(Limits::default(), |_| StaticTree::<80, 64>::new(&ROOT));
    for (served, other) in [(&dynamic, "text"), (&fixed, "other")] {
        for dialect in ALL {
            let mut client = client(served, dialect);
            let wnames = [Str(b""), Str(b"")];
            let ways = [
                T::Clunk { fid: Fid(1) },
                // The file cannot be removed, but even a failed Tremove clunks the fid.
                T::Remove { fid: Fid(1) },
                T::Walk { fid: Fid(1), newfid: Fid(1), wnames: List::from(&wnames[..0]) },
            ];
            for way in ways {
                send_waiting_read(&mut client, 1, Tag(7));
                let done = client.rpc(&way);
                assert_eq!(done.is_ok(), !matches!(way, T::Remove { .. }), "{done:?}");
                let (tag, reply) = client.reply();
                assert_eq!(tag, Tag(7));
                let (_, number) = reply.unwrap_err();
                assert_eq!(number, if dialect == Dialect::Legacy { 0 } else { EBADF }, "{way:?}");
                if matches!(way, T::Walk { .. }) {
                    client.clunk(1).unwrap();
                }
            }
            client.open_path(1, other, 0);
        }
    }
    assert_eq!(live.reader_count(), 0);
}

#[test]
fn clunked_streams_free_their_request_slots() {
    let (live, dynamic) = dynamic();
    let fixed = serve(Limits::default(), |_| StaticTree::<80, 64>::new(&ROOT));
    for served in [&dynamic, &fixed] {
        let mut client = client(served, Dialect::Unix);
        for round in 0..200 {
            send_waiting_read(&mut client, 1, Tag(1000 + round));
            client.clunk(1).unwrap();
            let (tag, reply) = client.reply();
            assert_eq!((tag, errno(reply)), (Tag(1000 + round), EBADF));
        }
        // Let many reads block at the same time, and then clunk all of their fids.
        let fids = 1..=60u16;
        for fid in fids.clone() {
            send_waiting_read(&mut client, fid.into(), Tag(fid + 100));
        }
        for fid in fids.clone() {
            client.send(Tag(2000 + fid), &T::Clunk { fid: Fid(fid.into()) });
        }
        let mut replies: Vec<(u16, bool)> = fids
            .clone()
            .chain(fids.clone())
            .map(|_| client.reply())
            .map(|(tag, reply)| (tag.0, reply.is_ok()))
            .collect();
        replies.sort_unstable();
        let due =
            fids.clone().map(|fid| (fid + 100, false)).chain(fids.map(|fid| (fid + 2000, true)));
        assert!(replies.into_iter().eq(due));
    }
    assert_eq!(live.reader_count(), 0);
}

#[test]
fn a_waiting_read_of_the_database_fails_when_its_fid_is_clunked() {
    let place = TestDb::memory();
    place.connect().master().commit(&[("a", "1")]);
    for dialect in ALL {
        let mut client = place.raw(dialect);
        for (path, delivers) in [
            ("branch/master/head.live", true),
            ("branch/master/reflog", false),
            ("branch/master/watch/tree.live", true),
        ] {
            client.open_path(1, path, 0);
            let mut offset = 0;
            if delivers {
                offset = client.read(1, 0, 4000).unwrap().len() as u64;
                assert_eq!(client.read(1, offset, 4000).unwrap(), b"", "the mark");
            }
            client.send(Tag(7), &T::Read { fid: Fid(1), offset, count: 100 });
            client.clunk(1).unwrap();
            let (tag, reply) = client.reply();
            assert_eq!((tag, reply.is_err()), (Tag(7), true), "{path}");
        }
    }
}

#[test]
fn a_waiting_read_survives_the_clunk_of_other_fids() {
    let (live, dynamic) = dynamic();
    let mut client = client(&dynamic, Dialect::Unix);
    send_waiting_read(&mut client, 1, Tag(7));
    for _ in 0..3 {
        send_waiting_read(&mut client, 2, Tag(8));
        client.clunk(2).unwrap();
        assert_eq!(client.reply().0, Tag(8));
    }
    live.publish(1);
    let (tag, reply) = client.reply();
    assert_eq!((tag, reply.is_ok()), (Tag(7), true));
    client.clunk(1).unwrap();
}
