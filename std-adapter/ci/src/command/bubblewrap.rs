//! The options of `bwrap(1)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Bind, Isolation, Network};

/// The maximum number of entries of an image's directory that is bound entry by entry.
const ENTRIES_MAX: usize = 1000;

/// The directories in which every sandbox has its own files.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The root directory of a sandbox.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) dir: PathBuf,
    /// The value of the environment variable `PATH`.
    pub(super) path: OsString,
}

impl Root {
    fn is_host(&self) -> bool {
        self.dir == Path::new("/")
    }

    /// Returns the path on the host of a path in the sandbox.
    pub(super) fn on_host(&self, path: &Path) -> PathBuf {
        self.dir.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Returns the options, up to the command. The options contain the environment variables, which may
/// be secrets.
pub(super) fn options(
    isolation: &Isolation,
    root: &Root,
    dir: &Path,
    env: &[(OsString, OsString)],
) -> io::Result<Vec<OsString>> {
    let mut line = Line(Vec::new());
    line.add(["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]);
    line.add(["--cap-drop", "ALL", "--clearenv"]);
    if !isolation.user_namespaces {
        line.add(["--disable-userns"]);
    }
    if isolation.network == Network::Host {
        line.add(["--share-net"]);
    }
    let binds = Binds::new(isolation, root, dir)?;
    line.mount_root(root, &binds)?;
    line.add(["--dev", "/dev", "--proc", "/proc"]);
    let size = isolation.tmp_size.to_string();
    for private in binds.private.iter().chain(&binds.hidden) {
        line.add([
            OsStr::new("--size"),
            OsStr::new(&size),
            OsStr::new("--tmpfs"),
            private.as_os_str(),
        ]);
    }
    for (option, bind) in &binds.mounts {
        line.add([OsStr::new(option), bind.source.as_os_str(), bind.target.as_os_str()]);
    }
    for read_only in binds.hidden.iter().map(PathBuf::as_path).chain([Path::new("/dev")]) {
        line.add([OsStr::new("--remount-ro"), read_only.as_os_str()]);
    }
    if binds.root_is_split {
        line.add(["--remount-ro", "/"]);
    }
    let fixed =
        [(OsStr::new("PATH"), root.path.as_os_str()), (OsStr::new("HOME"), dir.as_os_str())];
    let env = env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    for (name, value) in fixed.into_iter().chain(env) {
        line.add([OsStr::new("--setenv"), name, value]);
    }
    line.add([OsStr::new("--chdir"), dir.as_os_str()]);
    Ok(line.0)
}

/// The mounts of a sandbox.
struct Binds {
    /// The option and the paths, in the order in which the binds are mounted.
    mounts: Vec<(&'static str, Bind)>,
    private: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
    /// Whether the root directory lacks a mount point. As the root directory is read-only, the mount
    /// point cannot be created in it, so its entries are bound to a new directory one by one.
    root_is_split: bool,
    /// The mount points that do not exist.
    missing: Vec<PathBuf>,
}

impl Binds {
    fn new(isolation: &Isolation, root: &Root, dir: &Path) -> io::Result<Binds> {
        let exists = |path: &Path| root.on_host(path).exists();
        let mut mounts: Vec<(&str, Bind)> = Vec::new();
        if root.is_host() && isolation.network == Network::Host {
            // With systemd, this file is a symbolic link to a file in `/run`.
            mounts.extend(
                fs::canonicalize("/etc/resolv.conf").map(|file| ("--ro-bind", file.into())),
            );
        }
        let read_only = isolation.read_only.iter().map(|bind| ("--ro-bind", bind.clone()));
        let writable = isolation.writable.iter().map(|bind| ("--bind", bind.clone()));
        mounts.extend(read_only.chain(writable));
        mounts.push(("--bind", dir.into()));
        for (_, bind) in &mut mounts {
            // The error of `bwrap` would not say which option is wrong.
            bind.source = fs::canonicalize(&bind.source).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", bind.source.display()))
            })?;
        }
        // A directory is mounted before the directories in it.
        mounts.sort_by_key(|(_, bind)| bind.target.components().count());
        let hidden = if root.is_host() { isolation.hidden.as_slice() } else { &[] };
        let hidden: Vec<PathBuf> = hidden
            .iter()
            .filter_map(|dir| fs::canonicalize(dir).ok())
            .filter(|d| d.is_dir())
            .collect();
        let private = PRIVATE.map(PathBuf::from).into_iter();
        let private: Vec<PathBuf> = private
            .filter(|path| {
                !path.starts_with("/var") || (exists(path) && !root.on_host(path).is_symlink())
            })
            .collect();
        let inside = |path: &Path| {
            private.iter().chain(&hidden).any(|dir| path.starts_with(dir))
                || path.starts_with("/dev")
        };
        let fixed = ["/dev", "/proc", "/tmp"].map(PathBuf::from);
        let targets =
            mounts.iter().map(|(_, bind)| bind.target.clone()).filter(|path| !inside(path));
        let missing: Vec<PathBuf> =
            fixed.into_iter().chain(targets).filter(|path| !exists(path)).collect();
        Ok(Binds { root_is_split: !missing.is_empty(), mounts, private, hidden, missing })
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn add<A: AsRef<OsStr>>(&mut self, options: impl IntoIterator<Item = A>) {
        self.0.extend(options.into_iter().map(|option| option.as_ref().to_owned()));
    }

    fn mount_root(&mut self, root: &Root, binds: &Binds) -> io::Result<()> {
        if !binds.root_is_split {
            self.add([OsStr::new("--ro-bind"), root.dir.as_os_str(), OsStr::new("/")]);
            return Ok(());
        }
        self.add(["--tmpfs", "/"]);
        self.mount_entries(root, Path::new("/"), &binds.missing)
    }

    /// Binds the entries of a directory one by one. `missing` are mount points in the directory that
    /// do not exist.
    fn mount_entries(&mut self, root: &Root, dir: &Path, missing: &[PathBuf]) -> io::Result<()> {
        for (number, entry) in fs::read_dir(root.on_host(dir))?.enumerate() {
            if number >= ENTRIES_MAX {
                let text = format!("{} has more than {ENTRIES_MAX} entries", dir.display());
                return Err(io::Error::other(text));
            }
            let entry = entry?;
            let target = dir.join(entry.file_name());
            if entry.file_type()?.is_symlink() {
                let link = fs::read_link(entry.path())?;
                self.add([OsStr::new("--symlink"), link.as_os_str(), target.as_os_str()]);
            } else if missing.iter().any(|path| path.starts_with(&target)) {
                self.add([OsStr::new("--dir"), target.as_os_str()]);
                self.mount_entries(root, &target, missing)?;
            } else {
                self.add([OsStr::new("--ro-bind"), entry.path().as_os_str(), target.as_os_str()]);
            }
        }
        Ok(())
    }
}
