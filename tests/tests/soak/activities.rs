//! The clients' activities. After each activity, only fid 0, which refers to the root, is in use.

use std::io::Write;

use datakit_core::wire::{Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::board::PATHS;
use datakit_tests::malformed::{ANSWERED, noise};
use datakit_tests::random::Random;
use datakit_tests::wire_client::WireClient;

/// A function that performs an activity. The last argument is the client's number.
type Activity = fn(&mut WireClient, &mut Random, u32);

/// All activities and their names, which appear in the summary.
pub const ACTIVITIES: &[(&str, Activity)] = &[
    ("rounds of parameters set and read", set_parameters),
    ("rounds of refused values", write_refused_values),
    ("complete reads of the tree", read_tree),
    ("rounds of pipelined reads", pipeline_reads),
    ("rounds of flushed reads", flush_blocked_reads),
    ("reads of ticks", follow_ticks),
    ("reads of events", follow_events),
    ("exhausted fid tables", use_all_fids),
    ("rounds of malformed frames", send_malformed_frames),
    ("rounds of noise", |client, random, _| noise(client, random)),
];

/// The fid for files that are opened and closed within one function.
const TEMPORARY: u32 = 90;
/// The number of bytes to request in each read. Every text file on the board fits into one such
/// read.
const COUNT: u32 = 900;

/// Reads an entire file that is not a stream.
pub fn content(client: &mut WireClient, path: &str) -> String {
    client.open_path(TEMPORARY, path, 0);
    let mut text = Vec::new();
    loop {
        let data = client.read(TEMPORARY, text.len() as u64, COUNT).unwrap();
        if data.is_empty() {
            break;
        }
        text.extend(data);
    }
    client.clunk(TEMPORARY).unwrap();
    String::from_utf8(text).unwrap()
}

/// Writes a value to a file.
pub fn set(client: &mut WireClient, path: &str, value: &str) {
    client.open_path(TEMPORARY, path, 1);
    assert_eq!(
        client.write(TEMPORARY, 0, value.as_bytes()),
        Ok(value.len() as u32),
        "{path} {value}"
    );
    client.clunk(TEMPORARY).unwrap();
}

/// Returns the path of a parameter that only client `number` sets, and a random valid value for it.
fn own_parameter(random: &mut Random, number: u32) -> (&'static str, u32) {
    match number {
        0 => ("params/blink/duty", 1 + random.below(99)),
        1 => ("params/wave/length", 2 + random.below(38)),
        _ => ("params/wave/offset", random.below(10)),
    }
}

fn set_parameters(client: &mut WireClient, random: &mut Random, number: u32) {
    for _ in 0..20 {
        let (path, value) = own_parameter(random, number);
        set(client, path, &value.to_string());
        assert_eq!(content(client, path), format!("{value}\n"));
    }
}

fn write_refused_values(client: &mut WireClient, random: &mut Random, number: u32) {
    let (path, value) = own_parameter(random, number);
    set(client, path, &value.to_string());
    for wrong in ["", "much", "99999999", "-99999999", "0xg", "1 2"] {
        client.open_path(TEMPORARY, path, 1);
        let written = client.write(TEMPORARY, 0, wrong.as_bytes());
        // If a value has no newline, the board might not recognize the end of the value until the
        // clunk. In that case, the clunk reports any error.
        let clunked = client.clunk(TEMPORARY);
        // An empty write succeeds and has no effect.
        let refused = written.is_err() || clunked.is_err();
        assert_eq!(refused, !wrong.is_empty(), "{path} with {wrong:?}");
    }
    assert_eq!(content(client, path), format!("{value}\n"));
}

fn read_tree(client: &mut WireClient, _: &mut Random, _: u32) {
    for path in PATHS {
        let qids = client.walk(0, 1, path).unwrap();
        assert_eq!(qids.len(), path.split('/').count(), "{path}");
        client.open(1, u8::from(*path == "sys/reset")).unwrap();
        client.clunk(1).unwrap();
        let directory = qids.last().is_some_and(|qid| qid.kind == datakit_core::wire::Qid::DIR);
        if !directory && !["events", "ticks", "sys/kick", "sys/reset"].contains(path) {
            assert!(content(client, path).ends_with('\n'), "{path}");
        }
    }
    assert!(
        client.walk(0, 1, "params/nothing").is_ok_and(|qids| qids.len() == 1),
        "a partial walk succeeds"
    );
    assert!(client.walk(0, 1, "nothing").is_err());
}

/// Sends as many reads as the board has workers per client, without waiting for replies. Each read
/// gets one reply, and the replies may arrive in any order.
fn pipeline_reads(client: &mut WireClient, random: &mut Random, _: u32) {
    let help = content(client, "help").into_bytes();
    client.open_path(1, "help", 0);
    for _ in 0..20 {
        let offsets: Vec<usize> =
            (0..4).map(|_| random.below(help.len() as u32) as usize).collect();
        for (tag, offset) in (0..).zip(&offsets) {
            client.send(
                Tag(tag),
                &Tmessage::Read { fid: Fid(1), offset: *offset as u64, count: COUNT },
            );
        }
        let mut missing = vec![0, 1, 2, 3];
        while !missing.is_empty() {
            let (tag, data) = receive_read(client).expect("data");
            missing.remove(
                missing.iter().position(|other| *other == tag.0).expect("each tag gets one reply"),
            );
            let rest = &help[offsets[usize::from(tag.0)]..];
            assert_eq!(data, rest[..rest.len().min(data.len())]);
            assert!(!data.is_empty());
        }
    }
    client.clunk(1).unwrap();
}

/// Receives a reply. Returns the tag and data of an Rread as `Ok`, and the tag of an Rflush as
/// `Err`.
fn receive_read(client: &mut WireClient) -> Result<(Tag, Vec<u8>), Tag> {
    let (tag, reply) = client.reply();
    let frame = reply.unwrap();
    match Rmessage::decode(&frame, client.dialect).unwrap() {
        (_, Rmessage::Read { data: Data(data) }) => Ok((tag, data.to_vec())),
        (_, Rmessage::Flush {}) => Err(tag),
        (_, other) => panic!("{other:?}"),
    }
}

/// Starts a blocking read on each of three streams, and flushes the reads in a different order. The
/// board may answer a read before it answers the flush but not afterwards.
fn flush_blocked_reads(client: &mut WireClient, random: &mut Random, _: u32) {
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
                match receive_read(client) {
                    Ok((tag, data)) => {
                        open.remove(
                            open.iter()
                                .position(|other| *other == tag.0)
                                .expect("the read is in flight"),
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

/// Reads the next `count` deliveries from a stream.
fn read_stream(client: &mut WireClient, path: &str, count: usize) -> Vec<String> {
    client.open_path(1, path, 0);
    let (mut offset, mut texts, mut text) = (0, Vec::new(), Vec::new());
    while texts.len() < count {
        let data = client.read(1, offset, 100).unwrap();
        offset += data.len() as u64;
        text.extend_from_slice(&data);
        if data.is_empty() && !text.is_empty() {
            texts.push(String::from_utf8(std::mem::take(&mut text)).unwrap());
        }
    }
    client.clunk(1).unwrap();
    texts
}

/// Returns the time at the beginning of a line, in milliseconds.
fn at_ms(line: &str) -> u64 {
    line.split(' ').next().unwrap().replace('.', "").parse().unwrap()
}

fn follow_ticks(client: &mut WireClient, random: &mut Random, _: u32) {
    let texts = read_stream(client, "ticks", 2 + random.below(10) as usize);
    let steps: Vec<u64> =
        texts.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{texts:?}");
    assert!(texts.iter().all(|line| line.contains(" light ") && line.ends_with('\n')), "{texts:?}");
}

fn follow_events(client: &mut WireClient, random: &mut Random, _: u32) {
    let texts = read_stream(client, "events", 1 + random.below(4) as usize);
    assert!(
        texts.iter().all(|line| line.ends_with('\n') && line.split(' ').count() >= 2),
        "{texts:?}"
    );
    assert!(texts.is_sorted_by_key(|line| at_ms(line)), "{texts:?}");
}

fn use_all_fids(client: &mut WireClient, _: &mut Random, _: u32) {
    let refused = |fid: &u32| match client.walk(0, *fid, "") {
        Ok(_) => false,
        Err((_, errno)) => {
            assert!(errno == 24 || client.dialect == Dialect::Legacy, "{errno}");
            true
        }
    };
    let free = (1..1000).find(refused).expect("the board has a limit on fids");
    assert!(free > 8, "{free}");
    for fid in 1..free {
        client.clunk(fid).unwrap();
    }
}

fn send_malformed_frames(client: &mut WireClient, _: &mut Random, _: u32) {
    for (what, frame) in ANSWERED {
        client.socket.write_all(frame).unwrap();
        assert!(matches!(client.reply(), (Tag(1), Err(_))), "{what}");
    }
}
