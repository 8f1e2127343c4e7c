//! Property tests: every message in every dialect survives a round trip, and random bytes are
//! either decoded or rejected.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as many;
use proptest::prelude::*;

use super::super::{Rmessage as R, Tmessage as T, *};

const DIALECTS: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];

/// The values from which the generated messages borrow.
#[derive(Clone, Debug)]
struct Seed {
    texts: [Vec<u8>; 5],
    names: Vec<Vec<u8>>,
    qids: Vec<Qid>,
    data: Vec<u8>,
    numbers: [u64; 8],
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    many(1u8.., 0..20)
}

fn qid() -> impl Strategy<Value = Qid> {
    any::<(u8, u32, u64)>().prop_map(|(kind, version, path)| Qid { kind, version, path })
}

fn seed() -> impl Strategy<Value = Seed> {
    let texts = [text(), text(), text(), text(), text()];
    let qids = many(qid(), 1..20);
    (texts, many(text(), 0..20), qids, many(any::<u8>(), 0..50), any::<[u64; 8]>())
        .prop_map(|(texts, names, qids, data, numbers)| Seed { texts, names, qids, data, numbers })
}

impl Seed {
    fn n8(&self, index: usize) -> u8 {
        self.numbers[index] as u8
    }
    fn n32(&self, index: usize) -> u32 {
        self.numbers[index] as u32
    }
    fn n64(&self, index: usize) -> u64 {
        self.numbers[index]
    }
    fn fid(&self, index: usize) -> Fid {
        Fid(self.n32(index))
    }
    fn text(&self, index: usize) -> Str<'_> {
        Str(&self.texts[index])
    }
    fn names(&self) -> Vec<Str<'_>> {
        self.names.iter().map(|name| Str(name)).collect()
    }
    fn stat(&self, dialect: Dialect) -> Stat<'_> {
        let unix = StatUnix {
            extension: self.text(4),
            n_uid: self.n32(5),
            n_gid: self.n32(6),
            n_muid: self.n32(7),
        };
        Stat {
            kind: self.n32(0) as u16,
            dev: self.n32(1),
            qid: self.qids[0],
            mode: self.n32(2),
            atime: self.n32(3),
            mtime: self.n32(4),
            length: self.n64(5),
            name: self.text(0),
            uid: self.text(1),
            gid: self.text(2),
            muid: self.text(3),
            unix: (dialect == Dialect::Unix).then_some(unix),
        }
    }
    #[cfg(feature = "linux")]
    fn time(&self, index: usize) -> Time {
        Time { sec: self.n64(index), nsec: self.n64(index + 1) }
    }
}

fn requests<'a>(s: &'a Seed, names: &'a [Str<'a>], dialect: Dialect) -> Vec<T<'a>> {
    let fid = s.fid(0);
    let n_uname = if dialect == Dialect::Legacy { Numeric::NONE } else { Numeric(s.n32(3)) };
    let mut all = vec![
        T::Version { msize: s.n32(0), version: s.text(0) },
        T::Auth { afid: fid, uname: s.text(0), aname: s.text(1), n_uname },
        T::Attach { fid, afid: s.fid(1), uname: s.text(0), aname: s.text(1), n_uname },
        T::Flush { oldtag: Tag(s.n32(1) as u16) },
        T::Walk { fid, newfid: s.fid(1), wnames: names.into() },
        T::Read { fid, offset: s.n64(1), count: s.n32(2) },
        T::Write { fid, offset: s.n64(1), data: Data(&s.data) },
        T::Clunk { fid },
        T::Remove { fid },
    ];
    if dialect != Dialect::Linux {
        let extension = Extension((dialect == Dialect::Unix).then_some(s.text(1)));
        all.extend([
            T::Open { fid, mode: s.n8(1) },
            T::Create { fid, name: s.text(0), perm: s.n32(1), mode: s.n8(2), extension },
            T::Stat { fid },
            T::Wstat { fid, stat: s.stat(dialect) },
        ]);
    }
    #[cfg(feature = "linux")]
    if dialect == Dialect::Linux {
        all.extend(requests_of_linux(s));
    }
    all
}

