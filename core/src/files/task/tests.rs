use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::vfs::{AsyncTree, Dir, Handle, Name, OpenMode, StaticTree, Vfs, async_file, file};

type Tree = StaticTree<8, 16, AsyncTree>;
type Requests = FileRequests<3, 12>;
type Transferred<'t> = Pin<Box<dyn Future<Output = Result<String>> + 't>>;

/// A tree with a `limit` file (number 2) and a read-only `value` file (number 5).
macro_rules! tree {
    ($requests:ident) => {{
        static $requests: Requests = Requests::new();
        static ROOT: Dir = Dir::new(&[
            async_file("limit", &$requests.file(2).doc("upper limit")),
            async_file("value", &$requests.file(5).read_only()),
        ]);
        (Tree::new_async(&ROOT), &$requests)
    }};
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the result of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the future waits"),
    }
}

fn open<K>(tree: &StaticTree<8, 16, K>, name: &str) -> Handle
where
    StaticTree<8, 16, K>: Vfs<Inode = crate::vfs::PackedPath, Open = Handle>,
{
    let inode = now(tree.lookup(&tree.root(), Name::new(name.as_bytes()).unwrap())).unwrap();
    now(tree.open(&inode, OpenMode::READ_WRITE)).unwrap()
}

/// Starts a read.
fn read(tree: &Tree, open: Handle, offset: u64) -> Transferred<'_> {
    Box::pin(async move {
        let mut buf = [0; 8];
        let count = tree.read(&open, offset, &mut buf).await?;
        Ok(String::from_utf8(buf[..count].to_vec()).unwrap())
    })
}

/// Starts a write, whose result is the number of bytes written.
fn write<'t>(tree: &'t Tree, open: Handle, offset: u64, text: &'t str) -> Transferred<'t> {
    Box::pin(async move { tree.write(&open, offset, text.as_bytes()).await.map(|n| n.to_string()) })
}

/// Starts a flush.
fn flush(tree: &Tree, open: Handle) -> Transferred<'_> {
    Box::pin(async move { tree.flush(&open).await.map(|()| String::new()) })
}

fn ready(text: &str) -> Poll<Result<String>> {
    Poll::Ready(Ok(text.into()))
}

fn error(polled: Poll<Result<String>>) -> String {
    match polled {
        Poll::Ready(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_read_of_the_task_serves_all_reads_of_a_text() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "value");
    let mut first = read(&tree, open, 0);
    assert!(poll(&mut first).is_pending());
    let request = requests.take_next().unwrap();
    assert_eq!((request.file(), request.operation()), (5, Operation::Read));
    assert!(poll(&mut first).is_pending());
    request.reply(|out| out.write_str("123456789\n"));
    assert_eq!(poll(&mut first), ready("12345678"));
    assert_eq!(poll(&mut read(&tree, open, 8)), ready("9\n"));
    assert_eq!(poll(&mut read(&tree, open, 10)), ready(""));
    assert!(requests.take_next().is_none());
    // A read at offset 0 makes a new request.
    let mut again = read(&tree, open, 0);
    assert!(poll(&mut again).is_pending());
    requests.take_next().unwrap().reply(|out| out.write_str("1\n"));
    assert_eq!(poll(&mut again), ready("1\n"));
}

#[test]
fn write_waits_for_the_result_of_the_task() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    for (result, expected) in
        [(Ok(()), ready("5")), (Err(Error::Busy), Poll::Ready(Err(Error::Busy)))]
    {
        let mut writing = write(&tree, open, 0, " 250\n");
        assert!(poll(&mut writing).is_pending());
        let request = requests.take_next().unwrap();
        assert_eq!((request.file(), request.operation()), (2, Operation::Write("250")));
        request.finish(result);
        assert_eq!(poll(&mut writing), expected);
    }
    assert_eq!(poll(&mut flush(&tree, open)), ready(""), "no value is pending");
}

#[test]
fn value_in_pieces_is_complete_at_a_newline_or_a_flush() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    assert_eq!(poll(&mut write(&tree, open, 0, "12")), ready("2"));
    let mut end = write(&tree, open, 2, "34\n");
    assert!(poll(&mut end).is_pending());
    let request = requests.take_next().unwrap();
    assert_eq!(request.operation(), Operation::Write("1234"));
    request.finish(Ok(()));
    assert_eq!(poll(&mut end), ready("3"));
    assert_eq!(poll(&mut write(&tree, open, 0, "56")), ready("2"));
    let mut end = flush(&tree, open);
    assert!(poll(&mut end).is_pending());
    let request = requests.take_next().unwrap();
    assert_eq!(request.operation(), Operation::Write("56"));
    request.finish(Err(Error::Io));
    assert_eq!(poll(&mut end), Poll::Ready(Err(Error::Io)));
    assert!(requests.take_next().is_none());
}

