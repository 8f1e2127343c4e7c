//! Prints the figures in `std-adapter/BENCHMARKS.md`:
//!
//! `cargo run --release -p datakit-ci --example figures`
// Clippy's configuration allows panics in tests, but not in examples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod web;

#[tokio::main]
async fn main() {
    // The engine is measured last, because any later measurement would reuse memory that the engine
    // has freed.
    web::live_log().await;
    web::large_log().await;
    engine::measure().await;
}

/// Returns a value from `/proc/self/status` in MB: `VmRSS` is the memory in use, and `VmHWM` is its
/// maximum.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1000
}
