//! The file system that holds the measured repositories.

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

/// The size, in bytes, of the image, which is a sparse file.
const SIZE: u64 = 4 << 30;
/// An environment variable that is set in a process with its own mount namespace.
const IN_NAMESPACE: &str = "DATAKIT_BENCH_NAMESPACE";

/// A directory for repositories, which is removed when this value is dropped.
pub(crate) struct Disk {
    dir: PathBuf,
    /// `Ok` if a file system is mounted on `dir`; otherwise, the reason why none is mounted.
    mounted: Res<()>,
}

impl Disk {
    /// Creates a directory in `dir`, without mounting a file system.
    pub(crate) fn in_dir(dir: &Path) -> Res<Self> {
        let dir = dir.join(format!("datakit-bench-{}", process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, mounted: Err("an existing file system".into()) })
    }

    /// Creates a directory on a new ext4 file system with a journal, which is mounted from an
    /// image. Uses the temporary directory if the image cannot be mounted.
    ///
    /// A new file system makes the result independent of earlier activity. Without a journal, ext4
    /// does not reuse inodes that were deleted in the last few minutes, and scans all of these
    /// inodes whenever it creates a file. After a build, creating a file took up to 800 µs instead
    /// of 20 µs.
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
        // The mount keeps the image alive, so the name of the image can be removed now. The kernel
        // frees the mount and the image when the mount namespace ends.
        mounted
            .and(fs::remove_file(&image).map_err(|error| format!("{}: {error}", image.display())))
    }
}

/// Executes this program again in its own mount namespace, if that is allowed. The mounts in this
/// namespace disappear with the process, even if the process is killed.
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
        // `exec` does not return, and `unshare` exits if it lacks permission to mount, so a trial
        // run comes first.
        if run("unshare", ["--mount", "true"]).is_ok() {
            let _ = command.exec();
        }
    }
}

/// Runs a program and discards its output. If the program fails, the returned error is the
/// program's standard error output.
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
            // If unmounting fails, the mount disappears with the mount namespace.
            let _ = run("umount", [self.dir.as_os_str()]);
        }
        // If the directory cannot be removed, it stays in the temporary directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
