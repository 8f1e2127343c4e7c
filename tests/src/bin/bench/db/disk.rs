//! The file system that contains the measured repositories.

use std::{
    env,
    ffi::OsStr,
    fmt, fs,
    io::ErrorKind,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
};

use crate::Res;

/// The size of the file system image in bytes. The image is a sparse file.
const SIZE: u64 = 4 << 30;
/// The environment variable that is set if the process has its own mount namespace.
const IN_NAMESPACE: &str = "DATAKIT_BENCH_NAMESPACE";

/// A directory for repositories. Dropping this value removes the directory.
pub(crate) struct Disk {
    dir: PathBuf,
    /// `Ok` if a new file system is mounted on `dir`, or the reason why mounting failed.
    mounted: Res<()>,
}

impl Disk {
    /// Creates a directory in `dir` without mounting a file system.
    pub(crate) fn in_dir(dir: &Path) -> Res<Self> {
        let dir = dir.join(format!("datakit-bench-{}", process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, mounted: Err("an existing file system".into()) })
    }

    /// Creates a temporary directory and mounts a new ext4 file system with a journal on it. If
    /// mounting fails, the repositories are created in the directory itself.
    ///
    /// Because the file system is new, earlier activity does not affect the result. Without a
    /// journal, ext4 does not reuse recently deleted inodes and scans all of them whenever it
    /// creates a file. As a result, after a build it took up to 800 µs instead of 20 µs to create a
    /// file.
    pub(crate) fn mounted() -> Res<Self> {
        let mut disk = Self::in_dir(&env::temp_dir())?;
        disk.mounted = match env::var_os(IN_NAMESPACE) {
            Some(_) => disk.mount(),
            None => Err("no right to mount a new file system".into()),
        };
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    fn mount(&self) -> Res<()> {
        let image = self.dir.with_extension("ext4");
        let made = fs::File::create_new(&image).and_then(|file| file.set_len(SIZE));
        let mounted =
            made.map_err(|error| format!("{}: {error}", image.display())).and_then(|()| {
                run("mkfs.ext4", [OsStr::new("-q"), OsStr::new("-F"), image.as_os_str()])?;
                run(
                    "mount",
                    [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), self.dir.as_os_str()],
                )
            });
        // The image file can be unlinked now because the mount still refers to it. The kernel
        // removes the mount and the file when the last process in the mount namespace exits.
        mounted
            .and(fs::remove_file(&image).map_err(|error| format!("{}: {error}", image.display())))
    }
}

/// Executes this program again in a new mount namespace if the system permits it. When the process
/// exits or is killed, the kernel removes the mounts in the namespace.
pub(crate) fn enter_mount_namespace() {
    if env::var_os(IN_NAMESPACE).is_none()
        && let Ok(program) = env::current_exe()
    {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private"])
            .arg(program)
            .args(env::args_os().skip(1))
            .env(IN_NAMESPACE, "1");
        // Executing `unshare` without permission would terminate the benchmark. Therefore, try
        // `unshare` in a child process first.
        if run("unshare", ["--mount", "true"]).is_ok() {
            let _ = command.exec();
        }
    }
}

/// Runs a program and discards its standard output. If the program fails, the returned error is its
/// standard error output.
fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Res<()> {
    let done = Command::new(program).args(args).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program}: {error}"),
    })?;
    if done.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim_end().to_owned())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mounted {
            Ok(()) => write!(f, "repositories on a new ext4"),
            Err(why) => write!(f, "repositories in {} ({why})", self.dir.display()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted.is_ok() {
            // Ignore errors because the kernel removes the mount when the process exits.
            let _ = run("umount", [self.dir.as_os_str()]);
        }
        // Ignore errors because a directory left in the system's temporary directory is harmless.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
