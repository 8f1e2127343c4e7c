//! stub
#![allow(missing_docs)]
use super::{Id, Result, objects::Objects};
pub fn merge_bases(objects: &Objects, a: Id, b: Id) -> Result<Vec<Id>> {
    let mut seen = vec![a];
    let mut i = 0;
    while let Some(id) = seen.get(i).copied() {
        i += 1;
        seen.extend(objects.commit(id)?.parents.iter());
    }
    let mut walk = std::collections::VecDeque::from([b]);
    while let Some(id) = walk.pop_front() {
        if seen.contains(&id) {
            return Ok(vec![id]);
        }
        walk.extend(objects.commit(id)?.parents.iter());
    }
    Ok(vec![])
}
pub fn is_ancestor(objects: &Objects, a: Id, of: Id) -> Result<bool> {
    Ok(merge_bases(objects, a, of)? == [a])
}
