//! Measures the size of a command's directory.
//!
//! Measuring reads the attributes of all files, so it is done rarely. Between two measurements, the
//! free space of the file system shows how much has been written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The minimum and maximum time between two measurements if little has been written.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// The ratio of the time between two measurements to the duration of a measurement.
const SHARE: u32 = 20;

/// The interval at which the free space is read.
const TICK: Duration = Duration::from_millis(25);

/// Waits until a directory exceeds `limit` bytes. Returns its size.
///
/// The directory can exceed the limit by the amount that is written during one measurement and one
/// [`TICK`].
pub(super) async fn exceeded(dir: &Path, limit: Option<u64>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let (free_before, began, path) = (free(dir), Instant::now(), dir.to_owned());
        // Measuring stops early when the limit is exceeded. An error means that the runtime is
        // shutting down and has cancelled the task.
        let size = tokio::task::spawn_blocking(move || size(path, limit)).await.unwrap_or(0);
        if size > limit {
            return size;
        }
        let measured = Measured { took: began.elapsed(), left: limit - size };
        let ended = Instant::now();
        loop {
            tokio::time::sleep(TICK).await;
            if measured.is_outdated(ended.elapsed(), free_before.saturating_sub(free(dir))) {
                break;
            }
        }
    }
}

/// A measurement in which the size was within the limit.
#[derive(Debug, Clone, Copy)]
struct Measured {
    took: Duration,
    /// How far the size is below the limit, in bytes.
    left: u64,
}

impl Measured {
    /// Returns whether to measure again. `written` is the number of bytes that were written to the
    /// file system since the measurement began.
    fn is_outdated(self, waited: Duration, written: u64) -> bool {
        let could_exceed = written >= (self.left / 2).max(1);
        let wait = if could_exceed {
            // Other programs could have written the data, so at most half of the time is spent
            // measuring.
            self.took.max(TICK)
        } else {
            (self.took * SHARE).clamp(INTERVAL.0, INTERVAL.1)
        };
        waited >= wait
    }
}

/// Returns the free space in the file system of a directory, or 0 if it is unknown.
fn free(dir: &Path) -> u64 {
    let space = rustix::fs::statvfs(dir);
    space.map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}

/// Returns the size of the files in a directory. Stops when the size exceeds `limit`. Skips entries
/// that cannot be read.
fn size(dir: PathBuf, limit: u64) -> u64 {
    let (mut dirs, mut total) = (vec![dir], 0);
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            // A sparse file occupies only its allocated blocks, which are counted in units of 512
            // bytes.
            total += metadata.blocks() * 512;
            if total > limit {
                return total;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_writer_is_measured_early() {
        const GIB: u64 = 1 << 30;
        let seconds = Duration::from_secs;
        // Measuring this directory takes a second, so it is measured every 20 seconds.
        let large = Measured { took: seconds(1), left: 10 * GIB };
        assert!(!large.is_outdated(seconds(19), GIB));
        assert!(large.is_outdated(seconds(20), 0));
        // The wait is shorter if at least half of the remaining space has been used since the
        // measurement.
        assert!(!large.is_outdated(TICK, 6 * GIB));
        assert!(large.is_outdated(seconds(1), 6 * GIB));
        let small = Measured { took: Duration::from_millis(1), left: 2 };
        assert!(small.is_outdated(TICK, 1) && !small.is_outdated(TICK, 0));
        assert!(free(Path::new("/")) > 0 && free(Path::new("/none")) == 0);
    }

    #[test]
    fn size_counts_blocks_of_all_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 100_000]).unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let size = size(dir.path().to_owned(), 1 << 30);
        assert!((100_000..200_000).contains(&size), "{size}");
    }
}