#[cfg(feature = "linux")]
fn requests_of_linux(s: &Seed) -> [T<'_>; 20] {
    let (fid, dfid, name) = (s.fid(0), s.fid(1), s.text(0));
    let (start, length, proc_id, client_id) = (s.n64(4), s.n64(5), s.n32(6), s.text(2));
    let set = SetAttr {
        valid: s.n32(1),
        mode: s.n32(2),
        uid: s.n32(3),
        gid: s.n32(4),
        size: s.n64(5),
        atime: s.time(0),
        mtime: s.time(2),
    };
    [
        T::Statfs { fid },
        T::Lopen { fid, flags: s.n32(1) },
        T::Lcreate { fid, name, flags: s.n32(1), mode: s.n32(2), gid: s.n32(3) },
        T::Symlink { dfid, name, target: s.text(1), gid: s.n32(2) },
        T::Mknod { dfid, name, mode: s.n32(1), major: s.n32(2), minor: s.n32(3), gid: s.n32(4) },
        T::Rename { fid, dfid, name },
        T::Readlink { fid },
        T::Getattr { fid, mask: s.n64(1) },
        T::Setattr { fid, set },
        T::Xattrwalk { fid, newfid: dfid, name },
        T::Xattrcreate { fid, name, attr_size: s.n64(2), flags: s.n32(3) },
        T::Readdir { fid, offset: s.n64(1), count: s.n32(2) },
        T::Fsync { fid, datasync: Datasync(s.n32(1)) },
        T::Lock { fid, kind: s.n8(2), flags: s.n32(3), start, length, proc_id, client_id },
        T::Getlock { fid, kind: s.n8(2), start, length, proc_id, client_id },
        T::Link { dfid, fid, name },
        T::Mkdir { dfid, name, mode: s.n32(2), gid: s.n32(3) },
        T::Renameat { olddirfid: fid, oldname: name, newdirfid: dfid, newname: s.text(1) },
        T::Unlinkat { dirfid: dfid, name, flags: s.n32(2) },
        T::Unlinkat { dirfid: fid, name: s.text(1), flags: 0x200 },
    ]
}

fn replies(s: &Seed, dialect: Dialect) -> Vec<R<'_>> {
    let (qid, data) = (s.qids[0], Data(&s.data));
    let mut all = vec![
        R::Version { msize: s.n32(0), version: s.text(0) },
        R::Auth { aqid: qid },
        R::Attach { qid },
        R::Flush,
        R::Walk { wqids: s.qids.as_slice().into() },
        R::Read { data },
        R::Write { count: s.n32(0) },
        R::Clunk,
        R::Remove,
    ];
    if dialect != Dialect::Linux {
        let errno = Errno(if dialect == Dialect::Unix { s.n32(0) } else { 0 });
        all.extend([
            R::Error { ename: s.text(0), errno },
            R::Open { qid, iounit: s.n32(0) },
            R::Create { qid, iounit: s.n32(0) },
            R::Stat { stat: s.stat(dialect) },
            R::Wstat,
        ]);
    }
    #[cfg(feature = "linux")]
    if dialect == Dialect::Linux {
        all.extend(replies_of_linux(s));
    }
    all
}

#[cfg(feature = "linux")]
fn replies_of_linux(s: &Seed) -> [R<'_>; 20] {
    let (qid, iounit) = (s.qids[0], s.n32(0));
    let attr = Attr {
        valid: s.n64(0),
        qid,
        mode: s.n32(1),
        uid: s.n32(2),
        gid: s.n32(3),
        nlink: s.n64(4),
        rdev: s.n64(5),
        size: s.n64(6),
        blksize: s.n64(7),
        blocks: s.n64(0),
        atime: s.time(1),
        mtime: s.time(2),
        ctime: s.time(3),
        btime: s.time(4),
        generation: s.n64(5),
        data_version: s.n64(6),
    };
    let statfs = StatFs {
        kind: s.n32(0),
        bsize: s.n32(1),
        blocks: s.n64(2),
        bfree: s.n64(3),
        bavail: s.n64(4),
        files: s.n64(5),
        ffree: s.n64(6),
        fsid: s.n64(7),
        namelen: s.n32(2),
    };
    let (start, length, proc_id, client_id) = (s.n64(4), s.n64(5), s.n32(6), s.text(2));
    [
        R::Lerror { ecode: s.n32(0) },
        R::Statfs { statfs },
        R::Lopen { qid, iounit },
        R::Lcreate { qid, iounit },
        R::Symlink { qid },
        R::Mknod { qid },
        R::Rename,
        R::Readlink { target: s.text(0) },
        R::Getattr { attr },
        R::Setattr,
        R::Xattrwalk { size: s.n64(0) },
        R::Xattrcreate,
        R::Readdir { data: Data(&s.data) },
        R::Fsync,
        R::Lock { status: s.n8(0) },
        R::Getlock { kind: s.n8(0), start, length, proc_id, client_id },
        R::Link,
        R::Mkdir { qid },
        R::Renameat,
        R::Unlinkat,
    ]
}

