//! The requests that clients make to a task. The module `request` contains the handle through which
//! a task replies.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::mem;
use core::task::{Poll, Waker};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::request::FileRequest;
use crate::Decimal;
use crate::vfs::{Client, Error, FixedText, Result, Text, Waiter, Waiters};

/// A channel that passes requests from [`TaskFile`](super::TaskFile)s to a task. The channel has
/// room for `CAPACITY` requests, each with at most `TEXT` bytes of text. The text is the value that
/// a client writes, or the reply to a read.
///
/// The task calls [`next`](FileRequests::next) in a loop. Requests are processed in the order in
/// which they arrive. Several tasks may take requests from the same channel.
///
/// ```
/// use datakit_core::files::{FileRequests, Operation};
/// use datakit_core::vfs::{AsyncTree, Dir, Error, StaticTree, async_file};
///
/// static SENSOR: FileRequests<4, 16> = FileRequests::new();
/// static ROOT: Dir = Dir::new(&[
///     async_file("temperature", &SENSOR.file(0x00).read_only().doc("temperature in mdegC")),
///     async_file("limit", &SENSOR.file(0x03).doc("upper limit in mdegC")),
/// ]);
/// # struct Bus;
/// # impl Bus {
/// #     async fn read(&mut self, _: u16) -> Result<i32, Error> { Ok(21_500) }
/// #     async fn write(&mut self, _: u16, _: i32) -> Result<(), Error> { Ok(()) }
/// # }
///
/// async fn sensor_task(mut bus: Bus) -> ! {
///     loop {
///         let request = SENSOR.next().await;
///         let register = request.file();
///         match request.operation() {
///             Operation::Read => match bus.read(register).await {
///                 Ok(value) => request.reply(|out| writeln!(out, "{value}")),
///                 Err(error) => request.finish(Err(error)),
///             },
///             Operation::Write(text) => {
///                 let done = match text.parse() {
///                     Ok(value) => bus.write(register, value).await,
///                     Err(_) => Err(Error::Invalid.with_message("a limit is a whole number")),
///                 };
///                 request.finish(done);
///             }
///         }
///     }
/// }
///
/// let tree: StaticTree<8, 64, AsyncTree> = StaticTree::new_async(&ROOT);
/// # let _ = (tree, sensor_task(Bus));
/// ```
///
/// # Capacity
/// If all entries in the channel are in use, a new request fails with [`Error::TooManyWaiting`] and
/// a message that states the capacity. An entry is in use until the client has received the reply
/// and the task has dropped its [`FileRequest`]. Therefore, even a cancelled request uses an entry
/// until the task has dropped it.
pub struct FileRequests<const CAPACITY: usize, const TEXT: usize> {
    table: CriticalSectionMutex<RefCell<RequestTable<CAPACITY, TEXT>>>,
    /// The tasks that are waiting for a request or for the cancellation of a request.
    tasks: Waiters,
    reserved: u8,
}

/// All requests. A table of unused requests is all zeros, so it takes up no flash in a `static`.
struct RequestTable<const CAPACITY: usize, const TEXT: usize> {
    requests: [RequestEntry<TEXT>; CAPACITY],
    /// The sequence number of the next request.
    next: u16,
}

struct RequestEntry<const TEXT: usize> {
    state: RequestState,
    is_write: bool,
    client: Client,
    /// The file's number.
    file: u16,
    /// The sequence number, which orders the requests.
    order: u16,
    /// The result, if the state is [`RequestState::Done`].
    result: Result<()>,
    /// The client's waker.
    client_waker: Option<Waker>,
    text: FixedText<TEXT>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    Free,
    /// The client is waiting, and the task has not begun to process the request.
    Queued,
    /// The client is waiting, and the task is working on the request.
    Started,
    /// The task is working on the request, but no client is waiting for the reply.
    Cancelled,
    /// The task has replied, but the client has not received the reply.
    Done,
}

