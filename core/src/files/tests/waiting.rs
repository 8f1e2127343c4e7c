//! Tests for tasks that wait for values and streams. Regardless of the number of tasks, all tasks
//! must sleep until an event occurs.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

use embassy_futures::block_on;

use crate::files::*;
use crate::vfs::{Dir, Handle, Name, OpenMode, StaticTree, Vfs, file};

/// A task whose future is polled only after a wake-up.
struct Task<'a, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + 'a>>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl<'a, T> Task<'a, T> {
    fn new(future: impl Future<Output = T> + 'a) -> Task<'a, T> {
        Task { future: Some(Box::pin(future)), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }
}

/// Polls woken tasks until all tasks sleep. Returns the number of polls, along with the index and
/// result of each completed task.
///
/// # Panics
/// Panics after 10,000 polls, because the tasks are probably waking each other forever.
fn run<T>(tasks: &mut [Task<'_, T>]) -> (usize, Vec<(usize, T)>) {
    let (mut polls, mut done) = (0, Vec::new());
    loop {
        let before = polls;
        for (number, task) in tasks.iter_mut().enumerate() {
            let Some(future) = task.future.as_mut().filter(|_| task.woken.0.swap(false, Relaxed))
            else {
                continue;
            };
            polls += 1;
            assert!(polls < 10_000, "the tasks never sleep");
            let waker = Waker::from(task.woken.clone());
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                task.future = None;
                done.push((number, value));
            }
        }
        if polls == before {
            return (polls, done);
        }
    }
}

#[test]
fn tasks_waiting_for_values_sleep_until_a_set() {
    static VALUES: [Value<u32>; 4] = [const { Value::new(0) }; 4];
    // All values share one list of waiting tasks, so other tests in this process also wake these
    // tasks.
    let mut tasks: Vec<_> = (0..40).map(|i| Task::new(VALUES[i % 4].changed(0))).collect();
    let (polls, done) = run(&mut tasks);
    assert!(polls <= 400 && done.is_empty(), "{polls} polls of 40 tasks");
    VALUES[1].set(7);
    let (polls, done) = run(&mut tasks);
    assert_eq!(done.len(), 10, "the tasks that wait for this value");
    assert!(polls <= 400, "{polls} polls to wake 40 tasks once");
    for value in [&VALUES[0], &VALUES[2], &VALUES[3]] {
        value.set(1);
    }
    assert_eq!(run(&mut tasks).1.len(), 30);
}

static LIVE: Live<u32> = Live::new(0);
static QUEUE: Queue<u32, 4> = Queue::new();
static ROOT: Dir = Dir::new(&[
    file("live", &LIVE.file(|value, out| writeln!(out, "{value}"))),
    file("queue", &QUEUE.file(|value, out| writeln!(out, "{value}"))),
]);
type Tree = StaticTree<64, 64>;

fn open(tree: &Tree, name: &str) -> Handle {
    let inode = block_on(tree.lookup(&tree.root(), Name::new(name.as_bytes()).unwrap())).unwrap();
    block_on(tree.open(&inode, OpenMode::READ)).unwrap()
}

async fn next(tree: &Tree, open: Handle, offset: u64) -> String {
    let mut buf = [0; 16];
    let count = tree.read(&open, offset, &mut buf).await.unwrap();
    String::from_utf8(buf[..count].to_vec()).unwrap()
}

#[test]
fn publish_wakes_all_sleeping_readers() {
    let tree = Tree::new(&ROOT);
    let streams =
        ["live", "queue"].map(|name| (0..16).map(|_| open(&tree, name)).collect::<Vec<_>>());
    for live in &streams[0] {
        assert_eq!(
            (block_on(next(&tree, *live, 0)), block_on(next(&tree, *live, 2))),
            ("0\n".into(), "".into())
        );
    }
    let [lives, queues] = &streams;
    let mut tasks: Vec<_> = lives.iter().map(|live| Task::new(next(&tree, *live, 2))).collect();
    tasks.extend(queues.iter().map(|queue| Task::new(next(&tree, *queue, 0))));
    let (polls, done) = run(&mut tasks);
    assert!(polls <= 64 && done.is_empty(), "{polls} polls of 32 readers");
    LIVE.publish(5);
    let (polls, done) = run(&mut tasks);
    assert_eq!(done.len(), 16);
    assert!(polls <= 64 && done.iter().all(|(_, text)| text == "5\n"), "{polls} polls: {done:?}");
    QUEUE.publish(6);
    assert_eq!(run(&mut tasks).1.len(), 16);
}

/// Returns the next pseudo-random number.
fn random(seed: &mut u32) -> usize {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as usize
}

#[test]
fn cancelled_wait_does_not_cancel_others() {
    static FEED: Live<u32> = Live::new(0);
    static ROOT: Dir = Dir::new(&[file("feed", &FEED.file(|value, out| writeln!(out, "{value}")))]);
    let mut seed = 1;
    for round in 1..200 {
        // Cancelled tasks leave their handles open, so each iteration needs a new tree.
        let tree = Tree::new(&ROOT);
        let mut tasks: Vec<_> = (0..24)
            .map(|_| {
                let stream = open(&tree, "feed");
                let tree = &tree;
                Task::new(async move {
                    let now = next(tree, stream, 0).await;
                    assert_eq!(next(tree, stream, now.len() as u64).await, "");
                    let then = next(tree, stream, now.len() as u64).await;
                    tree.close(&stream);
                    then
                })
            })
            .collect();
        run(&mut tasks);
        // Cancel some tasks, poll some tasks without an event, and replace the wakers of some
        // tasks.
        let mut left = tasks.len();
        for _ in 0..random(&mut seed) % 24 {
            let number = random(&mut seed) % tasks.len();
            let task = &mut tasks[number];
            match random(&mut seed) % 3 {
                0 => left -= usize::from(task.future.take().is_some()),
                1 => task.woken.0.store(true, Relaxed),
                _ => task.woken = Arc::new(Woken(AtomicBool::new(true))),
            }
            if random(&mut seed).is_multiple_of(2) {
                let (polls, _) = run(&mut tasks);
                assert!(polls <= 100, "{polls} polls for one change");
            }
        }
        run(&mut tasks);
        FEED.publish(round);
        let done = run(&mut tasks).1;
        assert_eq!(done.len(), left, "in round {round}");
        assert!(done.iter().all(|(_, text)| *text == format!("{round}\n")));
    }
}
