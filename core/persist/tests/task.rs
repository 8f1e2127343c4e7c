//! Tests for a store's task, with a clock that the tests control.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::cell::Cell;
use std::pin::pin;
use std::string::String;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Waker};

use common::Flash;
use datakit_core::files::{Param, Value};
use datakit_core::params::{
    Event, Observer, ObserverEntry, ParamSet, ParamStore, StoreAction, StoreOutcomes, StoreRequest,
    observe,
};
use datakit_core::vfs::{Client, Dir, Result, file};
use datakit_persist::{Autosave, Blocking, Error, Log, Region, Rejected, Requests, Store, run};
use embassy_futures::{block_on, poll_once, select, yield_now};
use embedded_hal_async::delay::DelayNs;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

static A: Value<u32> = Value::new(1);
static B: Value<u32> = Value::new(1);
static DIR: Dir =
    Dir::new(&[file("a", &Param::new(&A).default(1)), file("b", &Param::new(&B).default(1))]);
static SET: ParamSet = ParamSet::new(&DIR);

type Pages = Flash<3, 128, 4>;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|error| error.into_inner());
    // Discard the outcomes of requests that the previous test has dropped.
    outcomes();
    turn
}

/// The clock's time, in milliseconds.
#[derive(Default)]
struct Clock(Cell<u64>);

impl DelayNs for &Clock {
    async fn delay_ns(&mut self, ns: u32) {
        self.delay_ms(ns.div_ceil(1_000_000)).await;
    }

    async fn delay_ms(&mut self, ms: u32) {
        let end = self.0.get() + u64::from(ms);
        while self.0.get() < end {
            yield_now().await;
        }
    }
}

/// Collects the outcomes of requests.
struct Outcomes(Mutex<Vec<String>>);

impl StoreOutcomes for Outcomes {
    fn finished(&'static self, client: Client, outcome: Result<&dyn std::fmt::Display>) {
        let text = outcome.map_or_else(|error| error.to_string(), |text| text.to_string());
        self.0.lock().unwrap().push(format!("{} {text}", client.0));
    }
}

static OUTCOMES: Outcomes = Outcomes(Mutex::new(Vec::new()));

fn outcomes() -> Vec<String> {
    std::mem::take(&mut OUTCOMES.0.lock().unwrap())
}

fn request(action: StoreAction, client: u8) -> StoreRequest {
    StoreRequest::by_client(action, Client(client), &OUTCOMES)
}

