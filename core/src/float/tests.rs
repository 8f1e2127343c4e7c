//! Tests that compare the conversions with those in the Rust core library.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// A pseudo-random number generator (splitmix64) that makes failures reproducible.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Returns the core library's `Debug` text, which uses an exponent for the same numbers as `Float`
/// does.
fn expected<T: std::fmt::Debug + std::fmt::LowerExp>(number: T) -> String {
    // `Debug` adds `.0` to whole numbers.
    let text = format!("{number:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_string()
}

/// Checks that `Float` displays the number exactly as the core library does, and that parsing the
/// text returns the same bits.
fn check_f32(bits: u32) {
    let number = f32::from_bits(bits);
    let text = Float::from(number).to_string();
    assert_eq!(text, expected(number), "{bits:#x}");
    let parsed = parse_f32(text.as_bytes()).map(f32::to_bits);
    assert_eq!(parsed, number.is_finite().then_some(bits), "{text}");
}

fn check_f64(bits: u64) {
    let number = f64::from_bits(bits);
    let text = Float::from(number).to_string();
    assert_eq!(text, expected(number), "{bits:#x}");
    let parsed = parse_f64(text.as_bytes()).map(f64::to_bits);
    assert_eq!(parsed, number.is_finite().then_some(bits), "{text}");
}

/// Checks that parsing the text returns the same bits as the core library's parser. A number that
/// the core library parses as infinity or NaN must be rejected.
fn check_text(text: &str) {
    let bytes = text.as_bytes();
    let single = text.parse().ok().filter(|number: &f32| number.is_finite());
    assert_eq!(parse_f32(bytes).map(f32::to_bits), single.map(f32::to_bits), "{text}");
    let double = text.parse().ok().filter(|number: &f64| number.is_finite());
    assert_eq!(parse_f64(bytes).map(f64::to_bits), double.map(f64::to_bits), "{text}");
}

/// Checks `count` random `f32` values and `count` random decimal strings, and a tenth as many of
/// each for `f64`.
fn check_random(seed: u64, count: u32) {
    let mut random = Random(seed);
    for round in 0..count {
        check_f32(random.next() as u32);
        let places = 1 + random.below(9) as u32;
        let digits = random.below(10u64.pow(places));
        let exponent = random.below(100) as i32 - 55;
        let text = format!("{digits}e{exponent}");
        let expected = text.parse().ok().filter(|number: &f32| number.is_finite());
        assert_eq!(
            parse_f32(text.as_bytes()).map(f32::to_bits),
            expected.map(f32::to_bits),
            "{text}"
        );
        if round % 10 == 0 {
            check_f64(random.next());
            let places = 1 + random.below(19) as u32;
            let digits = random.below(10u64.pow(places));
            let exponent = random.below(700) as i32 - 365;
            check_text(&format!("{digits}e{exponent}"));
        }
    }
}

/// Checks the exact midpoint between a number and its successor, and the decimal numbers just above
/// and below the midpoint.
fn check_tie(bits: u32) {
    // The midpoint of two adjacent `f32` values is an `f64`, and the core library displays its
    // exact digits.
    let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
    let middle = f64::from(low) + (f64::from(high) - f64::from(low)) / 2.0;
    let exact = format!("{middle:.160}");
    for end in ["", "1"] {
        check_f32_text(&format!("{exact}{end}"));
    }
    // Remove the trailing zeros and decrement the last digit.
    let mut below: Vec<u8> = exact.trim_end_matches('0').into();
    if let Some(last) = below.last_mut().filter(|last| last.is_ascii_digit()) {
        *last -= 1;
        check_f32_text(core::str::from_utf8(&below).unwrap());
    }
}

/// Checks a number that may have more significant digits than the parser keeps.
fn check_f32_text(text: &str) {
    let digits = text.trim_start_matches(['0', '.']).len();
    let (ours, theirs) = (parse_f32(text.as_bytes()).unwrap(), text.parse::<f32>().unwrap());
    if digits <= 38 {
        assert_eq!(ours.to_bits(), theirs.to_bits(), "{text}");
    } else {
        assert!(ours.to_bits().abs_diff(theirs.to_bits()) <= 1, "{text}");
    }
}

#[test]
fn edge_values_are_converted_as_in_the_core_library() {
    for exponent in 0..256u32 {
        for fraction in [0, 1, 2, 3, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff] {
            check_f32(exponent << 23 | fraction);
            check_f32(1 << 31 | exponent << 23 | fraction);
        }
    }
    for exponent in (0..2048u64).step_by(5).chain([1, 2046, 2047]) {
        for fraction in [0, 1, 2, 1 << 51, (1 << 52) - 2, (1 << 52) - 1] {
            check_f64(exponent << 52 | fraction);
        }
    }
    for power in -330..=310 {
        check_text(&format!("1e{power}"));
        check_text(&format!("-9.999999999999999e{power}"));
        for number in [format!("1e{power}").parse::<f64>().unwrap()] {
            for bits in number.to_bits().saturating_sub(2)..=number.to_bits() + 2 {
                check_f64(bits);
            }
            let single = (number as f32).to_bits();
            for bits in single.saturating_sub(2)..=single + 2 {
                check_f32(bits);
            }
        }
    }
    for half in 0..2000 {
        check_f32((half as f32 / 2.0).to_bits());
        check_f64((f64::from(half) / 2.0).to_bits());
    }
}

#[test]
fn ties_are_rounded_to_even() {
    for bits in [0, 1, 2, 0x7f_ffff, 0x80_0000, 0x3f80_0000, 0x3f80_0001, 0x4b80_0000, 0x4b80_0001]
    {
        check_tie(bits);
    }
    let mut random = Random(3);
    for _ in 0..2000 {
        // Between 2^-20 and 2^30, a midpoint has at most 38 significant digits.
        check_tie((107 << 23) + random.below(50 << 23) as u32);
    }
    for text in [
        "16777217",
        "16777217.0",
        "16777217.00000000000000000000000000000000000000000001",
        "16777219",
        "9007199254740993",
        "9007199254740993.00000000000000000000000000000000000000000001",
        "9007199254740995",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "3.4028235677973366e38",
        "3.4028235677973367e38",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
    ] {
        check_text(text);
    }
}

#[test]
fn text_is_accepted_or_refused_as_in_the_core_library() {
    for text in [
        "",
        "+",
        "-",
        ".",
        "e",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1e-",
        "1.",
        ".5",
        "-.5",
        "+1",
        "--1",
        "+-1",
        "1.2.3",
        "1 ",
        " 1",
        "1_0",
        "0x1",
        "1e5.5",
        "1e99999999999",
        "-1e-99999999999",
        "0e99999999999",
        "-0",
        "00000000000000000000000000000000000000000000000001.5",
        "1f",
        "inf",
        "-inf",
        "infinity",
        "nan",
        "NaN",
        "0.000000000000000000000000000000000000000000000000001",
        "100000000000000000000000000000000000000000000000e-46",
        "1E5",
        "\u{661}",
    ] {
        check_text(text);
    }
}

#[test]
fn random_numbers_are_converted_as_in_the_core_library() {
    check_random(1, 20_000);
}

#[test]
#[ignore = "10^7 numbers take long; tests/run floats runs this test in release mode"]
fn ten_million_random_numbers_are_converted_as_in_the_core_library() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let workers: Vec<_> = (0..threads)
        .map(|index| {
            std::thread::spawn(move || check_random(1000 + u64::from(index), 10_000_000 / threads))
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}
