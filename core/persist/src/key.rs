//! The keys under which values are stored.

use core::fmt::{self, Write};

use datakit_core::files::Flags;
use datakit_core::params::{ParamSet, Parameter};
use datakit_core::vfs::FilePath;

/// A writer that computes the FNV-1a hash of the text before the first `end` byte. Writing this byte
/// fails.
// Paths and types share this writer, because a second one would take up flash.
struct Hash {
    hash: u32,
    end: u8,
}

impl Hash {
    fn until(end: u8) -> Hash {
        Hash { hash: 0x811c_9dc5, end }
    }
}

impl Write for Hash {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            if byte == self.end {
                return Err(fmt::Error);
            }
            self.hash = (self.hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        datakit_core::vfs::write_char(self, character)
    }
}

/// Returns the key of the parameter with this path: the hash of the path.
pub(crate) fn path_key(path: &FilePath<'_>) -> u32 {
    // A path contains no null byte, so all of it is hashed.
    let mut hash = Hash::until(0);
    let _ = path.write(&mut hash);
    hash.hash
}

/// Returns a number that represents a parameter's type. The number does not depend on the
/// parameter's limits, so a firmware update can change a range without losing the value.
pub(crate) fn type_tag(parameter: &dyn Parameter) -> u8 {
    // The first member of the schema is the name of the type. After it, writing fails.
    let mut hash = Hash::until(b',');
    let _ = parameter.schema(&mut hash);
    tag(&hash)
}

fn tag(first_member: &Hash) -> u8 {
    // The lowest bytes of the hashes of all built-in types differ.
    first_member.hash as u8
}

/// Returns whether the store saves the parameter's value.
pub(crate) fn is_saved(parameter: &dyn Parameter) -> bool {
    let flags = parameter.flags();
    !flags.contains(Flags::VOLATILE) && !flags.contains(Flags::READ_ONLY)
}

/// Returns whether the parameter has a default.
pub(crate) fn has_default(parameter: &dyn Parameter) -> bool {
    parameter.flags().contains(Flags::HAS_DEFAULT)
}

/// Returns whether a saved parameter in `set` has this key.
pub(crate) fn is_known(set: &ParamSet, key: u32) -> bool {
    let visited = set.visit(|_, path, parameter| {
        if is_saved(parameter) && path_key(path) == key { Err(fmt::Error) } else { Ok(()) }
    });
    visited.is_err()
}

/// The ordinals of two parameters whose keys are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collision {
    /// The ordinal (position in the set) of the first parameter.
    pub first: u16,
    /// The ordinal of the second parameter.
    pub second: u16,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collision { first, second } = self;
        write!(f, "the paths of the parameters {first} and {second} have the same hash")
    }
}

impl core::error::Error for Collision {}

/// Checks that no two parameters in `set` have the same key. Call this function in a test that runs
/// on the host, because its running time is quadratic in the number of parameters.
///
/// # Errors
/// Returns [`Collision`] if two paths have the same hash. In this case, rename one of the two
/// parameters.
pub fn check_keys(set: &ParamSet) -> Result<(), Collision> {
    let mut collision = None;
    let _ = set.visit(|second, path, _| {
        let key = path_key(path);
        set.visit(|first, path, _| {
            if first < second && path_key(path) == key {
                collision = Some(Collision { first, second });
                return Err(fmt::Error);
            }
            Ok(())
        })
    });
    collision.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use datakit_core::files::{Param, Value};
    use datakit_core::vfs::{Dir, dir, file};

    use super::*;

    static COSTARRING: Value<u32> = Value::new(0);
    static LIQUID: Value<i32> = Value::new(0);
    // The FNV-1a hashes of these two words are equal.
    static SAME: Dir = Dir::new(&[
        file("other", &Param::new(&LIQUID)),
        file("costarring", &Param::new(&COSTARRING)),
        file("liquid", &Param::new(&LIQUID).range(0, 7)),
    ]);
    static DIFFERENT: Dir = Dir::new(&[dir("a", &SAME_BELOW), file("b", &Param::new(&LIQUID))]);
    static SAME_BELOW: Dir = Dir::new(&[file("b", &Param::new(&LIQUID))]);

    #[test]
    fn equal_hashes_are_found() {
        assert_eq!(check_keys(&ParamSet::new(&SAME)), Err(Collision { first: 1, second: 2 }));
        assert_eq!(check_keys(&ParamSet::new(&DIFFERENT)), Ok(()));
    }

    #[test]
    fn tag_depends_on_the_type_but_not_on_its_limits() {
        let mut tags = [0; 3];
        let mut next = tags.iter_mut();
        ParamSet::new(&SAME)
            .visit(|_, _, parameter| {
                *next.next().unwrap() = type_tag(parameter);
                Ok(())
            })
            .unwrap();
        assert_eq!(tags[0], tags[2]);
        assert_ne!(tags[0], tags[1]);
    }

    #[test]
    fn tags_of_the_built_in_types_differ() {
        let names = [
            "bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "decimal",
            "duration", "choice", "string", "bytes", "ipv4", "mac",
        ];
        let mut tags = names.map(|name| {
            let mut first = Hash::until(b',');
            write!(first, "\"type\":\"{name}\"").unwrap();
            tag(&first)
        });
        tags.sort_unstable();
        assert!(tags.windows(2).all(|pair| pair[0] != pair[1]), "{tags:?}");
    }
}
