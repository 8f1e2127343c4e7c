//! Defines one symbol for each part of a connection's state in RAM. Each symbol has the same size
//! as the part that it represents. The program itself does nothing.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;

use datakit_core::files::FileRequests;
use datakit_core::serve::{self, Memory};
use datakit_core::session::{FidArray, Session};
use datakit_core::vfs::Vfs;
use datakit_size::server::{Tree, TreeWithTasks};
use embassy_net::tcp::{TcpReader, TcpWriter};

type ServedSession<T = Tree> = Session<'static, T, FidArray<T, 16>>;
type ConnectionMemory<const FRAME: usize> = Memory<2, FRAME>;

/// A symbol of `N` bytes.
#[allow(dead_code)]
struct Reserved<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: no code accesses the bytes.
unsafe impl<const N: usize> Sync for Reserved<N> {}

macro_rules! symbols {
    ($($name:ident = $size:expr;)*) => {
        $(#[used]
        // SAFETY: no other symbol has the same name.
        #[unsafe(no_mangle)]
        static $name: Reserved<{ $size }> = Reserved(UnsafeCell::new([0; { $size }]));)*
    };
}

symbols! {
    SESSION = size_of::<ServedSession>();
    MSIZE_MEMORY = size_of::<ConnectionMemory<4120>>();
    MSIZE_SERVE = size_of_output(serve_future::<Tree, 4120>);
    SMALL_MEMORY = size_of::<ConnectionMemory<536>>();
    SMALL_SERVE = size_of_output(serve_future::<Tree, 536>);
    ASYNC_SESSION = size_of::<ServedSession<TreeWithTasks>>();
    ASYNC_SERVE = size_of_output(serve_future::<TreeWithTasks, 536>);
    FOUR_REQUESTS = size_of::<FileRequests<4, 16>>();
    FIVE_REQUESTS = size_of::<FileRequests<5, 16>>();
}

/// This function is never called, because only the size of its future is needed.
fn serve_future<T: Vfs, const FRAME: usize>(
    (session, rx, tx, memory): (
        &'static ServedSession<T>,
        TcpReader<'static>,
        TcpWriter<'static>,
        &'static mut ConnectionMemory<FRAME>,
    ),
) -> impl Future {
    serve::serve(session, rx, tx, memory)
}

const fn size_of_output<A, F>(_: fn(A) -> F) -> usize {
    size_of::<F>()
}

#[cortex_m_rt::entry]
fn main() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
