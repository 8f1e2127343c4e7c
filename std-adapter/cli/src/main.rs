//! The `datakit` program. See the library of this package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Replaces the C library's allocator, which may not return freed memory to the system. See
/// `datakit_server::memory`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    datakit::main()
}
