//! Tests for decoding and encoding real frames. The `property` module tests round trips and random
//! bytes.

mod property;

use std::string::ToString;
use std::vec::Vec;

use super::{Rmessage as R, Tmessage as T, *};

/// Parses a frame dump, which consists of hexadecimal digits, spaces and quoted text.
fn frame(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in dump.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend(part.bytes());
        } else {
            let digits: std::string::String = part.split_whitespace().collect();
            bytes.extend(
                (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
            );
        }
    }
    bytes
}

fn request(dialect: Dialect, dump: &str, tag: u16, message: T<'_>) {
    let bytes = frame(dump);
    assert_eq!(T::decode(&bytes, dialect), Ok((Tag(tag), message)), "{dump}");
    let mut buf = [0xaa; 512];
    let length = message.encode(Tag(tag), dialect, &mut buf).unwrap();
    assert_eq!(buf[..length], bytes, "{message}");
}

fn reply(dialect: Dialect, dump: &str, tag: u16, message: R<'_>) {
    let bytes = frame(dump);
    assert_eq!(R::decode(&bytes, dialect), Ok((Tag(tag), message)), "{dump}");
    let mut buf = [0xaa; 512];
    let length = message.encode(Tag(tag), dialect, &mut buf).unwrap();
    assert_eq!(buf[..length], bytes, "{message}");
}

const QID: Qid = Qid { kind: Qid::DIR, version: 5, path: 0x0102_0304 };

#[test]
fn encodes_and_decodes_requests_of_9p2000() {
    let request = |dump, tag, message| request(Dialect::Legacy, dump, tag, message);
    request(
        "13000000 64 ffff 00200000 0600 '9P2000'",
        0xffff,
        T::Version { msize: 8192, version: "9P2000".into() },
    );
    request(
        "16000000 68 0100 00000000 ffffffff 0300 'joe' 0000",
        1,
        T::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: "joe".into(),
            aname: "".into(),
            n_uname: Numeric::NONE,
        },
    );
    request("09000000 6c 0200 0100", 2, T::Flush { oldtag: Tag(1) });
    let wnames = ["a".into(), "bc".into()];
    request(
        "18000000 6e 0300 01000000 02000000 0200 0100 'a' 0200 'bc'",
        3,
        T::Walk { fid: Fid(1), newfid: Fid(2), wnames: List::Slice(&wnames) },
    );
    request("0c000000 70 0400 02000000 11", 4, T::Open { fid: Fid(2), mode: 0x11 });
    request(
        "13000000 72 0400 02000000 0100 'n' a4010000 01",
        4,
        T::Create {
            fid: Fid(2),
            name: "n".into(),
            perm: 0o644,
            mode: 1,
            extension: Extension(None),
        },
    );
    request(
        "17000000 74 0500 02000000 0807060504030201 00010000",
        5,
        T::Read { fid: Fid(2), offset: 0x0102_0304_0506_0708, count: 256 },
    );
    request(
        "1a000000 76 0500 02000000 0100000000000000 03000000 'h' 00 'i'",
        5,
        T::Write { fid: Fid(2), offset: 1, data: Data(b"h\0i") },
    );
    request("0b000000 78 0600 02000000", 6, T::Clunk { fid: Fid(2) });
}

#[test]
fn encodes_and_decodes_replies_of_9p2000() {
    let reply = |dump, tag, message| reply(Dialect::Legacy, dump, tag, message);
    reply("14000000 69 0100 80 05000000 0403020100000000", 1, R::Attach { qid: QID });
    reply("07000000 6d 0200", 2, R::Flush);
    reply(
        "16000000 6f 0300 0100 80 05000000 0403020100000000",
        3,
        R::Walk { wqids: List::Slice(&[QID]) },
    );
    reply("0c000000 6b 0300 0300 'eek'", 3, R::Error { ename: "eek".into(), errno: Errno(0) });
    reply("0e000000 75 0500 03000000 'abc'", 5, R::Read { data: Data(b"abc") });
    reply("0b000000 77 0500 03000000", 5, R::Write { count: 3 });
    reply(
        "3e000000 7d 0900 3500 3300 0000 00000000 80 05000000 0403020100000000 6d010080 01000000 02000000
         0000000000000000 0100 '/' 0100 'u' 0100 'g' 0100 'm'",
        9,
        R::Stat { stat: stat() },
    );
}

fn stat() -> Stat<'static> {
    let strings = |text: &'static str| Str::from(text);
    Stat {
        qid: QID,
        mode: 0x8000_0000 | 0o555,
        atime: 1,
        mtime: 2,
        name: strings("/"),
        uid: strings("u"),
        gid: strings("g"),
        muid: strings("m"),
        ..Stat::default()
    }
}

