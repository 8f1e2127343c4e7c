//! Tests for the errors from both macros. They check each error's message and the source code that
//! it points to.

#![allow(clippy::unwrap_used)] // A failure is a failed test.

use proc_macro2::TokenStream;
use syn::{DeriveInput, Result};

/// Derives `Params` for a struct with the given body and returns the message and the source code of
/// each error.
fn params_errors(source: &str) -> Vec<(String, String)> {
    errors(source, crate::params::derive)
}

fn errors(source: &str, derive: fn(&DeriveInput) -> Result<TokenStream>) -> Vec<(String, String)> {
    let input: DeriveInput = syn::parse_str(source).unwrap();
    let error = derive(&input).map(|tokens| tokens.to_string()).unwrap_err();
    let shown =
        |error: syn::Error| (error.to_string(), error.span().source_text().unwrap_or_default());
    error.into_iter().map(shown).collect()
}

/// Checks that a struct with this field causes exactly one error, with this message and source
/// code.
fn check_field(field: &str, message: &str, source: &str) {
    let errors = params_errors(&format!("struct S {{ {field} }}"));
    assert_eq!(errors, [(message.to_owned(), source.to_owned())], "{field}");
}

#[test]
fn unknown_arguments_are_refused() {
    check_field(
        "#[param(defualt = 1)] a: u32",
        "unknown argument; expected `default`, `range`, `step`, `unit`, `doc`, `name`, `check`, `line` \
         or `flags(..)`",
        "defualt",
    );
    check_field(
        "#[param(flags(reset))] a: u32",
        "unknown flag; expected `read_only`, `write_only`, `restart` or `volatile`",
        "reset",
    );
    for flags in ["read_only, write_only", "write_only, restart, read_only"] {
        check_field(
            &format!("#[param(flags({flags}))] a: u32"),
            "a parameter cannot be both `read_only` and `write_only`",
            flags.rsplit(' ').next().unwrap(),
        );
    }
    check_field("#[params(doc = \"x\")] a: S", "unknown argument; expected `name`", "doc");
    check_field(
        "#[param(unit = \"a\", unit = \"b\")] a: u32",
        "this argument occurs twice",
        "unit = \"b\"",
    );
    check_field(
        "#[param(unit = \"a\\nb\")] a: u32",
        "the text must not contain control characters",
        "\"a\\nb\"",
    );
}

#[test]
fn default_must_be_in_the_range_and_a_multiple_of_the_step() {
    for (field, message, source) in [
        (
            "#[param(default = 9, range = 10..=60_000)] a: u32",
            "the default 9 is outside the range 10..=60_000",
            "9",
        ),
        (
            "#[param(default = -1.5, range = -1..)] a: f32",
            "the default -1.5 is outside the range -1..",
            "-1.5",
        ),
        (
            "#[param(range = 1..=5)] a: [u8; 3]",
            "the default 0 is outside the range 1..=5; add `default = ...`",
            "1..=5",
        ),
        (
            "#[param(line, default = [1, 6], range = ..=5)] a: [u8; 2]",
            "the default 6 is outside the range ..=5",
            "6",
        ),
        (
            "#[param(default = Some(6), range = 1..=5)] a: Option<u8>",
            "the default 6 is outside the range 1..=5",
            "6",
        ),
        (
            "#[param(default = 0.3, step = 0.25)] a: f32",
            "the default is not a multiple of the step 0.25",
            "0.3",
        ),
        (
            "#[param(line, default = [0.5, 0.3], step = 0.25)] a: [f32; 2]",
            "the default is not a multiple of the step 0.25",
            "0.3",
        ),
        (
            "#[param(default = Some(7), step = 10)] a: Option<u32>",
            "the default is not a multiple of the step 10",
            "7",
        ),
        ("#[param(range = 5..=1)] a: Option<u8>", "the range is empty", "5..=1"),
        (
            "#[param(range = 0..5)] a: u8",
            "a range includes its end; write `..=` instead of `..`",
            "0..5",
        ),
        ("#[param(range = 5)] a: u8", "expected a range such as `1..=10`, `1..` or `..=10`", "5"),
        (
            "#[param(step = 0)] a: u8",
            "a step is greater than 0 and its digits are at most 65535 without the decimal point",
            "0",
        ),
        ("#[param(step = 0.5)] a: u8", "the step of an integer is an integer", "0.5"),
    ] {
        check_field(field, message, source);
    }
}