/// Writes the correct size into a frame so that the body is decoded too.
fn resize(frame: &mut [u8]) {
    let size = (frame.len() as u32).to_le_bytes();
    if let Some(place) = frame.get_mut(..4) {
        place.copy_from_slice(&size);
    }
}

/// Checks that one `T` or `R` message survives a round trip in one dialect.
macro_rules! check {
    ($type:ident, $message:expr, $dialect:expr) => {{
        let (message, dialect) = ($message, $dialect);
        let mut buf = [0; 2048];
        let length = message.encode(Tag(7), dialect, &mut buf).unwrap();
        prop_assert_eq!($type::decode(&buf[..length], dialect), Ok((Tag(7), message)));
        prop_assert!(!message.to_string().contains('\n'));
        for short in 0..length {
            prop_assert_eq!(message.encode(Tag(7), dialect, &mut vec![0; short]), Err(Full));
            prop_assert_eq!($type::decode(&buf[..short], dialect), Err(Malformed::Short));
            let mut cut = buf[..short].to_vec();
            resize(&mut cut);
            // The `datasync` field of Tfsync may be missing.
            if !(cut.len() == 11 && cut[4] == 50) {
                prop_assert!($type::decode(&cut, dialect).is_err(), "{} cut to {}", message, short);
            }
        }
        let mut more = buf[..length + 1].to_vec();
        resize(&mut more);
        prop_assert_eq!($type::decode(&more, dialect), Err(Malformed::Trailing));
    }};
}

/// Decodes a frame, and checks that a valid message survives a round trip.
macro_rules! survive {
    ($type:ident, $frame:expr, $dialect:expr) => {
        if let Ok((tag, message)) = $type::decode($frame, $dialect) {
            let (mut once, mut twice) = ([0; 4096], [0; 4096]);
            let length = message.encode(tag, $dialect, &mut once).unwrap();
            let (_, again) = $type::decode(&once[..length], $dialect).unwrap();
            prop_assert_eq!(again.encode(tag, $dialect, &mut twice), Ok(length));
            prop_assert_eq!(once, twice);
            prop_assert!(!message.to_string().contains('\n'));
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn requests_survive_a_round_trip(seed in seed()) {
        let names = seed.names();
        for dialect in DIALECTS {
            for message in requests(&seed, &names, dialect) {
                check!(T, message, dialect);
            }
        }
    }

    #[test]
    fn replies_survive_a_round_trip(seed in seed()) {
        for dialect in DIALECTS {
            for message in replies(&seed, dialect) {
                check!(R, message, dialect);
            }
        }
    }

    /// Changing a few bytes of a valid message exercises code that random bytes do not reach.
    #[test]
    fn damaged_messages_are_decoded_or_refused(seed in seed(), damage in many(any::<(prop::sample::Index, u8)>(), 1..4), cut in any::<prop::sample::Index>()) {
        let names = seed.names();
        for dialect in DIALECTS {
            let frames = requests(&seed, &names, dialect)
                .iter()
                .map(|message| encoded(|buf| message.encode(Tag(1), dialect, buf)))
                .chain(replies(&seed, dialect).iter().map(|message| encoded(|buf| message.encode(Tag(1), dialect, buf))))
                .collect::<Vec<_>>();
            for mut frame in frames {
                for (at, byte) in &damage {
                    let at = at.index(frame.len());
                    frame[at] = *byte;
                }
                frame.truncate(HEADER + cut.index(2 * frame.len()));
                resize(&mut frame);
                for dialect in DIALECTS {
                    survive!(T, &frame, dialect);
                    survive!(R, &frame, dialect);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_decoded_or_refused(mut frame in many(any::<u8>(), 0..100), sized in any::<bool>()) {
        if sized {
            resize(&mut frame);
        }
        for dialect in DIALECTS {
            survive!(T, &frame, dialect);
            survive!(R, &frame, dialect);
            prop_assert!(Stat::decode_all(&frame, dialect).count() <= frame.len());
        }
        prop_assert!(Dirent::decode_all(&frame).count() <= frame.len());
        let _ = (tag(&frame), kind(&frame));
    }
}

fn encoded(encode: impl Fn(&mut [u8]) -> Result<usize, Full>) -> Vec<u8> {
    let mut buf = vec![0; 2048];
    let length = encode(&mut buf).unwrap();
    buf.truncate(length);
    buf
}
