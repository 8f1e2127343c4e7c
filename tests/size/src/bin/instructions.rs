//! Counts the instructions that the processor executes to answer requests. QEMU must run this image
//! with `-icount shift=0`, which makes the clock advance by one nanosecond for each instruction.
//! The results are written to UART0 in lines of the form `COUNT NAME`.
#![no_std]
#![no_main]

use core::fmt::{self, Write};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use datakit_core::params::{ParamSet, TransactionMemory, Transactions};
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{StaticTree, table};
use datakit_core::wire::{Data, Dialect, Fid, List, Numeric, Str, Tag, Tmessage as T};
// The library contains the panic handler.
use datakit_size as _;

type Tree = StaticTree<4, 96>;

static SET: ParamSet = ParamSet::new(&ROOT);
static MEMORY: TransactionMemory<1, 8, 32> = TransactionMemory::new();
static TRANSACTIONS: Transactions<1, 8, 32> = Transactions::new(&SET, &MEMORY);
datakit_size::params!(ROOT: A B C D E F G H; table("transactions", &TRANSACTIONS, 2));

/// The number of times that each request is repeated. The program prints the average over all
/// repetitions.
const ROUNDS: u32 = 64;
/// The number of instructions in the loop that calibrates the timer.
const LOOP: u32 = 1_000_000;

const CTL: Fid = Fid(1);
const FILE: Fid = Fid(2);

#[cortex_m_rt::entry]
fn main() -> ! {
    let Some(core) = cortex_m::Peripherals::take() else { semihosting::process::exit(1) };
    let timer = Timer::start(core.SYST);
    let tree = Tree::new(&ROOT);
    let limits = Limits::new(4096);
    let client = Client { session: Session::new(&tree, FidArray::new(), limits), timer };
    client.attach();

    client.open(FILE, &["A"]);
    let read = client.average(&T::Read { fid: FILE, offset: 0, count: 64 });
    report(read, "instructions to read a `u32` parameter");
    let write = client.average(&T::Write { fid: FILE, offset: 0, data: Data(b"1000\n") });
    report(write, "instructions to write a `u32` parameter");
    client.rpc(&T::Clunk { fid: FILE });

    client.open(CTL, &["transactions", "0", "ctl"]);
    let mut ticks = 0;
    for _ in 0..ROUNDS {
        for name in ["A", "B", "C", "D", "E", "F", "G", "H"] {
            client.open(FILE, &["transactions", "0", name]);
            client.rpc(&T::Write { fid: FILE, offset: 0, data: Data(b"1000\n") });
            client.rpc(&T::Clunk { fid: FILE });
        }
        ticks += client.rpc(&T::Write { fid: CTL, offset: 0, data: Data(b"commit\n") });
    }
    report(client.timer.instructions(ticks) / ROUNDS, "instructions to commit 8 `u32` values");
    semihosting::process::exit(0)
}

struct Client<'t> {
    session: Session<'t, Tree, FidArray<Tree, 4>>,
    timer: Timer,
}

impl Client<'_> {
    fn attach(&self) {
        self.rpc(&T::Version { msize: 4096, version: "9P2000.u".into() });
        self.rpc(&T::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: "u".into(),
            aname: "".into(),
            n_uname: Numeric::NONE,
        });
    }

    fn open(&self, fid: Fid, path: &[&str]) {
        let mut names = [Str(b""); 3];
        for (name, part) in names.iter_mut().zip(path) {
            *name = (*part).into();
        }
        let names = names.get(..path.len()).unwrap_or_default();
        self.rpc(&T::Walk { fid: Fid(0), newfid: fid, wnames: List::from(names) });
        self.rpc(&T::Open { fid, mode: 2 });
    }

    /// Returns the average number of instructions that the processor executes to answer a request.
    fn average(&self, request: &T<'_>) -> u32 {
        let ticks = (0..ROUNDS).map(|_| self.rpc(request)).sum();
        self.timer.instructions(ticks) / ROUNDS
    }

    /// Answers a request and returns the number of ticks that this took.
    fn rpc(&self, request: &T<'_>) -> u32 {
        const RERROR: u8 = 107;
        let mut buf = [0; 512];
        let dialect = self.session.dialect().unwrap_or(Dialect::Legacy);
        let Ok(len) = request.encode(Tag(1), dialect, &mut buf) else { fail("encode") };
        let before = SYST::get_current();
        let answered = {
            let reply = pin!(self.session.answer(&mut buf, len));
            reply.poll(&mut Context::from_waker(Waker::noop()))
        };
        // The timer counts down.
        let ticks = before.wrapping_sub(SYST::get_current()) & Timer::TOP;
        match answered {
            Poll::Ready(_) if buf.get(4) != Some(&RERROR) => ticks,
            Poll::Ready(_) => fail("refused"),
            Poll::Pending => fail("pending"),
        }
    }
}

/// The timer and its frequency.
struct Timer {
    /// The number of ticks that the processor takes to execute `LOOP` instructions.
    loop_ticks: u32,
}

impl Timer {
    const TOP: u32 = 0x00ff_ffff;

    fn start(mut syst: SYST) -> Timer {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(Timer::TOP);
        syst.clear_current();
        syst.enable_counter();
        let before = SYST::get_current();
        // `delay` executes two instructions for every two cycles of its argument, so this call
        // executes `LOOP` instructions.
        cortex_m::asm::delay(LOOP);
        let loop_ticks = before.wrapping_sub(SYST::get_current()) & Timer::TOP;
        Timer { loop_ticks }
    }

    fn instructions(&self, ticks: u32) -> u32 {
        (u64::from(ticks) * u64::from(LOOP) / u64::from(self.loop_ticks.max(1))) as u32
    }
}

fn fail(what: &str) -> ! {
    let _ = writeln!(Uart, "FAILED {what}");
    semihosting::process::exit(1)
}

fn report(count: u32, name: &str) {
    let _ = writeln!(Uart, "{count} {name}");
}

/// The first serial port.
struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const DATA: *mut u32 = 0x4000_c000 as *mut u32;
        for byte in text.bytes() {
            // SAFETY: this is the data register of UART0, and no other code uses UART0.
            unsafe { DATA.write_volatile(byte.into()) };
        }
        Ok(())
    }
}
