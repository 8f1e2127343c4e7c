//! Passes the firmware's memory layout to the linker.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let memory = "../../embedded-example/memory.x";
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::copy(memory, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    Ok(())
}
