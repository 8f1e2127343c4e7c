//! The options of `bwrap(1)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Bind, Isolation, Network};

/// The maximum number of entries to bind one by one in an image directory.
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
    pub(super) fn is_host(&self) -> bool {
        self.dir == Path::new("/")
    }

    /// Converts a path in the sandbox to the path on the host.
    pub(super) fn on_host(&self, path: &Path) -> PathBuf {
        self.dir.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Returns the options that precede the command. These options contain the environment variables,
/// which can be secrets.
pub(super) fn options(
    isolation: &Isolation,
    root: &Root,
    dir: &Path,
    env: &[(OsString, OsString)],
) -> io::Result<Vec<OsString>> {
    let mut line = CommandLine(Vec::new());
    line.add(["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]);
    line.add(["--cap-drop", "ALL", "--clearenv"]);
    if !isolation.user_namespaces {
        line.add(["--disable-userns"]);
    }
    if isolation.network == Network::Host {
        line.add(["--share-net"]);
    }
    let mounts = Mounts::new(isolation, root, dir)?;
    line.mount_root(root, &mounts.missing)?;
    line.add(["--dev", "/dev", "--proc", "/proc"]);
    let size = isolation.tmp_size.max(1).to_string();
    for mount in &mounts.list {
        let target = mount.target.as_os_str();
        match &mount.kind {
            MountKind::Bind(option, source) => {
                line.add([OsStr::new(option), source.as_os_str(), target])
            }
            MountKind::Private | MountKind::Hidden => {
                line.add(["--size", &size]);
                line.add([OsStr::new("--tmpfs"), target]);
            }
        }
    }
    // At this point, the mount points in these directories have been created.
    for read_only in mounts.read_only() {
        line.add([OsStr::new("--remount-ro"), read_only.as_os_str()]);
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

/// The mounts of a sandbox, except for the root directory, `/dev` and `/proc`.
struct Mounts {
    /// Mount each directory before its subdirectories.
    list: Vec<Mount>,
    /// The mount points that do not exist in the root directory. They cannot be created there,
    /// because the root directory is read-only. If any are missing, the entries of the root
    /// directory are bound one by one into a new directory.
    missing: Vec<PathBuf>,
}

struct Mount {
    target: PathBuf,
    kind: MountKind,
}

#[derive(PartialEq, Eq)]
enum MountKind {
    /// An empty directory to which the command can write.
    Private,
    /// An empty directory to which the command cannot write.
    Hidden,
    /// The option and the path on the host.
    Bind(&'static str, PathBuf),
}

impl Mounts {
    fn new(isolation: &Isolation, root: &Root, dir: &Path) -> io::Result<Mounts> {
        let exists = |path: &Path| root.on_host(path).exists();
        // In many images, `/var/tmp` is a symbolic link or does not exist.
        let is_private = |path: &PathBuf| {
            !path.starts_with("/var") || (exists(path) && !root.on_host(path).is_symlink())
        };
        let private = PRIVATE.map(PathBuf::from).into_iter().filter(is_private);
        let mut list: Vec<Mount> =
            private.map(|target| Mount { target, kind: MountKind::Private }).collect();
        if root.is_host() {
            let hidden = isolation.hidden.iter().filter_map(|dir| fs::canonicalize(dir).ok());
            let hidden = hidden.filter(|dir| dir.is_dir());
            list.extend(hidden.map(|target| Mount { target, kind: MountKind::Hidden }));
        }
        let empty: Vec<PathBuf> = list.iter().map(|mount| mount.target.clone()).collect();
        let is_inside =
            |path: &Path| empty.iter().any(|dir| path.starts_with(dir)) || path.starts_with("/dev");
        for (option, bind) in binds(isolation, root, dir) {
            // Resolve the path here, because an error from `bwrap` does not say which option is
            // wrong.
            let source = fs::canonicalize(&bind.source).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", bind.source.display()))
            })?;
            // `bwrap` does not follow the host's symbolic links.
            let real = (root.is_host() && !is_inside(&bind.target))
                .then(|| fs::canonicalize(&bind.target).ok())
                .flatten();
            let target = real.unwrap_or(bind.target);
            list.push(Mount { target, kind: MountKind::Bind(option, source) });
        }
        // The sort is stable, so a bind is mounted over an empty directory that has the same path.
        list.sort_by_key(|mount| mount.target.components().count());
        let fixed = ["/dev", "/proc", "/tmp"].map(PathBuf::from).into_iter();
        let targets = list.iter().map(|mount| mount.target.clone());
        let targets = targets.filter(|path| !is_inside(path));
        let missing = fixed.chain(targets).filter(|path| !exists(path)).collect();
        Ok(Mounts { list, missing })
    }

    /// Returns the directories created by `bwrap` that must be read-only for the command.
    fn read_only(&self) -> Vec<&Path> {
        let is_bound = |path: &Path| {
            let mut same = self.list.iter().filter(|mount| mount.target == path);
            same.any(|mount| matches!(mount.kind, MountKind::Bind(..)))
        };
        let hidden = self.list.iter().filter(|mount| mount.kind == MountKind::Hidden);
        let hidden = hidden.map(|mount| mount.target.as_path()).filter(|path| !is_bound(path));
        let root = (!self.missing.is_empty()).then_some(Path::new("/"));
        hidden.chain([Path::new("/dev")]).chain(root).collect()
    }
}

/// Returns the binds and their options.
fn binds(isolation: &Isolation, root: &Root, dir: &Path) -> Vec<(&'static str, Bind)> {
    let mut binds = Vec::new();
    if root.is_host() && isolation.network == Network::Host {
        // With systemd, this file is a symbolic link to a file in `/run`.
        let file = fs::canonicalize("/etc/resolv.conf");
        binds.extend(file.map(|file| ("--ro-bind", file.into())));
    }
    binds.extend(isolation.read_only.iter().map(|bind| ("--ro-bind", bind.clone())));
    binds.extend(isolation.writable.iter().map(|bind| ("--bind", bind.clone())));
    binds.push(("--bind", dir.into()));
    binds
}

struct CommandLine(Vec<OsString>);

impl CommandLine {
    fn add<A: AsRef<OsStr>>(&mut self, options: impl IntoIterator<Item = A>) {
        self.0.extend(options.into_iter().map(|option| option.as_ref().to_owned()));
    }

    fn mount_root(&mut self, root: &Root, missing: &[PathBuf]) -> io::Result<()> {
        if missing.is_empty() {
            self.add([OsStr::new("--ro-bind"), root.dir.as_os_str(), OsStr::new("/")]);
            return Ok(());
        }
        self.add(["--tmpfs", "/"]);
        self.mount_entries(root, Path::new("/"), missing)
    }

    /// Binds the entries of a directory one by one. `missing` lists the mount points that do not
    /// exist in the directory.
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