/// Checks that a future waits for the clock: it must still be pending after enough polls to
/// complete any other future.
fn poll(mut future: std::pin::Pin<&mut impl Future>) {
    for _ in 0..50 {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

/// Advances the clock to `end` in small steps. The future must not complete.
fn advance(mut future: std::pin::Pin<&mut impl Future>, clock: &Clock, end: u64) {
    poll(future.as_mut());
    while clock.0.get() < end {
        clock.0.set(end.min(clock.0.get() + 50));
        poll(future.as_mut());
    }
}

#[test]
fn writes_keep_their_distance() {
    let _turn = turn();
    let (requests, clock) = (Requests::new(), Clock::default());
    let mut store = Store::<_, 96>::new(
        Blocking(Pages::new()),
        Region::new::<Blocking<Pages>>(0..384, 128),
        &SET,
    );
    let rejected = &mut |_: &Rejected<'_>| ();
    let mut task = pin!(run(&mut store, &requests, &clock, || 5000, rejected));
    let all = StoreAction::Save(0..2);
    A.set(2);
    B.set(1);
    requests.start(request(all.clone(), 1)).unwrap();
    let error = requests.start(request(all.clone(), 2)).unwrap_err();
    assert_eq!(error.to_string(), "a request is already waiting");
    outcomes();
    poll(task.as_mut());
    assert_eq!(outcomes(), [""; 0], "the first write waits, too");
    advance(task.as_mut(), &clock, 5000);
    assert_eq!((outcomes(), requests.erases()), (vec!["1 saved 1 value".into()], 1));
    // The next write waits. A save without changes does not delay a later save.
    A.set(3);
    B.set(3);
    requests.start(request(all.clone(), 1)).unwrap();
    advance(task.as_mut(), &clock, 9999);
    assert_eq!(outcomes(), [""; 0]);
    advance(task.as_mut(), &clock, 10_000);
    assert_eq!(outcomes(), ["1 saved 2 values"]);
    advance(task.as_mut(), &clock, 15_000);
    for (action, outcome) in [
        (all, "3 saved 0 values"),
        (StoreAction::Load, "3 loaded 2 values"),
        (StoreAction::Erase, "3 erased 2 values"),
    ] {
        requests.start(request(action, 3)).unwrap();
        poll(task.as_mut());
        assert_eq!(outcomes(), [outcome]);
    }
    assert_eq!(requests.erases(), 4);
    requests.start(request(StoreAction::Erase, 3)).unwrap();
    // The wait after an erase is three times as long, because three blocks have been erased.
    advance(task.as_mut(), &clock, 29_999);
    assert_eq!(outcomes(), [""; 0]);
    advance(task.as_mut(), &clock, 30_000);
    assert_eq!(outcomes(), ["3 erased 0 values"]);
}

/// Creates a store whose flash already contains a value.
fn store_with_a_value(flash: &mut Pages) -> Store<Log<Blocking<&mut Pages>>, 96> {
    let region = Region::new::<Blocking<Pages>>(0..384, 128);
    let mut store = Store::new(Blocking(flash), region, &SET);
    A.set(2);
    B.set(1);
    block_on(store.save(0..2)).unwrap();
    A.set(3);
    store
}

#[test]
fn a_new_interval_applies_to_the_current_wait() {
    static INTERVAL: AtomicU32 = AtomicU32::new(0);
    let _turn = turn();
    for (first, second, end) in [(3_600_000, 1000, 60_000), (1000, 60_000, 60_000)] {
        INTERVAL.store(first, Ordering::Relaxed);
        let (requests, clock) = (Requests::new(), Clock::default());
        let mut flash = Pages::new();
        let mut store = store_with_a_value(&mut flash);
        let rejected = &mut |_: &Rejected<'_>| ();
        let interval = || INTERVAL.load(Ordering::Relaxed);
        let mut task = pin!(run(&mut store, &requests, &clock, interval, rejected));
        requests.start(request(StoreAction::Save(0..2), 1)).unwrap();
        advance(task.as_mut(), &clock, 900);
        INTERVAL.store(second, Ordering::Relaxed);
        advance(task.as_mut(), &clock, end - 1);
        let is_early = second < first;
        assert_eq!(outcomes().is_empty(), !is_early, "{first} ms, then {second} ms");
        advance(task.as_mut(), &clock, end);
        assert_eq!(outcomes().is_empty(), is_early, "{first} ms, then {second} ms");
    }
}

#[test]
fn the_wait_after_an_erase_outlasts_a_restart() {
    let _turn = turn();
    let mut flash = Pages::new();
    block_on(store_with_a_value(&mut flash).erase()).unwrap();
    let region = Region::new::<Blocking<Pages>>(0..384, 128);
    let mut store = Store::<_, 96>::new(Blocking(&mut flash), region, &SET);
    block_on(store.load(&mut |_| ())).unwrap();
    let (requests, clock) = (Requests::new(), Clock::default());
    let rejected = &mut |_: &Rejected<'_>| ();
    let mut task = pin!(run(&mut store, &requests, &clock, || 5000, rejected));
    requests.start(request(StoreAction::Erase, 1)).unwrap();
    advance(task.as_mut(), &clock, 14_999);
    assert_eq!(outcomes(), [""; 0]);
    advance(task.as_mut(), &clock, 15_000);
    assert_eq!(outcomes(), ["1 erased 0 values"]);
}

#[test]
fn changes_by_a_load_name_the_client_that_requested_it() {
    struct Changes(Mutex<Vec<Client>>);
    impl Observer for Changes {
        fn notify(&self, event: &Event<'_>) {
            if let Event::Changed { client, .. } = event {
                self.0.lock().unwrap().push(*client);
            }
        }
    }
    static CHANGES: Changes = Changes(Mutex::new(Vec::new()));
    static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
    let _turn = turn();
    let requests = Requests::new();
    let region = Region::new::<Blocking<Pages>>(0..384, 128);
    let mut store = Store::<_, 96>::new(Blocking(Pages::new()), region, &SET);
    A.set(2);
    B.set(1);
    block_on(store.save(0..2)).unwrap();
    A.set(5);
    B.set(5);
    observe(&ENTRY);
    CHANGES.0.lock().unwrap().clear();
    requests.start(request(StoreAction::Load, 7)).unwrap();
    let clock = Clock::default();
    let rejected = &mut |_: &Rejected<'_>| ();
    poll(pin!(run(&mut store, &requests, &clock, || 0, rejected)).as_mut());
    assert_eq!(*CHANGES.0.lock().unwrap(), [Client(7), Client(7)]);
    assert_eq!((A.get(), B.get()), (2, 1));
}

#[test]
fn changes_are_saved_after_a_delay() {
    static AUTOSAVE: Autosave = Autosave::new();
    static ENTRY: ObserverEntry = ObserverEntry::new(&AUTOSAVE);
    let _turn = turn();
    A.set(1);
    B.set(1);
    observe(&ENTRY);
    let (requests, clock) = (Requests::new(), Clock::default());
    let mut flash = Pages::new();
    let mut store = Store::<_, 96>::new(&mut flash, Region::new::<Pages>(0..384, 128), &SET);
    {
        let autosave = AUTOSAVE.run(&requests, &clock, || 2000);
        let rejected = &mut |_: &Rejected<'_>| ();
        let task = run(&mut store, &requests, &clock, || 100, rejected);
        let mut both = pin!(select::select(task, autosave));
        poll(both.as_mut());
        clock.0.set(5000);
        A.set(7);
        poll(both.as_mut());
        clock.0.set(6500);
        B.set(7);
        poll(both.as_mut());
        assert_eq!(requests.erases(), 0);
        clock.0.set(7000);
        poll(both.as_mut());
        clock.0.set(8000);
        poll(both.as_mut());
        assert_eq!(requests.erases(), 1);
    }
    A.set(1);
    B.set(1);
    assert_eq!(block_on(store.load(&mut |_| ())), Ok(2));
    assert_eq!((A.get(), B.get()), (7, 7));
}

/// A flash that waits once before each access. The access fails if the flag is set.
struct Slow<'f>(&'f mut Pages, &'f Cell<bool>);

impl Slow<'_> {
    async fn access(&mut self) -> std::result::Result<&mut Pages, NorFlashErrorKind> {
        yield_now().await;
        if self.1.get() { Err(NorFlashErrorKind::Other) } else { Ok(self.0) }
    }
}

impl ErrorType for Slow<'_> {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Slow<'_> {
    const READ_SIZE: usize = 4;

    async fn read(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
    ) -> std::result::Result<(), Self::Error> {
        ReadNorFlash::read(self.access().await?, offset, bytes).await
    }

    fn capacity(&self) -> usize {
        384
    }
}

impl NorFlash for Slow<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 128;

    async fn erase(&mut self, from: u32, to: u32) -> std::result::Result<(), Self::Error> {
        NorFlash::erase(self.access().await?, from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> std::result::Result<(), Self::Error> {
        NorFlash::write(self.access().await?, offset, bytes).await
    }
}

#[test]
fn values_that_could_not_be_loaded_are_not_replaced() {
    let _turn = turn();
    let (mut flash, fails) = (Pages::new(), Cell::new(false));
    let region = Region::new::<Pages>(0..384, 128);
    A.set(5);
    B.set(6);
    let mut store = Store::<_, 96>::new(Slow(&mut flash, &fails), region, &SET);
    assert_eq!(block_on(store.save(0..2)), Ok(2));
    A.set(1);
    B.set(1);
    let mut store = Store::<_, 96>::new(Slow(&mut flash, &fails), region, &SET);
    fails.set(true);
    let failed = Err(Error::Flash(NorFlashErrorKind::Other));
    assert_eq!(block_on(store.load(&mut |_| ())), failed);
    fails.set(false);
    A.set(2);
    let refused = block_on(store.save(0..2)).unwrap_err();
    assert_eq!(refused.to_string(), "load the stored values first, or erase them");
    assert_eq!(block_on(store.load(&mut |_| ())), Ok(2));
    assert_eq!((A.get(), B.get()), (5, 6));
    A.set(2);
    assert_eq!(block_on(store.save(0..2)), Ok(1));
}

#[test]
fn a_failed_save_of_changes_is_repeated() {
    static AUTOSAVE: Autosave = Autosave::new();
    static ENTRY: ObserverEntry = ObserverEntry::new(&AUTOSAVE);
    let _turn = turn();
    A.set(1);
    B.set(1);
    observe(&ENTRY);
    let (requests, clock, fails) = (Requests::new(), Clock::default(), Cell::new(true));
    let mut flash = Pages::new();
    let region = Region::new::<Pages>(0..384, 128);
    let mut store = Store::<_, 96>::new(Slow(&mut flash, &fails), region, &SET);
    {
        let autosave = AUTOSAVE.run(&requests, &clock, || 2000);
        let rejected = &mut |_: &Rejected<'_>| ();
        let task = run(&mut store, &requests, &clock, || 100, rejected);
        let mut both = pin!(select::select(task, autosave));
        A.set(7);
        for time in (0..20_000).step_by(500) {
            clock.0.set(time);
            fails.set(time < 10_000);
            poll(both.as_mut());
        }
        assert_eq!(requests.erases(), 1);
    }
    A.set(1);
    assert_eq!(block_on(store.load(&mut |_| ())), Ok(1));
    assert_eq!(A.get(), 7);
}

#[test]
fn dropped_save_stores_all_values_or_none() {
    let _turn = turn();
    let (mut flash, never) = (Pages::new(), Cell::new(false));
    let region = Region::new::<Slow<'_>>(0..384, 128);
    for round in 2..60 {
        let mut store = Store::<_, 96>::new(Slow(&mut flash, &never), region, &SET);
        block_on(store.load(&mut |_| ())).unwrap();
        let old = (A.get(), B.get());
        A.set(round);
        B.set(round);
        // Drop the future after polling it up to six times.
        let mut dropped = true;
        {
            let mut save = pin!(store.save(0..2));
            for _ in 0..round % 7 {
                dropped = poll_once(save.as_mut()).is_pending();
                if !dropped {
                    break;
                }
            }
        }
        // The existing store and a new one load the same values.
        assert!(block_on(store.load(&mut |_| ())).is_ok());
        let loaded = (A.get(), B.get());
        assert!(loaded == (round, round) || (dropped && loaded == old), "{loaded:?}");
        let mut store = Store::<_, 96>::new(Slow(&mut flash, &never), region, &SET);
        block_on(store.load(&mut |_| ())).unwrap();
        assert_eq!((A.get(), B.get()), loaded);
        A.set(round);
        B.set(round);
        assert!(block_on(store.save(0..2)).is_ok());
        block_on(store.load(&mut |_| ())).unwrap();
        assert_eq!((A.get(), B.get()), (round, round));
    }
}

#[test]
fn values_are_taken_at_one_point_in_time() {
    let _turn = turn();
    let (mut flash, never) = (Pages::new(), Cell::new(false));
    let region = Region::new::<Slow<'_>>(0..384, 128);
    let mut store = Store::<_, 96>::new(Slow(&mut flash, &never), region, &SET);
    A.set(50);
    B.set(50);
    {
        // Each time the save waits, another task changes both values.
        let mut save = pin!(store.save(0..2));
        let mut next = 51;
        while poll_once(save.as_mut()).is_pending() {
            A.set(next);
            B.set(next);
            next += 1;
        }
    }
    block_on(store.load(&mut |_| ())).unwrap();
    assert_eq!(A.get(), B.get());
}