#[test]
fn transfer_sets_the_pending_value_first() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    let mut reading = read(&tree, open, 0);
    let mut writing = write(&tree, open, 0, "9\n");
    for (next, operation, result) in [
        (&mut reading, Operation::Read, ready("5\n")),
        (&mut writing, Operation::Write("9"), ready("2")),
    ] {
        assert_eq!(poll(&mut write(&tree, open, 0, "5")), ready("1"));
        assert!(poll(next).is_pending());
        let request = requests.take_next().unwrap();
        assert_eq!(request.operation(), Operation::Write("5"));
        assert!(requests.take_next().is_none());
        request.finish(Ok(()));
        assert!(poll(next).is_pending());
        let request = requests.take_next().unwrap();
        assert_eq!(request.operation(), operation);
        request.reply(|out| out.write_str("5\n"));
        assert_eq!(poll(next), result);
    }
    // If the task rejects the pending value, the transfer fails without starting.
    assert_eq!(poll(&mut write(&tree, open, 0, "7")), ready("1"));
    let mut reading = read(&tree, open, 0);
    assert!(poll(&mut reading).is_pending());
    requests.take_next().unwrap().finish(Err(Error::Range));
    assert_eq!(poll(&mut reading), Poll::Ready(Err(Error::Range)));
    assert!(requests.take_next().is_none());
}

#[test]
fn read_keeps_a_value_that_is_being_written() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    let mut reading = read(&tree, open, 0);
    assert!(poll(&mut reading).is_pending());
    assert_eq!(poll(&mut write(&tree, open, 0, "12")), ready("2"));
    requests.take_next().unwrap().reply(|out| out.write_str("7\n"));
    assert_eq!(poll(&mut reading), ready("7\n"));
    let mut end = write(&tree, open, 2, "3\n");
    assert!(poll(&mut end).is_pending());
    assert_eq!(requests.take_next().unwrap().operation(), Operation::Write("123"));
}

#[test]
fn requests_are_carried_out_in_order() {
    let (tree, requests) = tree!(REQUESTS);
    let opens: Vec<Handle> = (0..3).map(|_| open(&tree, "value")).collect();
    let mut waiting = opens.iter().map(|open| read(&tree, *open, 0)).collect::<Vec<_>>();
    // The sequence numbers wrap around.
    requests.set_next(u16::MAX - 10);
    for round in 0..30 {
        let first = round % 3;
        for number in 0..3 {
            assert!(poll(&mut waiting[(first + number) % 3]).is_pending());
        }
        let request = requests.take_next().unwrap();
        request.reply(|out| writeln!(out, "{round}"));
        assert_eq!(poll(&mut waiting[first]), ready(&std::format!("{round}\n")));
        waiting[first] = read(&tree, opens[first], 0);
    }
}

#[test]
fn cancelled_request_is_not_carried_out() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    let mut cancelled = write(&tree, open, 0, "1\n");
    assert!(poll(&mut cancelled).is_pending());
    let mut kept = write(&tree, open, 0, "2\n");
    assert!(poll(&mut kept).is_pending());
    drop(cancelled);
    let request = requests.take_next().unwrap();
    assert_eq!(request.operation(), Operation::Write("2"));
    assert!(!request.is_cancelled());
    request.finish(Ok(()));
    assert_eq!(poll(&mut kept), ready("2"));
    assert!(requests.take_next().is_none());
    assert_eq!(poll(&mut flush(&tree, open)), ready(""), "the cancelled value is not pending");
}

#[test]
fn cancelled_request_stays_in_use_until_the_task_is_done() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "value");
    let mut started = read(&tree, open, 0);
    assert!(poll(&mut started).is_pending());
    let request = requests.take_next().unwrap();
    let mut cancelled = Box::pin(request.cancelled());
    assert!(poll(&mut cancelled).is_pending());
    drop(started);
    assert!(poll(&mut cancelled).is_ready());
    drop(cancelled);
    assert!(request.is_cancelled());
    // Each of the other clients receives the reply to its request.
    let mut others = [read(&tree, open, 0), read(&tree, open, 0)];
    for other in &mut others {
        assert!(poll(other).is_pending());
    }
    assert_eq!(
        error(poll(&mut read(&tree, open, 0))),
        "all 3 requests to the task are in use; try again"
    );
    request.reply(|out| out.write_str("old\n"));
    for (other, text) in others.iter_mut().zip(["a\n", "b\n"]) {
        assert!(poll(other).is_pending());
        requests.take_next().unwrap().reply(|out| out.write_str(text));
        assert_eq!(poll(other), ready(text));
    }
    let mut last = read(&tree, open, 0);
    assert!(poll(&mut last).is_pending());
}

