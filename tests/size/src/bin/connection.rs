//! What a connection keeps in RAM, as symbols of that size. Does nothing.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;

use datakit_core::serve::{self, Memory};
use datakit_core::session::{FidArray, Session};
use datakit_size::seat::{Input, Tree};
use embassy_net::tcp::TcpWriter;

type Served = Session<'static, Tree, FidArray<Tree, 16>>;
type Crew<const FRAME: usize> = Memory<2, FRAME>;

/// As many bytes as something has.
#[allow(dead_code)]
struct Bytes<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: nobody touches it.
unsafe impl<const N: usize> Sync for Bytes<N> {}

macro_rules! bytes {
    ($($name:ident = $size:expr;)*) => {
        $(#[used]
        // SAFETY: no other symbol has the name.
        #[unsafe(no_mangle)]
        static $name: Bytes<{ $size }> = Bytes(UnsafeCell::new([0; { $size }]));)*
    };
}

bytes! {
    SESSION = size_of::<Served>();
    MSIZE_MEMORY = size_of::<Crew<4120>>();
    MSIZE_SERVE = returned(serving::<4120>);
    SMALL_MEMORY = size_of::<Crew<536>>();
    SMALL_SERVE = returned(serving::<536>);
}

/// Not called: the size of what it returns is asked for.
fn serving<const FRAME: usize>(
    (session, rx, tx, memory): (
        &'static Served,
        Input<'static>,
        TcpWriter<'static>,
        &'static mut Crew<FRAME>,
    ),
) -> impl Future {
    serve::serve(session, rx, tx, memory)
}

const fn returned<A, F>(_: fn(A) -> F) -> usize {
    size_of::<F>()
}

#[cortex_m_rt::entry]
fn main() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
