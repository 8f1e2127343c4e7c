//! What a client of the board may do. Each leaves the connection with fid 0 only, attached to the
//! root.

use std::io::Write;

use datakit_core::wire::{Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::board::PATHS;
use datakit_tests::malformed::{ANSWERED, noise};
use datakit_tests::random::Random;
use datakit_tests::wire_client::WireClient;

/// An activity, by the client with this number.
type Act = fn(&mut WireClient, &mut Random, u32);

/// All of them, and how they are counted.
pub const ACTIVITIES: &[(&str, Act)] = &[
    ("parameters set and read back", parameter),
    ("values refused", refused_value),
    ("whole trees walked and read", whole_tree),
    ("requests in a bunch", bunch),
    ("blocked reads flushed", flush),
    ("ticks followed", ticks),
    ("events followed", events),
    ("tables of fids filled", all_fids),
    ("malformed frames", malformed),
    ("rounds of noise", |client, random, _| noise(client, random)),
];

/// The fid of what is opened only to be looked at.
const LOOK: u32 = 90;
/// More than any file of the board says at once.
const ENOUGH: u32 = 900;

/// What a file says that ends.
pub fn content(client: &mut WireClient, path: &str) -> String {
    client.open_path(LOOK, path, 0);
    let mut text = Vec::new();
    loop {
        let data = client.read(LOOK, text.len() as u64, ENOUGH).unwrap();
        if data.is_empty() {
            break;
        }
        text.extend(data);
    }
    client.clunk(LOOK).unwrap();
    String::from_utf8(text).unwrap()
}

/// Writes a value.
pub fn set(client: &mut WireClient, path: &str, value: &str) {
    client.open_path(LOOK, path, 1);
    assert_eq!(client.write(LOOK, 0, value.as_bytes()), Ok(value.len() as u32), "{path} {value}");
    client.clunk(LOOK).unwrap();
}

/// A parameter that only this client sets, and what it may be.
fn own(random: &mut Random, number: u32) -> (&'static str, u32) {
    match number {
        0 => ("params/blink/duty", 1 + random.below(99)),
        1 => ("params/wave/length", 2 + random.below(38)),
        _ => ("params/wave/offset", random.below(10)),
    }
}

fn parameter(client: &mut WireClient, random: &mut Random, number: u32) {
    for _ in 0..20 {
        let (path, value) = own(random, number);
        set(client, path, &value.to_string());
        assert_eq!(content(client, path), format!("{value}\n"));
    }
}

fn refused_value(client: &mut WireClient, random: &mut Random, number: u32) {
    let (path, value) = own(random, number);
    set(client, path, &value.to_string());
    for wrong in ["", "much", "99999999", "-99999999", "0x10", "1 2"] {
        client.open_path(LOOK, path, 1);
        let written = client.write(LOOK, 0, wrong.as_bytes());
        // Nothing written says nothing.
        assert!(written.is_err() || wrong.is_empty(), "{path} takes {wrong:?}");
        client.clunk(LOOK).unwrap();
    }
    assert_eq!(content(client, path), format!("{value}\n"));
}

fn whole_tree(client: &mut WireClient, _: &mut Random, _: u32) {
    for path in PATHS {
        let qids = client.walk(0, 1, path).unwrap();
        assert_eq!(qids.len(), path.split('/').count(), "{path}");
        client.open(1, u8::from(*path == "sys/reset")).unwrap();
        client.clunk(1).unwrap();
        let directory = qids.last().is_some_and(|qid| qid.kind == datakit_core::wire::Qid::DIR);
        if !directory && !["events", "ticks", "sys/reset"].contains(path) {
            assert!(content(client, path).ends_with('\n'), "{path}");
        }
    }
    assert!(
        client.walk(0, 1, "params/nothing").is_ok_and(|qids| qids.len() == 1),
        "a walk that gets nowhere"
    );
    assert!(client.walk(0, 1, "nothing").is_err());
}

/// As many requests at once as there are workers; replies come in any order, each once.
fn bunch(client: &mut WireClient, random: &mut Random, _: u32) {
    let help = content(client, "help").into_bytes();
    client.open_path(1, "help", 0);
    for _ in 0..20 {
        let offsets: Vec<usize> =
            (0..4).map(|_| random.below(help.len() as u32) as usize).collect();
        for (tag, offset) in (0..).zip(&offsets) {
            client.send(
                Tag(tag),
                &Tmessage::Read { fid: Fid(1), offset: *offset as u64, count: ENOUGH },
            );
        }
        let mut missing = vec![0, 1, 2, 3];
        while !missing.is_empty() {
            let (tag, data) = delivery(client).expect("data");
            missing.remove(
                missing.iter().position(|other| *other == tag.0).expect("one reply for each tag"),
            );
            let rest = &help[offsets[usize::from(tag.0)]..];
            assert_eq!(data, rest[..rest.len().min(data.len())]);
            assert!(!data.is_empty());
        }
    }
    client.clunk(1).unwrap();
}

/// The next message: its tag, and its data when it is a read's.
fn delivery(client: &mut WireClient) -> Result<(Tag, Vec<u8>), Tag> {
    let (tag, reply) = client.reply();
    let frame = reply.unwrap();
    match Rmessage::decode(&frame, client.dialect).unwrap() {
        (_, Rmessage::Read { data: Data(data) }) => Ok((tag, data.to_vec())),
        (_, Rmessage::Flush {}) => Err(tag),
        (_, other) => panic!("{other:?}"),
    }
}

/// Reads of three streams block, and are flushed in another order. One that was answered before is
/// not answered again.
fn flush(client: &mut WireClient, random: &mut Random, _: u32) {
    let mut offsets = [0; 4];
    for fid in 1..=3 {
        client.open_path(fid, "events", 0);
    }
    for _ in 0..10 {
        for fid in 1..=3u16 {
            let offset = offsets[usize::from(fid)];
            client.send(Tag(fid), &Tmessage::Read { fid: Fid(fid.into()), offset, count: 100 });
        }
        let mut open = vec![1, 2, 3];
        let first = 1 + random.below(3) as u16;
        for old in [first, first % 3 + 1, (first + 1) % 3 + 1] {
            client.send(Tag(10 + old), &Tmessage::Flush { oldtag: Tag(old) });
            loop {
                match delivery(client) {
                    Ok((tag, data)) => {
                        open.remove(
                            open.iter()
                                .position(|other| *other == tag.0)
                                .expect("a read that is under way"),
                        );
                        offsets[usize::from(tag.0)] += data.len() as u64;
                    }
                    Err(tag) => {
                        assert_eq!(tag, Tag(10 + old));
                        open.retain(|tag| *tag != old);
                        break;
                    }
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
    for fid in 1..=3 {
        client.clunk(fid).unwrap();
    }
}

/// The next `count` deliveries of a stream, whole.
fn follow(client: &mut WireClient, path: &str, count: usize) -> Vec<String> {
    client.open_path(1, path, 0);
    let (mut offset, mut told, mut text) = (0, Vec::new(), Vec::new());
    while told.len() < count {
        let data = client.read(1, offset, 100).unwrap();
        offset += data.len() as u64;
        text.extend_from_slice(&data);
        if data.is_empty() && !text.is_empty() {
            told.push(String::from_utf8(std::mem::take(&mut text)).unwrap());
        }
    }
    client.clunk(1).unwrap();
    told
}

/// The board's clock at the start of a line, milliseconds.
fn at_ms(line: &str) -> u64 {
    line.split(' ').next().unwrap().replace('.', "").parse().unwrap()
}

fn ticks(client: &mut WireClient, random: &mut Random, _: u32) {
    let told = follow(client, "ticks", 2 + random.below(10) as usize);
    let steps: Vec<u64> =
        told.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{told:?}");
    assert!(told.iter().all(|line| line.contains(" light ") && line.ends_with('\n')), "{told:?}");
}

fn events(client: &mut WireClient, random: &mut Random, _: u32) {
    let told = follow(client, "events", 1 + random.below(4) as usize);
    assert!(
        told.iter().all(|line| line.ends_with('\n') && line.split(' ').count() >= 2),
        "{told:?}"
    );
    assert!(told.is_sorted_by_key(|line| at_ms(line)), "{told:?}");
}

fn all_fids(client: &mut WireClient, _: &mut Random, _: u32) {
    let refused = |fid: &u32| match client.walk(0, *fid, "") {
        Ok(_) => false,
        Err((_, errno)) => {
            assert!(errno == 24 || client.dialect == Dialect::Legacy, "{errno}");
            true
        }
    };
    let free = (1..1000).find(refused).expect("a board with fewer fids");
    assert!(free > 8, "{free}");
    for fid in 1..free {
        client.clunk(fid).unwrap();
    }
}

fn malformed(client: &mut WireClient, _: &mut Random, _: u32) {
    for (what, frame) in ANSWERED {
        client.socket.write_all(frame).unwrap();
        assert!(matches!(client.reply(), (Tag(1), Err(_))), "{what}");
    }
}
