//! The files that contain a machine-readable description of all parameters in a set and the hash of
//! that description.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::{ParamSet, Parameter};
use crate::files::{Count, Flags, Json, Step, read_window, write_hex};
use crate::float::write_scaled;
use crate::vfs::{File, FilePath, FileStat, OpenFile, Result};

/// A file that describes all parameters in a set as a JSON document with one parameter per line, or
/// a file that contains a hash of this document. The length of the text is not limited, because
/// each read renders the text again and keeps only the requested part.
///
/// The `core/docs/params.schema.json` file in the repository is a JSON Schema for the document.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    set: &'static ParamSet,
    is_id: bool,
}

impl Schema {
    /// Creates a file that describes the parameters in `set`.
    #[must_use]
    pub const fn new(set: &'static ParamSet) -> Schema {
        Schema { set, is_id: false }
    }

    /// Creates a file that contains the hash of the schema for `set` as 8 hexadecimal digits. A
    /// client that has stored a device's schema can read this file to check whether the stored
    /// schema is up to date.
    #[must_use]
    pub const fn id(set: &'static ParamSet) -> Schema {
        Schema { set, is_id: true }
    }

    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        if !self.is_id {
            return write_schema(self.set, out);
        }
        let id = schema_id(self.set).to_be_bytes();
        id.into_iter().try_for_each(|byte| write_hex(byte, out))?;
        out.write_str("\n")
    }
}

impl File for Schema {
    fn stat(&self) -> FileStat {
        Count::stat(|count| self.write(count)).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_window(offset, buf, &|out| self.write(out)))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(if self.is_id { "hash of the schema" } else { "all parameters in JSON" })
    }
}

/// Returns the FNV-1a hash of the schema's text.
#[must_use]
pub fn schema_id(set: &'static ParamSet) -> u32 {
    let mut hash = Hash(0x811c_9dc5);
    // Writing to a `Hash` never fails.
    let _ = write_schema(set, &mut hash);
    hash.0
}

fn write_schema(set: &ParamSet, out: &mut dyn Write) -> fmt::Result {
    let mut json = JsonWriter { out, in_string: false, result: Ok(()) };
    json.raw("{\"version\":1,\"params\":[");
    set.visit(&mut |ordinal, path, parameter| {
        json.raw(if ordinal == 0 { "\n{\"path\":\"" } else { ",\n{\"path\":\"" });
        write_parameter(set, path, parameter, &mut json);
        json.result
    })?;
    json.raw("\n]}\n");
    json.result
}

/// Writes the members of a parameter's object, starting with the value of `path`.
fn write_parameter(
    set: &ParamSet,
    path: &FilePath<'_>,
    parameter: &dyn Parameter,
    json: &mut JsonWriter<'_>,
) {
    let description = parameter.description();
    let flags = description.flags();
    // The results can be ignored, because the writer stores the first error.
    let _ = path.write(json);
    json.raw(",");
    let _ = parameter.schema(json);
    let Step { digits, decimals } = description.step();
    if digits != 0 {
        json.raw(",\"step\":");
        let _ = write_scaled(digits.into(), -i32::from(decimals), json);
    }
    json.text(",\"unit\":\"", description.unit());
    json.text(",\"doc\":\"", description.doc());
    if flags.contains(Flags::HAS_DEFAULT) {
        json.raw(if parameter.is_json() { ",\"default\":" } else { ",\"default\":\"" });
        let _ = parameter.render_default(json);
    }
    let mut start = ",\"flags\":[\"";
    for (flag, name) in &FLAGS {
        if flags.contains(*flag) {
            json.text(start, name);
            start = ",\"";
        }
    }
    if start == ",\"" {
        json.raw("]");
    }
    json.raw(if set.saves(flags) { ",\"saved\":true}" } else { ",\"saved\":false}" });
}

/// The flags that the schema can contain.
static FLAGS: [(Flags, &str); 4] = [
    (Flags::READ_ONLY, "read-only"),
    (Flags::WRITE_ONLY, "write-only"),
    (Flags::RESTART, "restart"),
    (Flags::VOLATILE, "volatile"),
];

/// A writer that escapes the text in JSON strings. It stores the first error and then ignores all
/// further text, because checking the result of every write would take up flash.
struct JsonWriter<'a> {
    out: &'a mut dyn Write,
    /// Whether the text is in a JSON string.
    in_string: bool,
    result: fmt::Result,
}

impl JsonWriter<'_> {
    /// Ends the string, if there is one, and writes JSON text. If the text ends with a quotation
    /// mark, the text written next is part of a string.
    #[inline(never)]
    fn raw(&mut self, text: &str) {
        if core::mem::take(&mut self.in_string) {
            let _ = self.write_str("\"");
        }
        let _ = self.write_str(text);
        self.in_string = text.ends_with('"');
    }

    /// Writes JSON text, followed by the text of a string. Does nothing if the string is empty.
    #[inline(never)]
    fn text(&mut self, raw: &str, text: &str) {
        if !text.is_empty() {
            self.raw(raw);
            let _ = self.write_str(text);
        }
    }
}