#[test]
fn range_and_step_need_ordered_values() {
    check_field(
        "#[param(range = 0..=1)] a: bool",
        "a value of the type `bool` has no range",
        "0..=1",
    );
    check_field(
        "#[param(range = 0..=1)] a: heapless::String<8>",
        "a value of the type `heapless::String<8>` has no range",
        "0..=1",
    );
    check_field(
        "#[param(step = 5)] a: Option<Ipv4>",
        "a value of the type `Ipv4` has no step",
        "5",
    );
}

#[test]
fn similar_types_are_suggested() {
    let text = "a text has a maximum length; use `heapless::String<N>` or \
                `datakit_core::files::Line<N>`";
    for (ty, message) in [
        ("usize", "the size of a `usize` depends on the processor; use `u32` or `u64`"),
        ("isize", "the size of an `isize` depends on the processor; use `i32` or `i64`"),
        ("core::primitive::u128", "an integer has at most 64 bits; use `u64`"),
        ("i128", "an integer has at most 64 bits; use `i64`"),
        ("char", "a `char` is not a parameter; use `datakit_core::files::Line<4>`"),
        ("String", text),
        ("std::string::String", text),
        ("&'static str", text),
        ("Vec<u8>", "a byte string has a maximum length; use `heapless::Vec<u8, N>`"),
    ] {
        check_field(&format!("a: {ty}"), message, ty);
        check_field(&format!("#[param(default = 1)] a: {ty}"), message, ty);
        check_field(&format!("a: [Option<{ty}>; 2]"), message, ty);
    }
}

#[test]
fn length_of_an_array_is_limited() {
    let line = "an array on one line has at most 32 elements";
    check_field("#[param(line)] a: [u8; 33]", line, "33");
    check_field("#[param(line, default = 1)] a: [u8; 0x100]", line, "0x100");
    let directory = "a directory has at most 255 entries";
    check_field("a: [u8; 256]", directory, "256");
    check_field("a: [Limits; 256_usize]", directory, "256_usize");
}

#[test]
fn duration_has_no_unit_of_its_own() {
    let message = "a duration is written with its unit, as in `1.5 s`; remove this argument";
    for ty in ["Millis", "Option<Micros>", "[Millis; 2]"] {
        check_field(&format!("#[param(unit = \"ms\")] a: {ty}"), message, "\"ms\"");
    }
}

#[test]
fn none_has_one_meaning() {
    check_field(
        "a: Option<Option<u8>>",
        "clients could not distinguish `None` from `Some(None)`; use only one `Option`",
        "Option<Option<u8>>",
    );
    let message = "the text `none` means that there is no value; write `default = None`";
    check_field("#[param(default = Some(\"none\"))] a: Option<Line<8>>", message, "\"none\"");
    check_field("#[param(default = \"none\")] a: Option<Millis>", message, "\"none\"");
}

#[test]
fn text_must_fit_the_type() {
    for (field, message, source) in [
        (
            "#[param(default = \"1.5 sec\")] a: Millis",
            "expected a duration such as \"1.5 s\", \"250 ms\" or \"10 us\"",
            "\"1.5 sec\"",
        ),
        (
            "#[param(default = 1500)] a: Millis",
            "a duration needs a unit, for example \"1.5 s\"",
            "1500",
        ),
        (
            "#[param(default = \"1.2.3\")] a: Ipv4",
            "expected an IPv4 address such as \"192.168.0.1\"",
            "\"1.2.3\"",
        ),
        (
            "#[param(default = \"02:00\")] a: Mac",
            "expected an Ethernet address such as \"02:00:00:12:ab:ff\"",
            "\"02:00\"",
        ),
        (
            "#[param(default = \"0f0\")] a: Vec<u8, 8>",
            "expected two hexadecimal digits per byte, such as \"0aff\"",
            "\"0f0\"",
        ),
        ("#[param(default = \"1\")] a: u32", "expected a value without quotes", "\"1\""),
        (
            "#[param(default = \"auto\")] a: Mode",
            "expected an expression of the type, such as `Mode::Auto`",
            "\"auto\"",
        ),
        (
            "#[param(default = \"abc\")] a: String<8>",
            "a `heapless::String` in a constant is always empty; use `datakit_core::files::Line` for text with a default",
            "\"abc\"",
        ),
    ] {
        check_field(field, message, source);
    }
}

