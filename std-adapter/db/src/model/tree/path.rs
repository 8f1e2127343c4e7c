//! Functions on paths. A path consists of components that are joined by `/`.

/// Returns the components of a path in order.
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Returns the path that consists of the first `depth` components of `path`.
pub(crate) fn above(path: &[u8], depth: usize) -> &[u8] {
    let mut ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    match depth.checked_sub(1).and_then(|last| ends.nth(last)) {
        Some(end) => path.get(..end).unwrap_or_default(),
        None => b"",
    }
}

/// Splits a path into its parent and its final component. Returns `None` for the root directory.
#[must_use]
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let at = path.iter().rposition(|byte| *byte == b'/');
    Some(at.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?))).unwrap_or((b"", path)))
}

/// Returns the path of the `name` entry in the `dir` directory.
#[must_use]
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
