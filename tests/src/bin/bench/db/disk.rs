//! Where repositories are measured: a file system of their own.

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

/// Of the image, of which only what is used takes room.
const SIZE: u64 = 4 << 30;
/// Set for the program that has its mounts for itself.
const APART: &str = "DATAKIT_BENCH_APART";

/// A directory for repositories, which goes when this is dropped.
pub(crate) struct Disk {
    dir: PathBuf,
    /// What is mounted there, or why nothing is.
    own: Res<()>,
}

impl Disk {
    /// In this directory, on whatever that is.
    pub(crate) fn within(dir: &Path) -> Res<Self> {
        let dir = dir.join(format!("datakit-bench-{}", process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, own: Err("the file system that is there".into()) })
    }

    /// An ext4 with a journal, as most machines have it, in an image; without the rights for that,
    /// in the directory for such things.
    ///
    /// What somebody did a minute ago to the file system of the machine is not measured then.
    /// Without a journal ext4 does not use again what was deleted within the last minutes, and
    /// looks at all of it whenever it makes a file: after a build, or the run before, a file took
    /// up to 800 microseconds here and not 20, for both sides, of which one starts programs
    /// besides.
    pub(crate) fn own() -> Res<Self> {
        let mut disk = Self::within(&env::temp_dir())?;
        disk.own = match env::var_os(APART) {
            Some(_) => disk.mount(),
            None => Err("no right to mount one of their own".into()),
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
        // A name is not needed any more: with the last process in it, file system and image are
        // gone.
        mounted
            .and(fs::remove_file(&image).map_err(|error| format!("{}: {error}", image.display())))
    }
}

/// Becomes the same program with mounts of its own, where that is allowed: whatever ends it leaves
/// nothing mounted.
pub(crate) fn go_apart() {
    if env::var_os(APART).is_none()
        && let Ok(program) = env::current_exe()
    {
        let mut apart = Command::new("unshare");
        apart
            .args(["--mount", "--propagation=private"])
            .arg(program)
            .args(env::args_os().skip(1))
            .env(APART, "1");
        // It does not come back. Without the rights `unshare` says so and ends, so that they are
        // asked for first.
        if run("unshare", ["--mount", "true"]).is_ok() {
            let _ = apart.exec();
        }
    }
}

/// What it says is of no interest unless it fails.
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
        match &self.own {
            Ok(()) => write!(f, "repositories on an ext4 of their own"),
            Err(why) => write!(f, "repositories in {} ({why})", self.dir.display()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.own.is_ok() {
            // If it is still in use it goes with this program.
            let _ = run("umount", [self.dir.as_os_str()]);
        }
        // What cannot be removed is left in the directory for such things.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
