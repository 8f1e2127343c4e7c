//! Tests for files whose reads and writes are performed by a task. The tests access the files over
//! a socket. Each test runs with a static tree and with a desktop server's dynamic tree, and
//! answers the requests itself, in place of a task.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use datakit_core::files::{FileRequest, FileRequests, Operation};
use datakit_core::vfs::{Dir, Error, StaticTree, async_file, file};
use datakit_core::wire::{self, Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_server::Limits;
use datakit_server::tree::{CoreDir, Tree};
use datakit_tests::wire_client::{Refusal, WireClient};
use datakit_tests::{Served, TIMEOUT, serve, within};

type Requests = FileRequests<4, 16>;

/// The OREAD and ORDWR mode bytes.
const READ: u8 = 0;
const READ_WRITE: u8 = 2;

/// Calls `test` for each kind of tree, passing a server and the requests for its files. The root
/// contains two files: `limit`, which has number 1, and `value`, which is read-only and has number
/// 2.
macro_rules! for_each_tree {
    ($test:expr) => {{
        static REQUESTS: Requests = Requests::new();
        static ROOT: Dir = Dir::new(&[
            async_file("limit", &REQUESTS.file(1)),
            async_file("value", &REQUESTS.file(2).read_only()),
            file("name", &datakit_core::files::Doc::new("sensor")),
        ]);
        let test = $test;
        test(serve(Limits::default(), |_| StaticTree::<8, 64, _>::new_async(&ROOT)), &REQUESTS);
        test(serve(Limits::default(), |_| Tree::new(CoreDir::new(&ROOT))), &REQUESTS);
    }};
}

/// Waits for the next request to the task.
fn next(requests: &'static Requests) -> FileRequest<'static, 4, 16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let next = async { tokio::time::timeout(TIMEOUT, requests.next()).await };
    runtime.block_on(next).expect("a request to the task")
}

/// Waits until a request that the task has started is cancelled.
fn wait_for_cancellation(request: &FileRequest<'_, 4, 16>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let cancelled = async { tokio::time::timeout(TIMEOUT, request.cancelled()).await };
    runtime.block_on(cancelled).expect("the request is cancelled");
}

fn attached(served: &Served) -> WireClient {
    WireClient::attached(served.addr, Dialect::Unix, 8192)
}

fn send_read(client: &mut WireClient, tag: u16, fid: u32) {
    client.send(Tag(tag), &Tmessage::Read { fid: Fid(fid), offset: 0, count: 100 });
}

fn send_write(client: &mut WireClient, tag: u16, fid: u32, text: &str) {
    let data = Data(text.as_bytes());
    client.send(Tag(tag), &Tmessage::Write { fid: Fid(fid), offset: 0, data });
}

/// Receives the reply with the given tag, which must be the next message. Returns the data of an
/// Rread, or an empty vector for any other reply.
fn reply(client: &mut WireClient, tag: u16) -> Result<String, Refusal> {
    let (got, reply) = client.reply();
    assert_eq!(got, Tag(tag));
    Ok(match Rmessage::decode(&reply?, client.dialect).unwrap().1 {
        Rmessage::Read { data } => String::from_utf8(data.0.to_vec()).unwrap(),
        _ => String::new(),
    })
}

#[test]
fn reads_and_writes_wait_for_the_task() {
    for_each_tree!(|served: Served, requests| {
        for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
            let mut client = WireClient::attached(served.addr, dialect, 8192);
            client.open_path(1, "limit", READ_WRITE);
            send_write(&mut client, 5, 1, "250\n");
            let request = next(requests);
            assert_eq!((request.file(), request.operation()), (1, Operation::Write("250")));
            request.finish(Ok(()));
            assert_eq!(reply(&mut client, 5), Ok(String::new()));
            send_read(&mut client, 5, 1);
            let request = next(requests);
            assert_eq!((request.file(), request.operation()), (1, Operation::Read));
            request.reply(|out| out.write_str("250\n"));
            assert_eq!(reply(&mut client, 5), Ok("250\n".into()));
            assert_eq!(client.read(1, 4, 100).unwrap(), b"");
        }
    });
}

#[test]
fn refusal_of_the_task_reaches_the_client() {
    for_each_tree!(|served: Served, requests| {
        let mut client = attached(&served);
        client.open_path(1, "limit", READ_WRITE);
        let refusal = || Err(Error::Range.with_message("400 is above 300"));
        let expected: Refusal = ("400 is above 300".into(), 34);
        send_write(&mut client, 5, 1, "400\n");
        next(requests).finish(refusal());
        assert_eq!(reply(&mut client, 5), Err(expected.clone()));
        // A clunk completes a value without a newline and returns the error.
        client.write(1, 0, b"400").unwrap();
        client.send(Tag(6), &Tmessage::Clunk { fid: Fid(1) });
        let request = next(requests);
        assert_eq!(request.operation(), Operation::Write("400"));
        request.finish(refusal());
        assert_eq!(reply(&mut client, 6), Err(expected));
        assert!(client.clunk(1).is_err(), "the fid is free");
    });
}

#[test]
fn p17_request_to_a_task_delays_no_other_request() {
    for_each_tree!(|served: Served, requests| {
        let (mut first, mut second) = (attached(&served), attached(&served));
        first.open_path(1, "limit", READ_WRITE);
        send_write(&mut first, 5, 1, "1\n");
        let request = next(requests);
        for client in [&mut first, &mut second] {
            client.open_path(2, "name", READ);
            assert_eq!(client.read(2, 0, 100).unwrap(), b"sensor\n");
            client.clunk(2).unwrap();
        }
        second.open_path(1, "value", READ);
        send_read(&mut second, 6, 1);
        request.finish(Ok(()));
        next(requests).reply(|out| out.write_str("7\n"));
        assert_eq!(reply(&mut first, 5), Ok(String::new()));
        assert_eq!(reply(&mut second, 6), Ok("7\n".into()));
    });
}

