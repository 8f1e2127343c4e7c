//! The messages sent to the session and to the model.

use datakit_core::wire::{
    DMDIR, Data, Dialect, Extension, Fid, List, Numeric, Qid, Stat, StatUnix, Str, Tag,
    Tmessage as T,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::state::{Model, OpenState};

const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;

/// The mode bits of Topen, except for the access mode.
pub const ORCLOSE: u8 = 0x40;
pub const OTRUNC: u8 = 0x10;

/// A client's request. The encoding depends on the dialect.
#[derive(Debug, Clone)]
pub enum Message {
    Version(Version),
    Attach {
        fid: u32,
        aname: &'static str,
    },
    Walk {
        fid: u32,
        newfid: u32,
        names: Vec<&'static str>,
    },
    Open {
        fid: u32,
        mode: u8,
    },
    Create {
        fid: u32,
        name: &'static str,
        mode: u8,
        exclusive: bool,
    },
    Mkdir {
        fid: u32,
        name: &'static str,
        mode: u8,
    },
    Read {
        fid: u32,
        at: At,
        count: u32,
    },
    Readdir {
        fid: u32,
    },
    Write {
        fid: u32,
    },
    Clunk {
        fid: u32,
    },
    Remove {
        fid: u32,
    },
    Stat {
        fid: u32,
    },
    /// Renames a file. In 9P2000.L, also moves the file to the directory to which `dfid` refers. In
    /// the other dialects, the file remains in its directory.
    Rename {
        fid: u32,
        dfid: u32,
        name: &'static str,
    },
    /// A request that does not exist in the current dialect.
    Foreign {
        fid: u32,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Version {
    Legacy,
    Unix,
    Linux,
    Unknown,
}

/// The offset at which to read a directory.
#[derive(Debug, Clone, Copy)]
pub enum At {
    Start,
    /// The offset at which the previous read of the directory ended.
    Here,
    Elsewhere,
}

fn fid() -> impl Strategy<Value = u32> {
    0..6u32
}

fn name() -> impl Strategy<Value = &'static str> {
    select(&["a", "b", "c", "a", "b", "c", "..", ".", ""][..])
}

fn step() -> impl Strategy<Value = &'static str> {
    select(&["a", "b", "a", "b", "c", "no", "..", "..", ".", ""][..])
}

fn mode() -> impl Strategy<Value = u8> {
    select(&[0, 0, 0, 1, 2, 3, 0x10, 0x11, ORCLOSE, ORCLOSE | 2, 0x80][..])
}

/// Generates arbitrary messages.
pub fn message() -> impl Strategy<Value = Message> {
    let version = select(&[Version::Legacy, Version::Unix, Version::Linux, Version::Unknown][..]);
    let aname = select(&["", "/", "/a", "a/b", "/a/", "c", "/no"][..]);
    let at = select(&[At::Start, At::Here, At::Here, At::Elsewhere][..]);
    let count = select(&[0u32, 70, 150, 8000, u32::MAX][..]);
    prop_oneof![
        1 => version.prop_map(Message::Version),
        6 => (fid(), aname).prop_map(|(fid, aname)| Message::Attach { fid, aname }),
        20 => (fid(), fid(), vec(step(), 0..5)).prop_map(|(fid, newfid, names)| Message::Walk { fid, newfid, names }),
        10 => (fid(), mode()).prop_map(|(fid, mode)| Message::Open { fid, mode }),
        8 => (fid(), name(), mode(), any::<bool>())
            .prop_map(|(fid, name, mode, exclusive)| Message::Create { fid, name, mode, exclusive }),
        8 => (fid(), name(), mode()).prop_map(|(fid, name, mode)| Message::Mkdir { fid, name, mode }),
        8 => (fid(), at, count).prop_map(|(fid, at, count)| Message::Read { fid, at, count }),
        4 => fid().prop_map(|fid| Message::Readdir { fid }),
        4 => fid().prop_map(|fid| Message::Write { fid }),
        8 => fid().prop_map(|fid| Message::Clunk { fid }),
        8 => fid().prop_map(|fid| Message::Remove { fid }),
        2 => fid().prop_map(|fid| Message::Stat { fid }),
        6 => (fid(), fid(), name()).prop_map(|(fid, dfid, name)| Message::Rename { fid, dfid, name }),
        1 => fid().prop_map(|fid| Message::Foreign { fid }),
    ]
}

impl Message {
    /// Returns messages that create the `a/b` directory and the `c` file. Afterwards, fid 0 refers
    /// to the root. Fid 1 is attached to `a`, and fid 2 refers to `a/b`.
    pub fn setup() -> Vec<Message> {
        let walk = |newfid, names| Message::Walk { fid: 0, newfid, names };
        vec![
            Message::Attach { fid: 0, aname: "" },
            walk(1, vec![]),
            Message::Mkdir { fid: 1, name: "a", mode: 0 },
            Message::Clunk { fid: 1 },
            walk(1, vec!["a"]),
            Message::Mkdir { fid: 1, name: "b", mode: 0 },
            Message::Clunk { fid: 1 },
            walk(1, vec![]),
            Message::Create { fid: 1, name: "c", mode: 1, exclusive: false },
            Message::Clunk { fid: 1 },
            Message::Attach { fid: 1, aname: "/a" },
            Message::Walk { fid: 1, newfid: 2, names: vec!["b"] },
        ]
    }

    /// Encodes the message into `buf` and returns the length of the frame.
    pub fn encode(&self, model: &Model, buf: &mut [u8]) -> usize {
        let dialect = model.dialect.unwrap_or(Dialect::Legacy);
        let linux = dialect == Dialect::Linux;
        let mut wnames = Vec::new();
        let request = match self {
            Message::Version(version) => {
                T::Version { msize: crate::MSIZE, version: version.text().into() }
            }
            Message::Attach { fid, aname } => T::Attach {
                fid: Fid(*fid),
                afid: Fid::NONE,
                uname: "u".into(),
                aname: (*aname).into(),
                n_uname: Numeric::NONE,
            },
            Message::Walk { fid, newfid, names } => {
                wnames.extend(names.iter().map(|name| Str::from(*name)));
                T::Walk {
                    fid: Fid(*fid),
                    newfid: Fid(*newfid),
                    wnames: List::from(wnames.as_slice()),
                }
            }
            Message::Open { fid, mode } if linux => {
                T::Lopen { fid: Fid(*fid), flags: flags(*mode) }
            }
            Message::Open { fid, mode } => T::Open { fid: Fid(*fid), mode: *mode },
            Message::Create { fid, name, mode, exclusive } if linux => {
                let flags = flags(*mode) | O_CREAT | if *exclusive { O_EXCL } else { 0 };
                T::Lcreate { fid: Fid(*fid), name: (*name).into(), flags, mode: 0o644, gid: 0 }
            }
            Message::Create { fid, name, mode, .. } => create(*fid, name, 0o644, *mode),
            Message::Mkdir { fid, name, .. } if linux => {
                T::Mkdir { dfid: Fid(*fid), name: (*name).into(), mode: 0o755, gid: 0 }
            }
            Message::Mkdir { fid, name, mode } => create(*fid, name, DMDIR | 0o755, *mode),
            Message::Read { fid, at, count } => {
                T::Read { fid: Fid(*fid), offset: at.offset(*fid, model), count: *count }
            }
            Message::Readdir { fid } if linux => {
                T::Readdir { fid: Fid(*fid), offset: 0, count: u32::MAX }
            }
            Message::Readdir { fid } => T::Read { fid: Fid(*fid), offset: 0, count: u32::MAX },
            Message::Write { fid } => T::Write { fid: Fid(*fid), offset: 3, data: Data(b"data") },
            Message::Clunk { fid } => T::Clunk { fid: Fid(*fid) },
            Message::Remove { fid } => T::Remove { fid: Fid(*fid) },
            Message::Stat { fid } if linux => T::Getattr { fid: Fid(*fid), mask: !0 },
            Message::Stat { fid } => T::Stat { fid: Fid(*fid) },
            Message::Rename { fid, dfid, name } if linux => {
                T::Rename { fid: Fid(*fid), dfid: Fid(*dfid), name: (*name).into() }
            }
            Message::Rename { fid, name, .. } => T::Wstat { fid: Fid(*fid), stat: renamed(name) },
            Message::Foreign { fid } if linux => T::Open { fid: Fid(*fid), mode: 0 },
            Message::Foreign { fid } => T::Lopen { fid: Fid(*fid), flags: 0 },
        };
        request.encode(Tag(1), dialect, buf).unwrap()
    }
}

impl Version {
    fn text(self) -> &'static str {
        self.dialect().map_or("6P", Dialect::version)
    }

    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Version::Legacy => Some(Dialect::Legacy),
            Version::Unix => Some(Dialect::Unix),
            Version::Linux => Some(Dialect::Linux),
            Version::Unknown => None,
        }
    }
}