#[test]
fn names_must_be_valid_and_unique() {
    let name = "a name has 1 to 255 bytes, contains no white space, control character, `/`, `\"` or \
                `\\`, and is neither `.` nor `..`";
    for refused in ["", "a/b", "a b", ".."] {
        let source = format!("\"{refused}\"");
        check_field(&format!("#[param(name = {source})] a: u32"), name, &source);
    }
    for (ident, length) in [("__", 0), ("x".repeat(256).as_str(), 256)] {
        let message = format!(
            "the identifier becomes a name of {length} bytes, but a name has 1 to 255 bytes; add \
             `name = \"...\"`"
        );
        check_field(&format!("{ident}: u32"), &message, ident);
        check_field(&format!("{ident}: Limits"), &message, ident);
    }
    check_field("a: u32, #[param(name = \"a\")] b: u32", "the name `a` is used twice", "\"a\"");
    check_field("a_b: u32, aB: u32", "the name `a-b` is used twice", "aB");
    check_field("#[param(line)] a: u32", "only an array can be written on one line", "line");
}

#[test]
fn only_plain_structs_with_named_fields_are_accepted() {
    for (source, message, at) in [
        (
            "struct S(u32);",
            "`Params` can be derived only for a struct with named fields, because a field gives a file its name",
            "S",
        ),
        (
            "struct S;",
            "`Params` can be derived only for a struct with named fields, because a field gives a file its name",
            "S",
        ),
        ("enum E { A }", "`Params` can be derived only for a struct", "E"),
        (
            "struct S<T> { a: T }",
            "`Params` cannot be derived for a generic struct, because the descriptions of the parameters are constants",
            "<T>",
        ),
        (
            "#[params(name = \"x\")] struct S { a: u32 }",
            "unknown argument; expected `check` or `crate`",
            "name",
        ),
        (
            "#[param(default = 1)] struct S { a: u32 }",
            "`#[param(...)]` belongs on a field; the attribute of a struct is `#[params(...)]`",
            "#[param(default = 1)]",
        ),
    ] {
        assert_eq!(params_errors(source), [(message.to_owned(), at.to_owned())], "{source}");
    }
}

#[test]
fn every_wrong_field_is_reported() {
    let errors =
        params_errors("struct S { #[param(x)] a: u32, b: u32, #[param(default = \"1\")] c: i8 }");
    let sources: Vec<_> = errors.iter().map(|(_, source)| source.as_str()).collect();
    assert_eq!(sources, ["x", "\"1\""]);
}

#[test]
fn choice_is_an_enum_of_unit_variants() {
    for (source, message, at) in [
        ("struct S { a: u32 }", "`Choice` can be derived only for an enum", "S"),
        ("enum E {}", "a choice has at least one variant", "E"),
        ("enum E { A, B(u32) }", "a variant of a choice has no fields", "B(u32)"),
        ("enum E<T> { A }", "`Choice` cannot be derived for a generic enum", "<T>"),
        ("enum E { A, #[choice(name = \"a\")] B }", "the name `a` is used twice", "\"a\""),
        (
            "enum E { A, __ }",
            "the identifier becomes a name of 0 bytes, but a name has 1 to 255 bytes; add `name = \"...\"`",
            "__",
        ),
        ("enum E { #[choice(doc = \"a\")] B }", "unknown argument; expected `name`", "doc"),
    ] {
        let errors = errors(source, crate::choice::derive);
        assert_eq!(errors, [(message.to_owned(), at.to_owned())], "{source}");
    }
}
