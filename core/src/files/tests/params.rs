//! Tests for parameters, log levels, and values that are written in pieces.

use std::string::String;
use std::vec::Vec;

use embassy_futures::block_on;

use super::*;

static GAIN: Value<f32> = Value::new(1.0);
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Mode {
    #[default]
    Auto,
    Manual,
}
impl Choice for Mode {
    const ALL: &'static [Mode] = &[Mode::Auto, Mode::Manual];
    const NAMES: &'static [&'static str] = &["auto", "manual"];
}
static MODE: Value<Mode> = Value::new(Mode::Auto);
static HOST: Value<heapless::String<8>> = Value::new(heapless::String::new());
static LED: Value<bool> = Value::new(false);
static PORT: Value<u16> = Value::new(564);
static EVEN: Value<i8> = Value::new(0);
static OFFSET: Value<f32> = Value::new(0.0);
static UPTIME: Value<u64> = Value::new(1 << 40);
fn even(value: &i8, _: &Proposed<'_>) -> core::result::Result<(), &'static str> {
    if value % 2 == 0 { Ok(()) } else { Err("even numbers only") }
}
// This table also tests, at compile time, that every type of parameter file can be a constant.
static ROOT: Dir = Dir::new(&[
    file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit(&"dB").doc("front-end gain")),
    file("mode", &Param::new(&MODE)),
    file("host", &Param::new(&HOST)),
    file("led", &Param::new(&LED)),
    file("port", &Param::new(&PORT).range(1, 1024)),
    file("even", &Param::new(&EVEN).check(even)),
    file("offset", &Param::new(&OFFSET).unit(&"Hz")),
    file("uptime", &Param::new(&UPTIME).unit(&"s").read_only()),
    file("help", &Help::new(&ROOT)),
]);

#[test]
fn parameter_parses_renders_and_describes_its_values() {
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "gain"), "1\n");
    assert_eq!(echo(&tree, " 2.5 \n", "gain"), Ok(6));
    assert_eq!((GAIN.get(), cat(&tree, "gain"), size(&tree, "gain")), (2.5, "2.5\n".into(), 4));
    for (text, name, reason) in [
        ("abc\n", "gain", "\"abc\" is not a number from 0 to 10 dB"),
        ("10.5", "gain", "\"10.5\" is not a number from 0 to 10 dB"),
        ("NaN", "gain", "\"NaN\" is not a number from 0 to 10 dB"),
        ("1e99", "offset", "\"1e99\" is not a number from -3.4028235e38 to 3.4028235e38 Hz"),
        (" ", "gain", "\"\" is not a number from 0 to 10 dB"),
        ("12", "gain", "\"12\" is not a number from 0 to 10 dB"),
        ("0", "port", "\"0\" is not a whole number from 1 to 1024"),
        ("-129", "even", "\"-129\" is not a whole number from -128 to 127"),
        ("3", "even", "even numbers only"),
        ("fast", "mode", "\"fast\" is not one of auto manual"),
        ("maybe", "led", "\"maybe\" is not on or off"),
        (
            "123456789",
            "host",
            "\"123456789\" is not a line of at most 8 bytes without control characters",
        ),
        (
            "0123456789012345678901234567",
            "port",
            "\"01234567890123456789...\" is not a whole number from 1 to 1024",
        ),
        ("1", "uptime", "Read-only file"),
    ] {
        assert_eq!(error_text(echo(&tree, text, name)), reason);
    }
    assert_eq!((GAIN.get(), PORT.get(), EVEN.get(), HOST.get().as_str()), (2.5, 564, 0, ""));
    for (text, name) in
        [("manual", "mode"), ("on", "led"), ("1024", "port"), ("-2", "even"), ("board", "host")]
    {
        echo(&tree, text, name).unwrap();
        assert_eq!(cat(&tree, name).trim_end(), text);
    }
    assert_eq!((truncate(&tree, "gain", 0), GAIN.get()), (Ok(()), 2.5));
    let open = open(&tree, "help", OpenMode::READ);
    let help = read(&tree, open, 0, 500).unwrap().unwrap();
    assert_eq!(help.len() as u64, size(&tree, "help"));
    assert!(
        help.starts_with(
            "gain: a number from 0 to 10 dB: front-end gain\nmode: one of auto manual\n"
        ),
        "{help}"
    );
}

#[test]
fn open_parameter_reads_one_consistent_value() {
    static V: Value<u32> = Value::new(1111);
    static ROOT: Dir = Dir::new(&[file("v", &Param::new(&V))]);
    let tree = Tree::new(&ROOT);
    let v = open(&tree, "v", OpenMode::READ);
    assert_eq!(read(&tree, v, 0, 2), text("11"));
    V.set(2222);
    assert_eq!(read(&tree, v, 2, 9), text("11\n"));
    assert_eq!(read(&tree, v, 0, 9), text("2222\n"));
}

