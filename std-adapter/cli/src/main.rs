//! The `datakit` program, which is implemented by the library in this package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Replaces the C library's allocator, which does not always return freed memory to the operating
/// system. See `datakit_server::memory`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    datakit::main()
}