impl<const CAPACITY: usize, const TEXT: usize> FileRequests<CAPACITY, TEXT> {
    /// Creates an empty channel.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(CAPACITY > 0 && CAPACITY <= 255, "CAPACITY must be from 1 to 255") };
        let table = RequestTable { requests: [const { RequestEntry::new() }; CAPACITY], next: 0 };
        FileRequests {
            table: CriticalSectionMutex::new(RefCell::new(table)),
            tasks: Waiters::new(),
            reserved: 0,
        }
    }

    /// Reserves `count` entries in the channel for clients that have no request. A client that
    /// already has a request can start another only if more than `count` entries are free. If
    /// `count` is one less than the number of clients, every client can always have one request.
    /// Connections without a [number](Client::PROGRAM) are exempt.
    #[must_use]
    pub const fn reserve(mut self, count: u8) -> Self {
        self.reserved = count;
        self
    }

    /// Waits for the next request.
    ///
    /// # Cancel safety
    /// No request is lost if the future is dropped.
    pub async fn next(&self) -> FileRequest<'_, CAPACITY, TEXT> {
        let mut waiter = Waiter::new();
        poll_fn(|cx| {
            // Register the waker first, in case a request arrives between registering and checking.
            self.tasks.register(&mut waiter, cx.waker());
            self.take_next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes the oldest request, if there is one. Unlike [`next`](FileRequests::next), this method
    /// never waits.
    pub fn take_next(&self) -> Option<FileRequest<'_, CAPACITY, TEXT>> {
        self.with_table(|table| {
            let next = table.next;
            let queued =
                table.numbered().filter(|(_, request)| request.state == RequestState::Queued);
            let (number, request) =
                queued.max_by_key(|(_, request)| next.wrapping_sub(request.order))?;
            request.state = RequestState::Started;
            let text = mem::take(&mut request.text);
            let (file, client) = (request.file, request.client);
            Some(FileRequest::new(self, number, (file, client), request.is_write.then_some(text)))
        })
    }

    /// Starts a request and returns its number. `value` is the text to write, or `None` for a read.
    pub(super) fn start(&self, file: u16, client: Client, value: Option<&str>) -> Result<u8> {
        let mut text = FixedText::new();
        text.extend(value.unwrap_or_default().as_bytes()).map_err(|_| value_too_long(TEXT))?;
        let started = self.with_table(|table| {
            let used_by_client = table.used().filter(|request| request.client == client).count();
            let is_limited = client != Client::PROGRAM && used_by_client > 0;
            let free = CAPACITY.saturating_sub(table.used().count());
            if is_limited && free > 0 && free <= usize::from(self.reserved) {
                return Err(Some(used_by_client));
            }
            let order = table.next;
            let mut requests = table.numbered();
            let (number, request) =
                requests.find(|(_, request)| request.state == RequestState::Free).ok_or(None)?;
            request.state = RequestState::Queued;
            (request.file, request.client, request.order) = (file, client, order);
            request.is_write = value.is_some();
            request.text = text;
            drop(requests);
            table.next = order.wrapping_add(1);
            Ok(number)
        });
        self.tasks.wake();
        started.map_err(|used_by_client| match used_by_client {
            Some(used) => no_unreserved_request(CAPACITY, used),
            None => no_free_request(CAPACITY),
        })
    }

    /// Returns the reply to a request and frees the request, or registers the client's waker.
    pub(super) fn poll_reply(&self, number: u8, waker: &Waker) -> Poll<Result<FixedText<TEXT>>> {
        let (reply, old) = self.with_request(number, |request| {
            if request.state == RequestState::Done {
                request.state = RequestState::Free;
                let result = mem::replace(&mut request.result, RequestEntry::<TEXT>::NO_RESULT);
                let text = mem::take(&mut request.text);
                return (Poll::Ready(result.map(|()| text)), request.client_waker.take());
            }
            let is_known = request.client_waker.as_ref().is_some_and(|old| old.will_wake(waker));
            let old = if is_known { None } else { request.client_waker.replace(waker.clone()) };
            (Poll::Pending, old)
        });
        drop(old);
        reply
    }

    /// Cancels a request whose client is no longer waiting for the reply.
    pub(super) fn cancel(&self, number: u8) {
        let (is_started, waker) = self.with_request(number, |request| {
            let is_started = request.state == RequestState::Started;
            request.state = if is_started { RequestState::Cancelled } else { RequestState::Free };
            (is_started, request.client_waker.take())
        });
        drop(waker);
        if is_started {
            self.tasks.wake();
        }
    }

    /// Stores the task's reply, or frees the request if it was cancelled.
    pub(super) fn complete(&self, number: u8, result: Result<()>, text: FixedText<TEXT>) {
        let waker = self.with_request(number, |request| {
            if request.state == RequestState::Cancelled {
                request.state = RequestState::Free;
                return None;
            }
            request.state = RequestState::Done;
            (request.result, request.text) = (result, text);
            request.client_waker.take()
        });
        // The waker is called outside the critical section, because it runs external code.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_cancelled(&self, number: u8) -> bool {
        self.with_request(number, |request| request.state == RequestState::Cancelled)
    }

    /// Waits until request `number`, which the task is processing, has been cancelled.
    pub(super) async fn cancelled(&self, number: u8) {
        let mut waiter = Waiter::new();
        poll_fn(|cx| {
            self.tasks.register(&mut waiter, cx.waker());
            if self.is_cancelled(number) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Sets the sequence number of the next request.
    #[cfg(test)]
    pub(super) fn set_next(&self, next: u16) {
        self.with_table(|table| table.next = next);
    }

    fn with_request<R>(&self, number: u8, with: impl FnOnce(&mut RequestEntry<TEXT>) -> R) -> R {
        self.with_table(|table| {
            let mut unknown = RequestEntry::new();
            with(table.requests.get_mut(usize::from(number)).unwrap_or(&mut unknown))
        })
    }

    fn with_table<R>(&self, with: impl FnOnce(&mut RequestTable<CAPACITY, TEXT>) -> R) -> R {
        // The borrow cannot fail, because the table is borrowed only in critical sections. These
        // critical sections call no external code except to clone and compare wakers.
        self.table.lock(|table| with(&mut table.borrow_mut()))
    }
}

impl<const CAPACITY: usize, const TEXT: usize> Default for FileRequests<CAPACITY, TEXT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAPACITY: usize, const TEXT: usize> fmt::Debug for FileRequests<CAPACITY, TEXT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRequests").field("capacity", &CAPACITY).finish_non_exhaustive()
    }
}

impl<const CAPACITY: usize, const TEXT: usize> RequestTable<CAPACITY, TEXT> {
    fn numbered(&mut self) -> impl Iterator<Item = (u8, &mut RequestEntry<TEXT>)> {
        (0..).zip(&mut self.requests)
    }

    fn used(&self) -> impl Iterator<Item = &RequestEntry<TEXT>> {
        self.requests.iter().filter(|request| request.state != RequestState::Free)
    }
}

impl<const TEXT: usize> RequestEntry<TEXT> {
    /// The value of `result` while there is no result. All bytes of this error are zero.
    const NO_RESULT: Result<()> = Err(Error::NotPermitted);

    const fn new() -> RequestEntry<TEXT> {
        RequestEntry {
            state: RequestState::Free,
            is_write: false,
            client: Client(0),
            file: 0,
            order: 0,
            result: Self::NO_RESULT,
            client_waker: None,
            text: FixedText::new(),
        }
    }
}

#[cold]
fn value_too_long(capacity: usize) -> Error {
    let capacity = Decimal::from(capacity);
    Error::TooLarge.with_message(format_args!("a value of this file has at most {capacity} bytes"))
}

#[cold]
fn no_free_request(capacity: usize) -> Error {
    let capacity = Decimal::from(capacity);
    Error::TooManyWaiting
        .with_message(format_args!("all {capacity} requests to the task are in use; try again"))
}

#[cold]
fn no_unreserved_request(capacity: usize, used: usize) -> Error {
    let (capacity, used) = (Decimal::from(capacity), Decimal::from(used));
    Error::TooManyWaiting.with_message(format_args!(
        "this connection uses {used} of {capacity} requests to the task; the rest is reserved for other clients"
    ))
}
