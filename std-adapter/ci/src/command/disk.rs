//! Measures the size of a command's directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The minimum and maximum time between two measurements.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// The fraction of the time that is spent measuring.
const SHARE: u32 = 20;

/// Waits until a directory exceeds `limit` bytes. Returns its size.
pub(super) async fn exceeded(dir: &Path, limit: Option<u64>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let (dir, began) = (dir.to_owned(), Instant::now());
        // Measuring stops early when the limit is exceeded. An error means that the runtime is
        // shutting down and has cancelled the task.
        let size = tokio::task::spawn_blocking(move || size(dir, limit)).await.unwrap_or(0);
        if size > limit {
            return size;
        }
        tokio::time::sleep((began.elapsed() * SHARE).clamp(INTERVAL.0, INTERVAL.1)).await;
    }
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
