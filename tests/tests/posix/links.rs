//! Tests for symlink targets that are longer than a message.

use datakit_core::vfs::{Create, CreateKind, Name, Vfs};
use datakit_core::wire::{DMDEVICE, Dialect, Fid, Rmessage as R, Tmessage as T};
use embassy_futures::block_on;

use crate::*;

/// Lists the names in the root directory.
fn names(client: &mut WireClient) -> Vec<String> {
    client.open_path(50, "", 0);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let data = client.read(50, offset, client.msize - 11).unwrap();
        if data.is_empty() {
            break;
        }
        offset += data.len() as u64;
        names.extend(
            Stat::decode_all(&data, client.dialect).map(|stat| stat.unwrap().name.to_string()),
        );
    }
    client.clunk(50).unwrap();
    names
}

/// Reads a symlink's target in 9P2000.u or 9P2000.L.
fn target(client: &mut WireClient, path: &str) -> Result<String, Refusal> {
    client.walk(0, 51, path).unwrap();
    let target = match client.dialect {
        Dialect::Linux => client.rpc(&T::Readlink { fid: Fid(51) }).map(|frame| {
            let (_, R::Readlink { target }) = R::decode(&frame, Dialect::Linux).unwrap() else {
                panic!()
            };
            target.to_string()
        }),
        _ => Ok(client
            .stat(51, |stat| stat.unix.map(|unix| unix.extension.to_string()).unwrap_or_default())),
    };
    client.clunk(51).unwrap();
    target
}

#[test]
fn a_long_target_hides_no_entry_from_a_listing() {
    const MSIZE: u32 = 4096;
    let tree = Scratch::new();
    let lengths = [1, 2000, 2047, 2048, 2049, 3900, 4095];
    block_on(async {
        for length in lengths {
            let (name, target) = (format!("link{length}"), "t".repeat(length));
            let new = CreateKind::Symlink(target.as_bytes());
            let create = Create { kind: new, mode: 0o777, uid: 0, gid: 0, exclusive: true };
            tree.create(&tree.root(), Name::new(name.as_bytes()).unwrap(), create).await.unwrap();
            let create = Create { kind: CreateKind::File, ..create };
            let name = format!("file{length}");
            tree.create(&tree.root(), Name::new(name.as_bytes()).unwrap(), create).await.unwrap();
        }
    });
    let served = serve(Limits::default(), move |_| tree.clone());
    for dialect in CLASSIC {
        let mut client = WireClient::attached(served.addr, dialect, MSIZE);
        assert_eq!(names(&mut client).len(), 2 * lengths.len(), "{dialect:?}");
    }
    let mut unix = WireClient::attached(served.addr, Dialect::Unix, MSIZE);
    let mut linux = WireClient::attached(served.addr, Dialect::Linux, MSIZE);
    for length in lengths.into_iter().filter(|length| *length < 4000) {
        for client in [&mut unix, &mut linux] {
            assert_eq!(target(client, &format!("link{length}")).unwrap(), "t".repeat(length));
        }
    }
    // A target of 4095 bytes does not fit into a message. In 9P2000.L, the request fails. In
    // 9P2000.u, the stat record omits the target. Clients can still remove the link.
    assert_eq!(target(&mut unix, "link4095").unwrap(), "");
    assert!(target(&mut linux, "link4095").is_err());
    let mut large = WireClient::attached(served.addr, Dialect::Linux, 8192);
    assert_eq!(target(&mut large, "link4095").unwrap().len(), 4095);
    unix.walk(0, 1, "link4095").unwrap();
    unix.remove(1).unwrap();
    linux.rpc(&T::Unlinkat { dirfid: Fid(0), name: "link2049".into(), flags: 0 }).unwrap();
}

#[test]
fn a_long_target_in_a_dynamic_tree_hides_no_entry() {
    let entries = ["a", "b", "c"].map(|name| Entry::symlink(name, "t".repeat(10_000)));
    let tree = Tree::new(entries.into_iter().collect::<Dir>());
    let served = serve(Limits::default(), move |_| tree.clone());
    for dialect in CLASSIC {
        let mut client = WireClient::attached(served.addr, dialect, 4096);
        assert_eq!(names(&mut client), ["a", "b", "c"]);
    }
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 16384);
    assert_eq!(target(&mut client, "b").unwrap().len(), 10_000);
}

#[test]
fn a_listing_has_the_numbers_of_devices() {
    let served = scratch();
    let mut client = client(&served, Dialect::Unix);
    client.walk(0, 1, "").unwrap();
    client.create(1, "sda", DMDEVICE | 0o600, Some("b 4294967295 4294967295")).unwrap();
    client.walk(0, 2, "sda").unwrap();
    let shown = client.stat(2, |stat| {
        (stat.mode, stat.unix.unwrap().extension.to_string(), stat.unix.unwrap().n_uid)
    });
    assert_eq!(shown, (DMDEVICE | 0o600, "b 4294967295 4294967295".to_owned(), 0));
    assert_eq!(names(&mut client), ["sda"]);
}
