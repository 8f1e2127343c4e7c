//! The isolation of a command from the host.

use std::path::{Path, PathBuf};

/// The isolation of a command from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sandbox {
    /// A sandbox created by bubblewrap (`bwrap`, version 0.8 or later).
    Isolated(Isolation),
    /// No isolation. The command has the same access rights as this process. A process that leaves
    /// the command's process group is killed only if the CI can create control groups.
    Unsandboxed,
}

impl Default for Sandbox {
    /// Returns a sandbox that contains the host's files and has no network access.
    fn default() -> Sandbox {
        Sandbox::Isolated(Isolation::default())
    }
}

impl From<Isolation> for Sandbox {
    fn from(isolation: Isolation) -> Sandbox {
        Sandbox::Isolated(isolation)
    }
}

/// The options of a sandbox.
///
/// In a sandbox, the root directory is read-only. The command can write to its directory, to the
/// private directories `/tmp`, `/var/tmp` and `/dev/shm`, and to the paths in
/// [`writable`](Isolation::writable). The command has no capabilities, cannot gain privileges, and
/// sees only its own processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolation {
    /// The files that the command sees.
    pub image: Image,
    /// Whether the command can use the network.
    pub network: Network,
    /// Host files and directories that are visible but read-only in the sandbox.
    pub read_only: Vec<Bind>,
    /// Host files and directories to which the command can write, for example caches.
    pub writable: Vec<Bind>,
    /// Host directories that are empty in the sandbox. By default, these are the user's home
    /// directory, which can contain keys, and `/run`, which contains service sockets. A bind inside
    /// a hidden directory is visible, and a hidden directory inside a bind is hidden. The option
    /// has no effect on images other than [`Image::Host`].
    pub hidden: Vec<PathBuf>,
    /// The maximum size of each private directory, in bytes. The files are kept in memory. The
    /// default is 1 GiB.
    pub tmp_size: u64,
    /// Whether the command can create user namespaces, which browsers and nested sandboxes need.
    /// The default is `false`, because namespaces expose more kernel code.
    pub user_namespaces: bool,
    /// Whether to block system calls that builds do not need, for example `bpf`, `keyctl` and
    /// `io_uring_setup`. The default is `true`. This option is supported on x86-64 and AArch64.
    pub seccomp: bool,
    /// A program and its arguments. The program restricts the command with Landlock, in addition to
    /// the mounts. It calls [`restrict_and_run`](super::landlock::restrict_and_run) and must be
    /// visible in the sandbox. The option has no effect on images other than [`Image::Host`],
    /// because these images might lack libraries that the program needs. By default, Landlock is
    /// not used.
    pub landlock: Option<Vec<PathBuf>>,
}

impl Default for Isolation {
    fn default() -> Isolation {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute() && home.parent().is_some());
        Isolation {
            image: Image::Host,
            network: Network::None,
            read_only: Vec::new(),
            writable: Vec::new(),
            hidden: home.into_iter().chain([PathBuf::from("/run")]).collect(),
            tmp_size: 1 << 30,
            user_namespaces: false,
            seccomp: true,
            landlock: None,
        }
    }
}

impl Isolation {
    /// Sets the files that the command sees.
    #[must_use]
    pub fn image(self, image: Image) -> Isolation {
        Isolation { image, ..self }
    }

    /// Sets whether the command can use the network.
    #[must_use]
    pub fn network(self, network: Network) -> Isolation {
        Isolation { network, ..self }
    }

    /// Makes a host file or directory visible in the sandbox, but read-only.
    #[must_use]
    pub fn read_only(mut self, bind: impl Into<Bind>) -> Isolation {
        self.read_only.push(bind.into());
        self
    }

    /// Allows the command to write to a host file or directory.
    #[must_use]
    pub fn writable(mut self, bind: impl Into<Bind>) -> Isolation {
        self.writable.push(bind.into());
        self
    }

    /// Hides a host directory.
    #[must_use]
    pub fn hide(mut self, dir: impl Into<PathBuf>) -> Isolation {
        self.hidden.push(dir.into());
        self
    }

    /// Sets the maximum size of each private directory, in bytes.
    #[must_use]
    pub fn tmp_size(self, tmp_size: u64) -> Isolation {
        Isolation { tmp_size, ..self }
    }

    /// Sets whether the command can create user namespaces.
    #[must_use]
    pub fn user_namespaces(self, user_namespaces: bool) -> Isolation {
        Isolation { user_namespaces, ..self }
    }
}

/// The files that a command sees.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Image {
    /// The host's files.
    Host,
    /// The files in a directory, which becomes the root directory.
    Directory(PathBuf),
    /// The files of a container image. `podman` downloads the image only once and unpacks it into a
    /// directory. Of the image's configuration, only the `PATH` variable is used.
    Podman {
        /// The name of the image, for example `docker.io/library/rust:1-slim`.
        name: String,
        /// The directory that contains the unpacked images.
        cache: PathBuf,
    },
}

/// Whether a command can use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The command has only its own loopback interface.
    None,
    /// The command uses the host's network, including services that listen on `localhost`.
    Host,
}

/// A host file or directory that is visible in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the sandbox.
    pub target: PathBuf,
}

impl Bind {
    /// Creates a bind with different paths on the host and in the sandbox.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Bind {
        Bind { source: source.into(), target: target.into() }
    }
}

impl From<PathBuf> for Bind {
    fn from(path: PathBuf) -> Bind {
        Bind { source: path.clone(), target: path }
    }
}

impl From<&Path> for Bind {
    fn from(path: &Path) -> Bind {
        path.to_owned().into()
    }
}

impl From<&str> for Bind {
    fn from(path: &str) -> Bind {
        PathBuf::from(path).into()
    }
}