#[test]
fn p16_flush_cancels_a_request_to_a_task() {
    for_each_tree!(|served: Served, requests| {
        let mut client = attached(&served);
        client.open_path(1, "limit", READ_WRITE);
        // The task has not started the second request.
        send_write(&mut client, 5, 1, "1\n");
        let request = next(requests);
        send_write(&mut client, 6, 1, "2\n");
        client.send(Tag(7), &Tmessage::Flush { oldtag: Tag(6) });
        assert_eq!(reply(&mut client, 7), Ok(String::new()));
        // The task has started the first request.
        assert!(!request.is_cancelled());
        client.send(Tag(7), &Tmessage::Flush { oldtag: Tag(5) });
        assert_eq!(reply(&mut client, 7), Ok(String::new()));
        wait_for_cancellation(&request);
        // The next request uses the same tag and gets its own reply.
        send_read(&mut client, 5, 1);
        request.finish(Err(Error::Io));
        let request = next(requests);
        assert_eq!(request.operation(), Operation::Read, "the second request was dropped");
        request.reply(|out| out.write_str("3\n"));
        assert_eq!(reply(&mut client, 5), Ok("3\n".into()));
        client.clunk(1).unwrap();
    });
}

#[test]
fn p20_lost_connection_cancels_its_requests_to_a_task() {
    for_each_tree!(|served: Served, requests| {
        let mut client = attached(&served);
        client.open_path(1, "limit", READ_WRITE);
        client.open_path(2, "limit", READ_WRITE);
        client.write(2, 0, b"unfinished").unwrap();
        send_write(&mut client, 5, 1, "1\n");
        let request = next(requests);
        send_write(&mut client, 6, 1, "2\n");
        client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        drop(client);
        wait_for_cancellation(&request);
        drop(request);
        within(TIMEOUT, "the connection is gone", || served.stats.connections() == 0);
        assert!(requests.take_next().is_none());
        // All entries in the channel are free again.
        let mut client = attached(&served);
        client.open_path(1, "value", READ);
        for tag in 0..4 {
            send_read(&mut client, tag, 1);
        }
        for tag in 0..4 {
            next(requests).reply(|out| write!(out, "{tag}"));
            assert_eq!(reply(&mut client, tag), Ok(tag.to_string()));
        }
    });
}

#[test]
fn request_that_finds_no_room_fails_at_once() {
    for_each_tree!(|served: Served, requests| {
        let (mut first, mut second) = (attached(&served), attached(&served));
        for client in [&mut first, &mut second] {
            for fid in 1..=4 {
                client.open_path(fid, "value", READ);
            }
        }
        for fid in 1..=4 {
            send_read(&mut first, 10 + fid, fid.into());
        }
        let request = next(requests);
        // When the server answers this later request on the same connection, it has already
        // received the reads.
        assert!(first.rpc(&Tmessage::Stat { fid: Fid(0) }).is_ok());
        let text = "all 4 requests to the task are in use; try again";
        let full: Refusal = (text.into(), 11);
        send_read(&mut second, 5, 1);
        assert_eq!(reply(&mut second, 5), Err(full));
        request.reply(|out| out.write_str("1\n"));
        first.receive().unwrap();
        send_read(&mut second, 5, 1);
        for _ in 0..3 {
            next(requests).reply(|out| out.write_str("2\n"));
            first.receive().unwrap();
        }
        next(requests).reply(|out| out.write_str("3\n"));
        assert_eq!(reply(&mut second, 5), Ok("3\n".into()));
    });
}

#[test]
fn clunk_fails_the_waiting_requests_of_a_static_tree() {
    static REQUESTS: Requests = Requests::new();
    static ROOT: Dir = Dir::new(&[async_file("limit", &REQUESTS.file(1))]);
    let served = serve(Limits::default(), |_| StaticTree::<8, 64, _>::new_async(&ROOT));
    let mut client = attached(&served);
    client.open_path(1, "limit", READ_WRITE);
    send_write(&mut client, 5, 1, "1\n");
    let request = next(&REQUESTS);
    client.send(Tag(6), &Tmessage::Clunk { fid: Fid(1) });
    let mut replies = [client.reply(), client.reply()];
    replies.sort_by_key(|(tag, _)| tag.0);
    assert_eq!((replies[0].0, replies[1].0), (Tag(5), Tag(6)));
    assert_eq!(replies[0].1.as_ref().unwrap_err().1, 9, "EBADF");
    assert_eq!(wire::kind(replies[1].1.as_ref().unwrap()), wire::RCLUNK);
    wait_for_cancellation(&request);
    // A cancelled clunk also frees its fid and cancels its request.
    drop(request);
    client.open_path(1, "limit", READ_WRITE);
    client.write(1, 0, b"1").unwrap();
    client.send(Tag(6), &Tmessage::Clunk { fid: Fid(1) });
    let request = next(&REQUESTS);
    client.send(Tag(7), &Tmessage::Flush { oldtag: Tag(6) });
    assert_eq!(reply(&mut client, 7), Ok(String::new()));
    wait_for_cancellation(&request);
    client.open_path(1, "limit", READ_WRITE);
}
