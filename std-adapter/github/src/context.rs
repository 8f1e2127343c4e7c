//! Status contexts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::InvalidName;
use crate::name::broken_component_rule;

/// The names of the files that represent a status. A directory represents a status if it contains
/// the `state` file. The other two files are in the same directory.
pub(crate) const STATUS_FILES: [&str; 3] = [STATE, "description", "target_url"];
/// The name of the file that contains the state of a status.
pub(crate) const STATE: &str = "state";

/// The context of a status, such as `ci/datakit/build`. A context distinguishes a status from the
/// other statuses of the same commit. Clones are cheap.
///
/// ```
/// # use datakit_github::Context;
/// assert_eq!("".parse::<Context>()?, Context::default());
/// assert_eq!(Context::default().as_str(), "default");
/// let error = "ci/state".parse::<Context>().unwrap_err();
/// assert!(error.to_string().ends_with("a file called `state` is in the way of this component"));
/// # Ok::<(), datakit_github::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(Arc<str>);

impl Context {
    /// Creates a context from components separated by slashes. Returns the context `default` if the
    /// text is empty.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if a component is empty, `.`, `..` or longer than 250 bytes, or
    /// contains a NUL byte. The component `state` is not allowed, because its directory would have
    /// the same path as the `state` file of a shorter context. For the same reason, `description`
    /// and `target_url` are allowed only as the first component.
    pub fn new(text: &str) -> Result<Context, InvalidName> {
        if text.is_empty() {
            return Ok(Context::default());
        }
        match broken_rule(text) {
            None => Ok(Context(text.into())),
            Some(reason) => Err(InvalidName::new("status context", text, reason)),
        }
    }

    /// The context that sorts before all others, used as the lower bound of ranges in sorted maps.
    pub(crate) fn min() -> Context {
        Context("".into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the components.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

fn broken_rule(text: &str) -> Option<String> {
    text.split('/').enumerate().find_map(|(index, component)| {
        let taken = match index {
            0 => component == STATE,
            _ => STATUS_FILES.contains(&component),
        };
        if taken {
            return Some(format!("a file called `{component}` is in the way of this component"));
        }
        broken_component_rule(component.as_bytes())
    })
}

/// Returns the context `default`, which GitHub uses for statuses without a context.
impl Default for Context {
    fn default() -> Context {
        Context("default".into())
    }
}

impl FromStr for Context {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Context, InvalidName> {
        Context::new(text)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_are_names_of_files_are_refused() {
        for text in ["state", "state/x", "a/state", "a/description", "a/target_url/b"] {
            let error = Context::new(text).unwrap_err().to_string();
            assert!(error.contains("is in the way of this component"), "{error}");
        }
        for text in ["description", "target_url/x", "a", "a/b", "states", "a b: [c]", "\u{e9}"] {
            assert_eq!(Context::new(text).unwrap().to_string(), text);
        }
        for text in ["/", "a/", "/a", "a//b", ".", "a/..", "a\0"] {
            assert!(Context::new(text).is_err(), "{text:?}");
        }
    }
}
