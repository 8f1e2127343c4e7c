//! Tests for extended attributes (`xattr(7)`) in 9P2000.L.

use datakit_core::wire::{Dialect, Fid, Rmessage as R, Tmessage as T};

use crate::*;

const CREATE: u32 = 1;
const REPLACE: u32 = 2;

/// Sets an attribute of `path`, like `setxattr(2)`, and then clunks the fid.
fn set(
    client: &mut WireClient,
    path: &str,
    name: &str,
    value: &[u8],
    flags: u32,
) -> Result<(), Refusal> {
    client.walk(0, 60, path).unwrap();
    let attr_size = value.len() as u64;
    let begun = client.rpc(&T::Xattrcreate { fid: Fid(60), name: name.into(), attr_size, flags });
    let mut at = 0;
    for piece in value.chunks(4000).filter(|_| begun.is_ok()) {
        client.write(60, at, piece).unwrap();
        at += piece.len() as u64;
    }
    client.clunk(60).and(begun.map(drop))
}

/// Reads an attribute, like `getxattr(2)`, or the list of attribute names if `name` is empty.
fn get(client: &mut WireClient, path: &str, name: &str) -> Result<Vec<u8>, Refusal> {
    client.walk(0, 61, path).unwrap();
    let walked = client.rpc(&T::Xattrwalk { fid: Fid(61), newfid: Fid(62), name: name.into() });
    client.clunk(61).unwrap();
    let frame = walked?;
    let (_, R::Xattrwalk { size }) = R::decode(&frame, Dialect::Linux).unwrap() else { panic!() };
    let mut value = Vec::new();
    while (value.len() as u64) < size {
        value.extend(client.read(62, value.len() as u64, 4000).unwrap());
    }
    client.clunk(62).unwrap();
    Ok(value)
}

fn world() -> (Served, WireClient) {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    (served, client)
}

#[test]
fn an_attribute_may_be_empty() {
    let (_served, mut client) = world();
    for flags in [CREATE, 0] {
        set(&mut client, "f", "user.empty", b"", flags).unwrap();
        assert_eq!(get(&mut client, "f", "user.empty").unwrap(), b"");
        assert_eq!(get(&mut client, "f", "").unwrap(), b"user.empty\0");
    }
    set(&mut client, "f", "user.empty", b"full", REPLACE).unwrap();
    set(&mut client, "f", "user.empty", b"", 0).unwrap();
    assert_eq!(get(&mut client, "f", "user.empty").unwrap(), b"");
    // Remove the attribute, like `removexattr(2)`.
    set(&mut client, "f", "user.empty", b"", REPLACE).unwrap();
    assert_eq!(errno(get(&mut client, "f", "user.empty")), ENODATA);
    assert_eq!(errno(set(&mut client, "f", "user.empty", b"", REPLACE)), ENODATA);
    assert_eq!(get(&mut client, "f", "").unwrap(), b"");
}

#[test]
fn attribute_names_may_contain_slashes_and_dots() {
    let (_served, mut client) = world();
    let longest = format!("user.{}", "n".repeat(250));
    for name in ["user.a/b", "/", "..", ".", "user./", &longest] {
        set(&mut client, "f", name, name.as_bytes(), CREATE).unwrap();
        assert_eq!(get(&mut client, "f", name).unwrap(), name.as_bytes());
        set(&mut client, "f", name, b"", REPLACE).unwrap();
    }
    assert_eq!(errno(set(&mut client, "f", &format!("{longest}n"), b"v", 0)), 34);
    assert_eq!(errno(set(&mut client, "f", "", b"v", 0)), 34);
}

#[test]
fn flags_and_limits_follow_setxattr_2() {
    let (_served, mut client) = world();
    assert_eq!(errno(set(&mut client, "f", "user.a", b"v", REPLACE)), ENODATA);
    set(&mut client, "f", "user.a", b"v", CREATE).unwrap();
    assert_eq!(errno(set(&mut client, "f", "user.a", b"w", CREATE)), EEXIST);
    assert_eq!(errno(set(&mut client, "f", "user.a", b"w", 4)), EINVAL);
    assert_eq!(get(&mut client, "f", "user.a").unwrap(), b"v");
    let largest = vec![7; 64 * 1024];
    set(&mut client, "f", "user.large", &largest, 0).unwrap();
    assert_eq!(get(&mut client, "f", "user.large").unwrap(), largest);
    assert_eq!(errno(set(&mut client, "f", "user.larger", &vec![7; 64 * 1024 + 1], 0)), E2BIG);
    // Directories and symlinks also have extended attributes.
    create_dir(&mut client, "d");
    set(&mut client, "d", "user.a", b"v", 0).unwrap();
    assert_eq!(get(&mut client, "d", "user.a").unwrap(), b"v");
}

#[test]
fn a_change_of_an_attribute_updates_only_ctime() {
    let (_served, mut client) = world();
    client.walk(0, 1, "f").unwrap();
    let mut before = client.getattr(1).unwrap();
    for (value, flags) in [(&b"v"[..], 0), (b"", 0), (b"", REPLACE)] {
        set(&mut client, "f", "user.a", value, flags).unwrap();
        let after = client.getattr(1).unwrap();
        assert!((after.ctime.sec, after.ctime.nsec) > (before.ctime.sec, before.ctime.nsec));
        assert_eq!((after.mtime, after.qid), (before.mtime, before.qid));
        before = after;
    }
}

#[test]
fn a_value_is_either_written_or_read() {
    let (_served, mut client) = world();
    client.walk(0, 1, "f").unwrap();
    client
        .rpc(&T::Xattrcreate { fid: Fid(1), name: "user.a".into(), attr_size: 1, flags: 0 })
        .unwrap();
    assert_eq!(errno(client.read(1, 0, 10)), EBADF);
    client.write(1, 0, b"v").unwrap();
    client.clunk(1).unwrap();
    client.walk(0, 1, "f").unwrap();
    client.rpc(&T::Xattrwalk { fid: Fid(1), newfid: Fid(2), name: "user.a".into() }).unwrap();
    assert_eq!(errno(client.write(2, 0, b"w")), EBADF);
}