#[test]
fn encodes_and_decodes_messages_of_9p2000_u() {
    let dialect = Dialect::Unix;
    request(
        dialect,
        "1a000000 68 0100 00000000 ffffffff 0300 'joe' 0000 e8030000",
        1,
        T::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: "joe".into(),
            aname: "".into(),
            n_uname: Numeric(1000),
        },
    );
    request(
        dialect,
        "18000000 72 0400 02000000 0100 'l' ff010002 00 0300 '../'",
        4,
        T::Create {
            fid: Fid(2),
            name: "l".into(),
            perm: 0x0200_01ff,
            mode: 0,
            extension: Extension(Some("../".into())),
        },
    );
    reply(
        dialect,
        "1c000000 6b 0300 0f00 'No such file ab' 02000000",
        3,
        R::Error { ename: "No such file ab".into(), errno: Errno(2) },
    );
    reply(
        dialect,
        "4d000000 7d 0900 4400 4200 0000 00000000 80 05000000 0403020100000000 6d010080 01000000 02000000
         0000000000000000 0100 '/' 0100 'u' 0100 'g' 0100 'm' 0100 'x' 01000000 02000000 ffffffff",
        9,
        R::Stat {
            stat: Stat { unix: Some(StatUnix { extension: "x".into(), n_uid: 1, n_gid: 2, n_muid: !0 }), ..stat() },
        },
    );
}

/// Some 9P2000.u clients send a Twstat without the fields that 9P2000.u adds.
#[test]
fn decodes_a_short_stat_in_9p2000_u() {
    let message = T::Wstat { fid: Fid(1), stat: stat() };
    let mut buf = [0; 128];
    let length = message.encode(Tag(1), Dialect::Legacy, &mut buf).unwrap();
    assert_eq!(T::decode(&buf[..length], Dialect::Unix), Ok((Tag(1), message)));
    let length = message.encode(Tag(1), Dialect::Unix, &mut buf).unwrap();
    let long = T::Wstat { fid: Fid(1), stat: Stat { unix: Some(StatUnix::default()), ..stat() } };
    assert_eq!(T::decode(&buf[..length], Dialect::Unix), Ok((Tag(1), long)));
    assert_eq!(T::decode(&buf[..length], Dialect::Legacy), Err(Malformed::Trailing));
}

/// A stat message has two length fields, which must match.
#[test]
fn refuses_a_stat_with_wrong_lengths() {
    let message = R::Stat { stat: stat() };
    let mut buf = [0; 128];
    let length = message.encode(Tag(1), Dialect::Legacy, &mut buf).unwrap();
    for (at, by) in [(7, 1), (7, -1), (9, 1), (9, -1)] {
        let mut bad = buf;
        bad[at] = bad[at].wrapping_add_signed(by);
        assert!(R::decode(&bad[..length], Dialect::Legacy).is_err(), "byte {at} by {by}");
    }
}

#[cfg(feature = "linux")]
#[test]
fn encodes_and_decodes_requests_of_9p2000_l() {
    let request = |dump, tag, message| request(Dialect::Linux, dump, tag, message);
    request(
        "15000000 64 ffff 18000200 0800 '9P2000.L'",
        0xffff,
        T::Version { msize: 131096, version: "9P2000.L".into() },
    );
    request(
        "1b000000 68 0000 00000000 ffffffff 0400 'root' 0000 00000000",
        0,
        T::Attach {
            fid: Fid(0),
            afid: Fid::NONE,
            uname: "root".into(),
            aname: "".into(),
            n_uname: Numeric(0),
        },
    );
    request(
        "13000000 18 0100 01000000 ff07000000000000",
        1,
        T::Getattr { fid: Fid(1), mask: Attr::BASIC },
    );
    request(
        "43000000 1a 0100 01000000 08000000 00000000 00000000 00000000 0500000000000000
         0000000000000000 0000000000000000 0000000000000000 0700000000000000",
        1,
        T::Setattr {
            fid: Fid(1),
            set: SetAttr {
                valid: SetAttr::SIZE,
                size: 5,
                mtime: Time { sec: 0, nsec: 7 },
                ..SetAttr::default()
            },
        },
    );
    request("0f000000 0c 0100 01000000 00880000", 1, T::Lopen { fid: Fid(1), flags: 0o104000 });
    request(
        "17000000 28 0100 01000000 0000000000000000 00100000",
        1,
        T::Readdir { fid: Fid(1), offset: 0, count: 4096 },
    );
    request(
        "13000000 4c 0100 01000000 0200 'ab' 00020000",
        1,
        T::Unlinkat { dirfid: Fid(1), name: "ab".into(), flags: 0x200 },
    );
    request(
        "28000000 34 0100 01000000 01 01000000 0000000000000000 0100000000000000 09000000 0200 'me'",
        1,
        T::Lock {
            fid: Fid(1),
            kind: 1,
            flags: 1,
            start: 0,
            length: 1,
            proc_id: 9,
            client_id: "me".into(),
        },
    );
    request(
        "0f000000 32 0100 01000000 01000000",
        1,
        T::Fsync { fid: Fid(1), datasync: Datasync(1) },
    );
    let old = frame("0b000000 32 0100 01000000");
    assert_eq!(
        T::decode(&old, Dialect::Linux),
        Ok((Tag(1), T::Fsync { fid: Fid(1), datasync: Datasync(0) }))
    );
}

