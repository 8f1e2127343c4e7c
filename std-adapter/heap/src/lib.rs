//! Returns freed memory to the system, where the C library keeps it otherwise: glibc gives back only what is at the end of its heaps.
//!
//! These two calls are all the `unsafe` code of the desktop side, so they are a crate of their own. On other systems they do nothing.

/// Has every allocation of at least `bytes` mapped by itself and unmapped when it is freed. Unless it is told so, glibc raises its
/// threshold to the size of what is freed, up to 32 MiB.
pub fn map_from(bytes: u32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(bytes) = bytes.try_into() {
        // SAFETY: it takes numbers, and may be called at any time. It fails for sizes that glibc does not allow, which changes nothing.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}

/// Gives whole pages back that are free anywhere in the heaps. A thread that allocates waits while its heap is searched.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number, and takes the locks of the heaps itself.
    unsafe {
        libc::malloc_trim(0)
    };
}