impl At {
    pub fn offset(self, fid: u32, model: &Model) -> u64 {
        match (self, model.fids.get(&fid).map(|known| &known.opened)) {
            (At::Start, _) => 0,
            (At::Here, Some(OpenState::Dir { at, .. })) => *at,
            (At::Here, _) => 1,
            (At::Elsewhere, _) => 12345,
        }
    }
}

fn create(fid: u32, name: &'static str, perm: u32, mode: u8) -> T<'static> {
    T::Create { fid: Fid(fid), name: name.into(), perm, mode, extension: Extension(None) }
}

/// Returns the Tlopen flags for a mode byte. There is no flag equivalent to ORCLOSE.
fn flags(mode: u8) -> u32 {
    u32::from(mode & 3) | if mode & 0x10 == 0 { 0 } else { O_TRUNC }
}

/// Returns a stat record for a Twstat that changes only the name.
fn renamed(name: &'static str) -> Stat<'static> {
    Stat {
        kind: u16::MAX,
        dev: u32::MAX,
        qid: Qid { kind: 0xff, version: u32::MAX, path: u64::MAX },
        mode: u32::MAX,
        atime: u32::MAX,
        mtime: u32::MAX,
        length: u64::MAX,
        name: name.into(),
        unix: Some(StatUnix {
            extension: Str(b""),
            n_uid: u32::MAX,
            n_gid: u32::MAX,
            n_muid: u32::MAX,
        }),
        ..Stat::default()
    }
}