#[cfg(feature = "linux")]
#[test]
fn encodes_and_decodes_replies_of_9p2000_l() {
    reply(Dialect::Linux, "0b000000 07 0100 02000000", 1, R::Lerror { ecode: 2 });
    reply(
        Dialect::Linux,
        "18000000 0d 0100 80 05000000 0403020100000000 00000000",
        1,
        R::Lopen { qid: QID, iounit: 0 },
    );
    reply(Dialect::Linux, "0c000000 17 0100 0300 '../'", 1, R::Readlink { target: "../".into() });
    let length = |message: R<'_>| message.encode(Tag(1), Dialect::Linux, &mut [0; 256]);
    assert_eq!(length(R::Getattr { attr: Attr::default() }), Ok(160));
    assert_eq!(length(R::Statfs { statfs: StatFs::default() }), Ok(67));
}

#[test]
fn types_of_another_dialect_are_unknown() {
    let open = frame("0c000000 70 0400 02000000 11");
    assert_eq!(T::decode(&open, Dialect::Linux), Err(Malformed::Unknown(112)));
    let getattr = frame("13000000 18 0100 01000000 ff07000000000000");
    assert_eq!(T::decode(&getattr, Dialect::Unix), Err(Malformed::Unknown(24)));
    // Terror and replies are not valid requests.
    for number in ["6a", "6b", "06", "07", "65", "00", "ff"] {
        let bytes = frame(&std::format!("0b000000 {number} 0100 02000000"));
        for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
            assert_eq!(T::decode(&bytes, dialect), Err(Malformed::Unknown(bytes[4])));
            assert_eq!((tag(&bytes), kind(&bytes)), (Tag(1), bytes[4]));
        }
    }
}

#[test]
fn refuses_malformed_frames() {
    let decode = |dump: &str| T::decode(&frame(dump), Dialect::Legacy).map(|_| ());
    assert_eq!(decode(""), Err(Malformed::Short));
    assert_eq!(decode("06000000 78 01"), Err(Malformed::Short));
    assert_eq!(decode("0c000000 78 0100 02000000"), Err(Malformed::Short));
    assert_eq!(decode("0a000000 78 0100 02000000"), Err(Malformed::Trailing));
    assert_eq!(decode("0c000000 78 0100 02000000 00"), Err(Malformed::Trailing));
    // These frames are malformed. They contain a NUL in a name, a name count that exceeds the
    // frame, and a data count that exceeds the frame, respectively.
    assert_eq!(decode("15000000 6e 0300 01000000 02000000 0100 0200 'a' 00"), Err(Malformed::Text));
    assert_eq!(decode("14000000 6e 0300 01000000 02000000 ffff 0100 'a'"), Err(Malformed::Short));
    assert_eq!(
        decode("17000000 76 0500 02000000 0000000000000000 ffffffff"),
        Err(Malformed::Short)
    );
}

/// The Plan 9 manual allows at most sixteen names, but some clients send more.
#[test]
fn decodes_a_walk_of_more_than_sixteen_names() {
    let wnames = [Str::from("n"); 40];
    let message = T::Walk { fid: Fid(1), newfid: Fid(2), wnames: (&wnames).into() };
    let mut buf = [0; 256];
    let length = message.encode(Tag(1), Dialect::Linux, &mut buf).unwrap();
    assert_eq!(T::decode(&buf[..length], Dialect::Linux), Ok((Tag(1), message)));
}

/// File names on a Unix disk can contain arbitrary bytes.
#[test]
fn strings_need_not_be_utf8() {
    let bytes = frame("15000000 6e 0300 01000000 02000000 0100 0200 ffe9");
    let (_, message) = T::decode(&bytes, Dialect::Legacy).unwrap();
    assert_eq!(
        message,
        T::Walk { fid: Fid(1), newfid: Fid(2), wnames: List::Slice(&[Str(b"\xff\xe9")]) }
    );
}

