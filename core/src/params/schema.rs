//! The files that contain a machine-readable description of all parameters in a set and the hash of
//! that description.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::{ParamSet, Parameter};
use crate::files::{Description, Flags, write_hex};
use crate::float::write_scaled;
use crate::vfs::{File, FilePath, FileStat, OpenFile, Result, Window};

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

    /// Creates a file that contains, as 8 hexadecimal digits, the hash of the schema for `set`. A
    /// client that has stored a device's schema can read this file to check whether the stored
    /// schema is up to date.
    #[must_use]
    pub const fn id(set: &'static ParamSet) -> Schema {
        Schema { set, is_id: true }
    }

    /// Renders the part of the text at `offset` into `buf`.
    #[inline(never)]
    fn render<'a>(&self, offset: u64, buf: &'a mut [u8]) -> Window<'a> {
        let mut out = Window::new(offset, buf);
        if self.is_id {
            let mut id = schema_id(self.set);
            for _ in 0..4 {
                // The rotation moves the highest byte to the lowest position, where the cast
                // selects it.
                id = id.rotate_left(8);
                let _ = write_hex(id as u8, &mut out);
            }
            let _ = out.write_str("\n");
        } else {
            write_schema(self.set, &mut out);
        }
        out
    }
}

impl File for Schema {
    fn stat(&self) -> FileStat {
        FileStat::new(self.render(u64::MAX, &mut []).length() as u64).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(self.render(offset, buf).finish(offset))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(if self.is_id { "hash of the schema" } else { "all parameters in JSON" })
    }
}

/// Returns the FNV-1a hash of the schema's text.
#[must_use]
pub fn schema_id(set: &'static ParamSet) -> u32 {
    let mut all = Window::new(u64::MAX, &mut []);
    write_schema(set, &mut all);
    all.hash()
}

#[inline(never)]
fn write_schema(set: &ParamSet, out: &mut Window<'_>) {
    // When the buffer is full, the `Window` returns an error to stop the rendering.
    let _ = out.write_str("{\"version\":1,\"params\":[");
    let _ = set.visit(|_, path, parameter| write_parameter(set, path, parameter, out));
    let _ = out.write_str("\n]}\n");
}

/// A template for a parameter's object. Capital letters and digits are not part of the text:
///
/// - A capital letter is a condition for the text up to the next capital letter. `A` stands for bit
///   0 of the `conditions` in [`write_parameter`], `B` for bit 1, and so on.
/// - A digit is replaced with a value.
///
/// The comma after a `[` is left out. A template takes up less flash than separate code for each
/// member.
const PARAMETER: &str = "K,\n{\"path\":\"0\",1\
    F,\"step\":2G,\"unit\":\"3\"H,\"doc\":\"4\"E,\"default\":I\"E5I\"\
    J,\"flags\":[A,\"read-only\"B,\"write-only\"C,\"restart\"D,\"volatile\"J]\
    K,\"saved\":LtrueMfalseK}";

/// Writes a parameter's object by filling in the [template](PARAMETER).
fn write_parameter(
    set: &ParamSet,
    path: &FilePath<'_>,
    parameter: &dyn Parameter,
    out: &mut Window<'_>,
) -> fmt::Result {
    let description = parameter.description();
    let flags = description.flags();
    // The default of a write-only parameter may be a secret.
    let has_default = flags.contains(Flags::HAS_DEFAULT) & !flags.contains(Flags::WRITE_ONLY);
    // Bits 0 to 3 are the flags: read-only, write-only, restart and volatile. Bit 4 is set if the
    // object has a default, bit 8 if the default is a string, and bit 9 if the object has a list of
    // flags.
    let conditions = u32::from(flags.bits())
        | u32::from(has_default) << 4
        | u32::from(description.step().digits != 0) << 5
        | u32::from(!description.unit().is_empty()) << 6
        | u32::from(!description.doc().is_empty()) << 7
        | u32::from(has_default & !parameter.is_json()) << 8
        | u32::from(flags.bits() != 0) << 9
        | 1 << 10
        | if set.saves(flags) { 1 << 11 } else { 1 << 12 };
    let mut shown = 0;
    for byte in PARAMETER.bytes() {
        if byte.is_ascii_uppercase() {
            shown = conditions >> (byte - b'A') & 1;
        } else if shown != 0 {
            match byte {
                b'0' => path.write(out),
                b'1' => parameter.schema(out),
                b'2' => write_step(description, out),
                b'3' => out.write_str(description.unit()),
                b'4' => out.write_str(description.doc()),
                b'5' => parameter.render_default(out),
                _ => out.put_json(byte),
            }?;
        }
    }
    Ok(())
}

/// Writes the step, as a string if it has a unit.
fn write_step(description: &Description, out: &mut Window<'_>) -> fmt::Result {
    let (step, unit) = (description.step(), description.step_unit());
    let quote = if unit.is_empty() { "" } else { "\"" };
    out.write_str(quote)?;
    write_scaled(step.digits.into(), -i32::from(step.decimals), out)?;
    out.write_str(unit)?;
    out.write_str(quote)
}

#[cfg(test)]
mod tests {
    use heapless::String as Line;

    use super::*;
    use crate::files::{Millis, Param, ParamInfo, Value};
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
    static IDLE: Value<Option<Millis>> = Value::new(None);
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
        file(
            "secret",
            &Param::with_info(&SECRET, ParamInfo::new().write_only().volatile().default(false)),
        ),
        file("idle", &Param::with_info(&IDLE, ParamInfo::new().step(100, 0))),
        file("count", &Param::new(&COUNT).read_only()),
    ]);

    const SCHEMA: &str = r#"{"version":1,"params":[
{"path":"blink/period","type":"u32","min":10,"max":60000,"step":5,"unit":"ms","doc":"from \u0022one\u0022 flash\u000ato the next","default":1000,"flags":["restart"],"saved":true},
{"path":"gain","type":"f32","min":0,"max":1,"step":0.25,"saved":true},
{"path":"name","type":"string","max-bytes":8,"default":"","saved":true},
{"path":"secret","type":"bool","flags":["write-only","volatile"],"saved":false},
{"path":"idle","type":"duration","min":"0 s","max":"4294967.295 s","optional":true,"step":"100 ms","saved":true},
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
        let mut known = Window::new(u64::MAX, &mut []);
        known.write_str("foobar").unwrap();
        assert_eq!(known.hash(), 0xbf9c_f968);
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