#[test]
fn reply_that_no_client_has_read_is_discarded() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "value");
    for _ in 0..5 {
        let mut reading = read(&tree, open, 0);
        assert!(poll(&mut reading).is_pending());
        requests.take_next().unwrap().reply(|out| out.write_str("old\n"));
    }
    let mut reading = read(&tree, open, 0);
    assert!(poll(&mut reading).is_pending());
}

#[test]
fn transfer_fails_when_the_file_is_closed() {
    let (tree, requests) = tree!(REQUESTS);
    let open = open(&tree, "limit");
    let mut writing = write(&tree, open, 0, "1\n");
    assert!(poll(&mut writing).is_pending());
    tree.close(&open);
    assert_eq!(poll(&mut writing), Poll::Ready(Err(Error::BadFile)));
    drop(writing);
    assert!(requests.take_next().is_none());
}

#[test]
fn errors_name_the_limits() {
    let (tree, requests) = tree!(REQUESTS);
    let limit = open(&tree, "limit");
    assert_eq!(
        error(poll(&mut write(&tree, limit, 0, "1234567890123\n"))),
        "a value of this file has at most 12 bytes"
    );
    assert!(now(tree.write(&limit, 0, b"\xff\n")).unwrap_err() == Error::NotUtf8);
    let value = open(&tree, "value");
    assert_eq!(poll(&mut write(&tree, value, 0, "1")), Poll::Ready(Err(Error::ReadOnlyFile)));
    let mut reading = read(&tree, limit, 0);
    assert!(poll(&mut reading).is_pending());
    requests.take_next().unwrap().reply(|out| out.write_str("longer than 12"));
    assert_eq!(poll(&mut reading), Poll::Ready(Err(Error::TextTooLong)));
    let mut reading = read(&tree, limit, 0);
    assert!(poll(&mut reading).is_pending());
    drop(requests.take_next());
    assert_eq!(error(poll(&mut reading)), "the task has dropped the request");
}

#[test]
fn reserved_requests_are_left_to_other_clients() {
    static REQUESTS: FileRequests<4, 8> = FileRequests::new().reserve(2);
    let start = |client| REQUESTS.start(0, Client(client), None).map_err(|error| error.to_string());
    let first = start(1).unwrap();
    start(1).unwrap();
    assert_eq!(
        start(1).unwrap_err(),
        "this connection uses 2 of 4 requests to the task; the rest is reserved for other clients"
    );
    start(2).unwrap();
    assert!(start(2).is_err());
    start(3).unwrap();
    assert_eq!(start(4).unwrap_err(), "all 4 requests to the task are in use; try again");
    REQUESTS.cancel(first);
    assert!(start(1).is_err());
    start(4).unwrap();
}

#[test]
fn tree_of_another_kind_refuses_transfers() {
    static REQUESTS: Requests = Requests::new();
    static VALUE: TaskFile<3, 12> = REQUESTS.file(0);
    static ROOT: Dir = Dir::new(&[async_file("value", &VALUE), file("same", &VALUE)]);
    let tree = StaticTree::<8, 16>::new(&ROOT);
    for name in ["value", "same"] {
        let open = open(&tree, name);
        let refused = "this file needs a StaticTree of the kind AsyncTree";
        assert_eq!(now(tree.read(&open, 0, &mut [0; 4])).unwrap_err().to_string(), refused);
        assert_eq!(now(tree.write(&open, 0, b"1\n")).unwrap_err().to_string(), refused);
    }
}

#[test]
fn task_sleeps_until_a_request_arrives() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    let (tree, requests) = tree!(REQUESTS);
    let (task, client) = (Arc::new(Count(AtomicU32::new(0))), Arc::new(Count(AtomicU32::new(0))));
    let (task_waker, client_waker) = (Waker::from(task.clone()), Waker::from(client.clone()));
    let mut next = Box::pin(requests.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&task_waker)).is_pending());
    let open = open(&tree, "value");
    let mut reading = read(&tree, open, 0);
    let mut cx = Context::from_waker(&client_waker);
    assert!(reading.as_mut().poll(&mut cx).is_pending());
    assert_eq!(task.0.load(Relaxed), 1);
    let Poll::Ready(request) = next.as_mut().poll(&mut Context::from_waker(&task_waker)) else {
        panic!("there is a request")
    };
    let mut cancelled = Box::pin(request.cancelled());
    assert!(cancelled.as_mut().poll(&mut Context::from_waker(&task_waker)).is_pending());
    let before = task.0.load(Relaxed);
    drop(cancelled);
    assert_eq!((before, client.0.load(Relaxed)), (1, 0));
    request.reply(|out| out.write_str("1\n"));
    assert_eq!(client.0.load(Relaxed), 1);
    assert!(reading.as_mut().poll(&mut cx).is_ready());
}