impl Write for JsonWriter<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.result.is_ok() {
            self.result =
                if self.in_string { Json(self.out).write_str(s) } else { self.out.write_str(s) };
        }
        self.result
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        crate::vfs::write_char(self, character)
    }
}

/// Computes the 32-bit FNV-1a hash of the text written to it.
struct Hash(u32);

impl Write for Hash {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        crate::vfs::write_char(self, character)
    }
}

#[cfg(test)]
mod tests {
    use heapless::String as Line;

    use super::*;
    use crate::files::{Param, ParamInfo, Value};
    use crate::params::test_tree::{Tree, read_all};
    use crate::params::{ParamStore, StoreRequest};
    use crate::vfs::{Dir, dir, file};

    struct Store;

    impl ParamStore for Store {
        fn start(&self, _: StoreRequest) -> Result<()> {
            Ok(())
        }
    }

    static PERIOD: Value<u32> = Value::new(1000);
    static GAIN: Value<f32> = Value::new(0.5);
    static NAME: Value<Line<8>> = Value::new(Line::new());
    static SECRET: Value<bool> = Value::new(false);
    static COUNT: Value<u8> = Value::new(0);
    static NAME_FILE: Param<Line<8>> = Param::new(&NAME).default(Line::new());
    static BLINK: Dir = Dir::new(&[file(
        "period",
        &Param::with_info(
            &PERIOD,
            ParamInfo::new()
                .range(10, 60_000)
                .step(5, 0)
                .unit(&"ms")
                .doc("from \"one\" flash\nto the next")
                .default(1000)
                .needs_restart(),
        ),
    )]);
    static SET: ParamSet = ParamSet::new(&PARAMS).store(&Store);
    static UNSAVED: ParamSet = ParamSet::new(&BLINK);
    static PARAMS: Dir = Dir::new(&[
        file("schema", &Schema::new(&SET)),
        file("schema-id", &Schema::id(&SET)),
        dir("blink", &BLINK),
        file("gain", &Param::with_info(&GAIN, ParamInfo::new().range(0.0, 1.0).step(25, 2))),
        file("name", &NAME_FILE),
        file("secret", &Param::with_info(&SECRET, ParamInfo::new().write_only().volatile())),
        file("count", &Param::new(&COUNT).read_only()),
    ]);

    const SCHEMA: &str = r#"{"version":1,"params":[
{"path":"blink/period","type":"u32","min":10,"max":60000,"step":5,"unit":"ms","doc":"from \u0022one\u0022 flash\u000ato the next","default":1000,"flags":["restart"],"saved":true},
{"path":"gain","type":"f32","min":0,"max":1,"step":0.25,"saved":true},
{"path":"name","type":"string","max-bytes":8,"default":"","saved":true},
{"path":"secret","type":"bool","flags":["write-only","volatile"],"saved":false},
{"path":"count","type":"u8","min":0,"max":255,"flags":["read-only"],"saved":false}
]}
"#;

    #[test]
    fn schema_has_a_line_for_each_parameter() {
        let tree = Tree::new(&PARAMS);
        // The text is longer than 64 bytes, which is the buffer size of the tree's open files.
        assert_eq!(read_all(&tree, "schema", 50), SCHEMA);
        assert_eq!(Schema::new(&SET).stat().length, SCHEMA.len() as u64);
    }

    #[test]
    fn schema_id_is_the_hash_of_the_schema() {
        let hash = SCHEMA
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let tree = Tree::new(&PARAMS);
        assert_eq!(read_all(&tree, "schema-id", 64), std::format!("{hash:08x}\n"));
        assert_eq!(schema_id(&SET), hash);
        assert_ne!(schema_id(&UNSAVED), hash);
        // This test vector was published by the authors of the hash function.
        let mut known = Hash(0x811c_9dc5);
        known.write_str("foobar").unwrap();
        assert_eq!(known.0, 0xbf9c_f968);
    }

    #[test]
    fn values_are_not_saved_without_a_store() {
        static ROOT: Dir = Dir::new(&[file("schema", &Schema::new(&UNSAVED))]);
        let schema = read_all(&Tree::new(&ROOT), "schema", 64);
        assert!(schema.contains("\"saved\":false"), "{schema}");
    }

    #[test]
    fn schema_of_no_parameters_is_empty() {
        static NONE: Dir = Dir::new(&[]);
        static EMPTY: ParamSet = ParamSet::new(&NONE);
        static ROOT: Dir = Dir::new(&[file("schema", &Schema::new(&EMPTY))]);
        assert_eq!(read_all(&Tree::new(&ROOT), "schema", 64), "{\"version\":1,\"params\":[\n]}\n");
        assert!(EMPTY.is_empty());
    }
}