#[test]
fn refuses_to_encode_lengths_beyond_their_field() {
    let long = std::vec![b'x'; 65536];
    let mut buf = std::vec![0; 200_000];
    let error = R::Error { ename: Str(&long), errno: Errno(0) };
    assert_eq!(error.encode(Tag(1), Dialect::Legacy, &mut buf), Err(Full));
    let stat =
        R::Stat { stat: Stat { name: Str(&long[..40_000]), uid: Str(&long[..40_000]), ..stat() } };
    assert_eq!(stat.encode(Tag(1), Dialect::Legacy, &mut buf), Err(Full));
    let wqids = std::vec![QID; 65536];
    let mut buf = std::vec![0; 1_000_000];
    assert_eq!(
        R::Walk { wqids: List::Slice(&wqids) }.encode(Tag(1), Dialect::Legacy, &mut buf),
        Err(Full)
    );
}

#[test]
fn encodes_and_decodes_directory_records() {
    let mut buf = [0; 256];
    for dialect in [Dialect::Legacy, Dialect::Unix] {
        let first = stat().encode_into(&mut buf, dialect).unwrap();
        let second = stat().encode_into(&mut buf[first..], dialect).unwrap();
        let names: Vec<_> = Stat::decode_all(&buf[..first + second], dialect)
            .map(|stat| stat.unwrap().name)
            .collect();
        assert_eq!(names, [Str::from("/"); 2]);
        let cut: Vec<_> = Stat::decode_all(&buf[..first + second - 1], dialect)
            .map(|stat| stat.is_ok())
            .collect();
        assert_eq!(cut, [true, false]);
        assert_eq!(stat().encode_into(&mut [0; 52], dialect), Err(Full));
    }
    let entry = Dirent { qid: QID, offset: 1, kind: 4, name: "dir".into() };
    let length = entry.encode_into(&mut buf).unwrap();
    assert_eq!(buf[..length], frame("80 05000000 0403020100000000 0100000000000000 04 0300 'dir'"));
    assert!(Dirent::decode_all(&buf[..length]).eq([Ok(entry)]));
    assert!(Dirent::decode_all(&buf[..length - 1]).eq([Err(Malformed::Short)]));
    assert_eq!(entry.encode_into(&mut [0; 26]), Err(Full));
}

#[test]
fn finish_read_writes_the_header_in_place() {
    let mut buf = [0; 16];
    buf[RREAD_HEADER..].copy_from_slice(b"hello");
    let length = finish_read(&mut buf, 117, Tag(5), 4);
    assert_eq!(buf[..length], frame("0f000000 75 0500 04000000 'hell'"));
    assert_eq!(finish_read(&mut buf, 117, Tag(5), usize::MAX), 16);
    assert_eq!(finish_read(&mut buf[..10], 117, Tag(5), 0), 0);
}

#[test]
fn p1_offered_versions_select_a_dialect() {
    let offered = |version: &str| Dialect::offered(version.into());
    assert_eq!(offered("9P2000"), Some(Dialect::Legacy));
    assert_eq!(offered("9P2000.u"), Some(Dialect::Unix));
    let linux = if cfg!(feature = "linux") { Dialect::Linux } else { Dialect::Legacy };
    assert_eq!(offered("9P2000.L"), Some(linux));
    assert_eq!(offered("9P2000.L.Google.7"), Some(linux));
    assert_eq!(offered("9P2000.zz"), Some(Dialect::Legacy));
    assert_eq!(offered("9P20000"), None);
    assert_eq!(offered("foo"), None);
}

#[test]
fn messages_format_as_one_line() {
    let wnames = ["a".into(), "b\n".into(), "".into()];
    let walk = T::Walk { fid: Fid(1), newfid: Fid(2), wnames: List::Slice(&wnames) };
    assert_eq!(walk.to_string(), r"Twalk fid 1 newfid 2 wnames [a b\n '']");
    let write = T::Write { fid: Fid(1), offset: 8, data: Data(b"abc") };
    assert_eq!(write.to_string(), "Twrite fid 1 offset 8 data 3 bytes");
    let auth =
        T::Auth { afid: Fid::NONE, uname: "joe".into(), aname: "".into(), n_uname: Numeric::NONE };
    assert_eq!(auth.to_string(), "Tauth afid none uname joe aname '' n_uname none");
    assert_eq!(R::Clunk.to_string(), "Rclunk");
    assert_eq!(R::Walk { wqids: List::Slice(&[QID]) }.to_string(), "Rwalk wqids [80.5.16909060]");
    assert_eq!(
        R::Stat { stat: stat() }.to_string(),
        "Rstat stat { name / qid 80.5.16909060 mode 20000000555 length 0 mtime 2 uid u gid g }"
    );
}

#[test]
fn kind_names_cover_requests_replies_and_unknown_types() {
    let names = [TWALK, RWALK, RERROR, 106 - 1, TLOPEN, 0].map(|kind| KindName(kind).to_string());
    assert_eq!(names, ["Twalk", "Rwalk", "Rerror", "Rattach", "Tlopen", "type-0"]);
}