#[test]
fn changed_returns_after_a_set() {
    static V: Value<u32> = Value::new(0);
    let seen = V.version();
    let setting = async {
        embassy_futures::yield_now().await;
        V.set(5);
    };
    assert_eq!(block_on(embassy_futures::join::join(V.changed(seen), setting)).0, 1);
    assert_eq!(V.get(), 5);
}

#[test]
fn a_value_is_checked_again_if_another_one_changes_during_the_check() {
    static LOW: Value<u8> = Value::new(10);
    static HIGH: Value<u8> = Value::new(90);
    /// Sets the upper limit during the check, as another thread could.
    fn below_high(low: &u8, proposed: &Proposed<'_>) -> core::result::Result<(), &'static str> {
        let high = proposed.get(&HIGH);
        if HIGH.get() == 90 {
            HIGH.set(20);
        }
        if *low < high { Ok(()) } else { Err("low must be below high") }
    }
    static ROOT: Dir = Dir::new(&[file("low", &Param::new(&LOW).check(below_high))]);
    let tree = Tree::new(&ROOT);
    assert_eq!(error_text(echo(&tree, "80\n", "low")), "low must be below high");
    assert_eq!((LOW.get(), HIGH.get()), (10, 20));
}

#[test]
fn a_step_of_a_duration_has_a_unit() {
    static IDLE: Value<Millis> = Value::new(Millis(0));
    static ROOT: Dir = Dir::new(&[file(
        "idle",
        &Param::with_info(&IDLE, ParamInfo::new().range(Millis(0), Millis(5000)).step(10, 0)),
    )]);
    let tree = Tree::new(&ROOT);
    let allowed = "a duration such as 1.5 s or 250 ms, from 0 s to 5 s that is a multiple of 10 ms";
    let refused = std::format!("\"15 ms\" is not {allowed}");
    assert_eq!(error_text(echo(&tree, "15 ms\n", "idle")), refused);
    assert_eq!(echo(&tree, "0.02 s\n", "idle").map(drop), Ok(()));
    assert_eq!(IDLE.get(), Millis(20));
}

#[test]
fn level_is_set_by_name() {
    static LEVEL: Value<Level> = Value::new(Level::Warning);
    static ROOT: Dir =
        Dir::new(&[file("doc", &Doc::new("the radio")), file("level", &LevelFile::new(&LEVEL))]);
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "level"), "warning\n");
    assert_eq!(
        error_text(echo(&tree, "loud\n", "level")),
        "unknown level \"loud\": use one of quiet, app, error, warning, info, debug"
    );
    assert_eq!(LEVEL.get(), Level::Warning);
    for name in Level::accepted_names() {
        assert_eq!(echo(&tree, name, "level").map(drop), Ok(()));
        assert_eq!(Some(LEVEL.get()), Level::from_name(name));
    }
    LEVEL.set(Level::Warning);
    let level = open(&tree, "level", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    assert_eq!((read(&tree, level, 0, 9), LEVEL.get()), (text(""), Level::Warning));
    assert_eq!(block_on(tree.write(&level, 0, b"info\n")), Ok(5));
    assert_eq!((read(&tree, level, 0, 9), LEVEL.get()), (text("info\n"), Level::Info));
    assert_eq!(truncate(&tree, "level", 4), Ok(()));
    assert!(truncate(&tree, "level", 3).is_err() && truncate(&tree, "level", 9).is_err());
    assert_eq!(
        (remove(&tree, "level"), chmod(&tree, "level", 0o644)),
        (Err(Error::NotPermitted), Err(Error::NotPermitted))
    );
}

static PERIOD: Value<u32> = Value::new(1000);
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Shape {
    #[default]
    Saw,
    Sawtooth,
    Sine,
}
impl Choice for Shape {
    const ALL: &'static [Shape] = &[Shape::Saw, Shape::Sawtooth, Shape::Sine];
    const NAMES: &'static [&'static str] = &["saw", "sawtooth", "sine"];
}
static SHAPE: Value<Shape> = Value::new(Shape::Saw);
static PIECES: Dir = Dir::new(&[
    file("period", &Param::new(&PERIOD).range(100, 5000)),
    file("shape", &Param::new(&SHAPE)),
]);

fn write(tree: &Tree, open: Handle, offset: u64, data: &str) -> Result<usize> {
    block_on(tree.write(&open, offset, data.as_bytes()))
}

