//! The fields of a configuration and the types of their values.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::db::Path;

/// A type of configuration value: a string, an integer, a floating-point number, `bool`, or an
/// `Option` of one of these types.
pub trait FieldType: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Parses a value from text that has no surrounding white space. Returns `None` if the text is
    /// not a valid value of this type.
    fn parse(text: &str) -> Option<Self>;

    /// Formats the value as a string. Returns `None` if the value is represented by the absence of
    /// the key.
    fn format(&self) -> Option<String>;

    /// Returns the value to use if the key does not exist.
    #[must_use]
    fn absent(default: &Self) -> Self {
        default.clone()
    }

    /// Parses the text of a key, or returns `default` if the text is invalid. `text` is `None` if
    /// the key does not exist.
    #[must_use]
    fn read(text: Option<&str>, default: &Self) -> Self {
        match text {
            Some(text) => Self::parse(text).unwrap_or_else(|| default.clone()),
            None => Self::absent(default),
        }
    }
}

macro_rules! parsed {
    ($($type:ty)*) => {
        $(impl FieldType for $type {
            fn parse(text: &str) -> Option<$type> {
                text.parse().ok()
            }

            fn format(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

parsed!(String bool i8 i16 i32 i64 isize u8 u16 u32 u64 usize f32 f64);

/// The value of an optional key. The value is `None` if the key does not exist, even if the default
/// is `Some`.
impl<T: FieldType> FieldType for Option<T> {
    fn parse(text: &str) -> Option<Option<T>> {
        T::parse(text).map(Some)
    }

    fn format(&self) -> Option<String> {
        self.as_ref()?.format()
    }

    fn absent(_: &Option<T>) -> Option<T> {
        None
    }
}

/// A field of a [`Record`](super::Record). Clones refer to the same field.
#[derive(Debug)]
pub struct Field<T>(Arc<FieldInner<T>>);

impl<T> Clone for Field<T> {
    fn clone(&self) -> Field<T> {
        Field(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct FieldInner<T> {
    /// The path of the field's key, which is the same in every branch.
    path: Path,
    default: T,
    current: Mutex<CurrentValue<T>>,
}

#[derive(Debug)]
struct CurrentValue<T> {
    value: T,
    /// The version of the record in which the value last changed.
    version: u64,
}

impl<T: FieldType> Field<T> {
    pub(super) fn new(path: Path, default: T) -> Field<T> {
        let current = Mutex::new(CurrentValue { value: default.clone(), version: 0 });
        Field(Arc::new(FieldInner { path, default, current }))
    }

    pub(super) fn shared(&self) -> Arc<dyn AnyField> {
        Arc::clone(&self.0) as Arc<dyn AnyField>
    }

    /// Returns the value as of the last time the record was read, and the version of the record in
    /// which the value last changed.
    #[must_use]
    pub fn get(&self) -> (T, u64) {
        let current = self.0.current.lock();
        (current.value.clone(), current.version)
    }

    /// Returns whether the value has changed since [`get`](Field::get) returned `version`.
    #[must_use]
    pub fn has_changed(&self, version: u64) -> bool {
        self.0.current.lock().version > version
    }

    /// Returns an assignment of a new value, for use with
    /// [`Record::set_multiple`](super::Record::set_multiple).
    #[must_use]
    pub fn assign(&self, value: T) -> Assignment {
        Assignment { path: self.0.path.clone(), text: value.format() }
    }
}

/// An assignment of a new value to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub(super) path: Path,
    /// The text to write, or `None` to remove the key.
    pub(super) text: Option<String>,
}

/// A field with a value of any type.
pub(super) trait AnyField: Send + Sync {
    fn path(&self) -> &Path;

    /// Returns an assignment of the default value.
    fn default(&self) -> Assignment;

    /// Returns an assignment of the current value.
    fn current(&self) -> Assignment;

    /// Parses text from the database and sets the value to the result. Returns whether the value
    /// has changed.
    fn update(&self, text: Option<&str>, version: u64) -> bool;
}

impl<T: FieldType> AnyField for FieldInner<T> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn default(&self) -> Assignment {
        Assignment { path: self.path.clone(), text: self.default.format() }
    }

    fn current(&self) -> Assignment {
        let text = self.current.lock().value.format();
        Assignment { path: self.path.clone(), text }
    }

    fn update(&self, text: Option<&str>, version: u64) -> bool {
        let value = T::read(text, &self.default);
        let mut current = self.current.lock();
        let changed = current.value != value;
        if changed {
            *current = CurrentValue { value, version };
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_defaults_and_texts() {
        assert_eq!(i64::read(Some("42"), &7), 42);
        assert_eq!((i64::read(Some("4 2"), &7), i64::read(None, &7)), (7, 7));
        assert_eq!(
            (bool::read(Some("true"), &false), bool::read(Some("yes"), &false)),
            (true, false)
        );
        assert_eq!(String::read(Some(""), &"x".to_owned()), "");
        let default = Some("x".to_owned());
        assert_eq!(Option::<String>::read(None, &default), None);
        assert_eq!(Option::<u8>::read(Some("300"), &Some(1)), Some(1));
        assert_eq!((None::<u8>.format(), Some(2u8).format()), (None, Some("2".to_owned())));
    }

    #[test]
    fn versions_tell_changes() {
        let field = Field::new("mtu".parse().unwrap(), 1500);
        let (value, version) = field.get();
        assert_eq!(value, 1500);
        assert!(!field.shared().update(Some("1500"), 1) && !field.has_changed(version));
        assert!(field.shared().update(Some("9000"), 2) && field.has_changed(version));
        assert_eq!(field.get(), (9000, 2));
        assert!(!field.has_changed(2));
    }
}