#[test]
fn pieces_are_set_as_one_value() {
    let tree = Tree::new(&PIECES);
    let period = open(&tree, "period", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    // The value `12` is out of range, but it is not rejected yet, because more digits may follow.
    assert_eq!((write(&tree, period, 0, "12"), PERIOD.get()), (Ok(2), 1000));
    assert_eq!((write(&tree, period, 2, "34"), PERIOD.get()), (Ok(2), 1000));
    // An empty write neither sets nor completes a value. libixp follows each write with an empty
    // write.
    assert_eq!((write(&tree, period, 4, ""), PERIOD.get()), (Ok(0), 1000));
    assert_eq!((block_on(tree.flush(&period)), PERIOD.get()), (Ok(()), 1234));
    // A newline, a write at offset 0, or a read completes a value.
    assert_eq!(
        (write(&tree, period, 0, "2"), write(&tree, period, 1, "00\n"), PERIOD.get()),
        (Ok(1), Ok(3), 200)
    );
    assert_eq!((write(&tree, period, 4, "300\n"), PERIOD.get()), (Ok(4), 300));
    assert_eq!(
        (write(&tree, period, 0, "400"), write(&tree, period, 0, "500"), PERIOD.get()),
        (Ok(3), Ok(3), 400)
    );
    assert_eq!((read(&tree, period, 0, 9), PERIOD.get()), (text("500\n"), 500));
    // The value is not set if the file is closed without a flush, for example when the connection
    // is lost.
    assert_eq!(write(&tree, period, 0, "600"), Ok(3));
    tree.close(&period);
    assert_eq!(PERIOD.get(), 500);
}

#[test]
fn request_that_ends_a_value_gets_the_error() {
    let tree = Tree::new(&PIECES);
    let period = open(&tree, "period", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    let refused = "\"12\" is not a whole number from 100 to 5000";
    assert_eq!(write(&tree, period, 0, "1"), Ok(1));
    assert_eq!(error_text(write(&tree, period, 1, "2\n")), refused);
    assert_eq!(write(&tree, period, 0, "12"), Ok(2));
    assert_eq!(error_text(block_on(tree.flush(&period))), refused);
    assert_eq!(write(&tree, period, 0, "12"), Ok(2));
    assert_eq!(error_text(read(&tree, period, 0, 9).unwrap()), refused);
    assert_eq!(error_text(write(&tree, period, 0, "12\n")), refused);
    // A value is rejected immediately if no further text can make it valid.
    assert_eq!(
        error_text(write(&tree, period, 0, "soon")),
        "\"soon\" is not a whole number from 100 to 5000"
    );
    // The buffer no longer contains the rejected text.
    assert_eq!((write(&tree, period, 9, "150\n"), PERIOD.get()), (Ok(4), 150));
    PERIOD.set(1000);
}

#[test]
fn complete_word_is_set_without_a_newline() {
    let tree = Tree::new(&PIECES);
    let shape = open(&tree, "shape", OpenMode { truncate: true, ..OpenMode::WRITE });
    assert_eq!(
        (write(&tree, shape, 0, "s"), write(&tree, shape, 1, "ine"), SHAPE.get()),
        (Ok(1), Ok(3), Shape::Sine)
    );
    // A newline is ignored if the value that it terminates has already been set.
    assert_eq!((write(&tree, shape, 4, "\n"), SHAPE.get()), (Ok(1), Shape::Sine));
    assert_eq!(error_text(write(&tree, shape, 0, "\n")), "\"\" is not one of saw sawtooth sine");
    assert_eq!((write(&tree, shape, 0, "saw"), SHAPE.get()), (Ok(3), Shape::Sine));
    assert_eq!((write(&tree, shape, 3, "tooth"), SHAPE.get()), (Ok(5), Shape::Sawtooth));
    assert_eq!(
        error_text(write(&tree, shape, 0, "circle")),
        "\"circle\" is not one of saw sawtooth sine"
    );
    // In append mode, each piece follows the previous piece, regardless of the file's length.
    let appending = open(&tree, "shape", OpenMode { append: true, ..OpenMode::WRITE });
    assert_eq!(
        (write(&tree, appending, 9, "sa"), write(&tree, appending, 9, "w\n"), SHAPE.get()),
        (Ok(2), Ok(2), Shape::Saw)
    );
}

#[test]
fn commands_and_stored_values_accept_pieces() {
    static C: Command<32> =
        Command::new(|text, out| write!(out, "<{text}>").map_err(|_| Error::TooLarge));
    static WRITES: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    static ROOT: Dir = Dir::new(&[
        file("c", &C),
        file(
            "k",
            &Kv::<200, _, _>::new(
                |text| {
                    WRITES
                        .lock()
                        .unwrap()
                        .last()
                        .map_or(Ok(()), |last| text.extend(last.as_bytes()))
                },
                |data| {
                    WRITES.lock().unwrap().push(String::from_utf8(data.to_vec()).unwrap());
                    Ok(())
                },
            ),
        ),
    ]);
    let tree = Tree::new(&ROOT);
    let c = open(&tree, "c", OpenMode::READ_WRITE);
    for (offset, piece) in [(0, "cal"), (3, "ibr"), (6, "ate")] {
        assert_eq!((write(&tree, c, offset, piece), size(&tree, "c")), (Ok(3), 0));
    }
    assert_eq!(write(&tree, c, 9, ""), Ok(0));
    assert_eq!(read(&tree, c, 9, 20), text("<calibrate>"));
    // A command that arrives in a single write may be larger than the open file's buffer. This
    // command fails because its reply is too long.
    assert_eq!(error_text(write(&tree, c, 0, &("x".repeat(100) + "\n"))), "File too large");
    assert_eq!(write(&tree, c, 0, &"x".repeat(60)), Ok(60));
    assert_eq!(write(&tree, c, 60, "xxxxx"), Err(Error::TooLarge));

    let k = open(&tree, "k", OpenMode::WRITE);
    for (offset, piece) in [(0, "on"), (2, "e"), (3, ""), (3, " line\n")] {
        assert_eq!(write(&tree, k, offset, piece), Ok(piece.len()));
    }
    assert_eq!(*WRITES.lock().unwrap(), ["one line\n"]);
    // A value that is larger than the open file's buffer is set in several steps.
    for offset in (0..180).step_by(30) {
        assert_eq!(write(&tree, k, offset, &"y".repeat(30)), Ok(30));
    }
    assert_eq!(block_on(tree.flush(&k)), Ok(()));
    assert_eq!(WRITES.lock().unwrap().last(), Some(&"y".repeat(180)));
    assert_eq!(write(&tree, k, 195, "123456"), Err(Error::TooLarge));
}

#[test]
fn read_only_files_show_no_write_bits() {
    static LIVE: Live<u32> = Live::new(0);
    static STREAM: Dir = Dir::new(&[file("s", &LIVE.file(|value, out| writeln!(out, "{value}")))]);
    let mode = |tree: &Tree, name: &str| block_on(tree.stat(&inode(tree, name))).unwrap().mode;
    let tree = Tree::new(&ROOT);
    for (name, expected) in [("gain", 0o664), ("uptime", 0o444), ("help", 0o444)] {
        assert_eq!(mode(&tree, name), expected, "{name}");
    }
    assert_eq!(mode(&Tree::new(&STREAM), "s"), 0o444);
}

#[test]
fn value_must_be_a_multiple_of_the_step() {
    static COUNT: Value<i32> = Value::new(0);
    static VOLTS: Value<f32> = Value::new(0.0);
    static WAIT: Value<Millis> = Value::new(Millis(0));
    static ROOT: Dir = Dir::new(&[
        file("count", &Param::with_info(&COUNT, ParamInfo::new().range(-50, 50).step(5, 0))),
        file("volts", &Param::with_info(&VOLTS, ParamInfo::new().range(0.0, 9.0).step(25, 2))),
        file("wait", &Param::with_info(&WAIT, ParamInfo::new().step(250, 0))),
    ]);
    let tree = Tree::new(&ROOT);
    for (name, accepted, refused) in [
        ("count", ["-45", "0", "50", "0x5"], ["-44", "1", "55", "4"]),
        ("volts", ["0.25", "0.750", "5e-1", "8"], ["0.3", "0.2500001", "1e-9", "9.25"]),
        ("wait", ["0 s", "1.5 s", "250 ms", "2 min"], ["1 ms", "251 ms", "0.1 s", "260 ms"]),
    ] {
        accepted.iter().for_each(|text| assert!(echo(&tree, text, name).is_ok(), "{name} {text}"));
        refused.iter().for_each(|text| assert!(echo(&tree, text, name).is_err(), "{name} {text}"));
    }
    assert_eq!(
        error_text(echo(&tree, "0.3", "volts")),
        "\"0.3\" is not a number from 0 to 9 that is a multiple of 0.25"
    );
}

#[test]
fn write_only_parameter_shows_no_value() {
    static KEY: Value<u32> = Value::new(7);
    static ROOT: Dir =
        Dir::new(&[file("key", &Param::with_info(&KEY, ParamInfo::new().write_only()))]);
    let tree = Tree::new(&ROOT);
    assert_eq!((cat(&tree, "key").as_str(), size(&tree, "key")), ("", 0));
    assert_eq!((echo(&tree, "9", "key"), KEY.get()), (Ok(1), 9));
}
