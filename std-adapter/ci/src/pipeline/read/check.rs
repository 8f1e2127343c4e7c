//! Checks the dependencies between steps.

use super::reader::{Reader, list, shown, similar};
use super::step::ReadStep;
use crate::pipeline::plan::task_name;

/// The maximum total number of variants of all steps.
const TASKS_MAX: usize = 256;

/// The maximum length of a variant's name, which is used as a file name in the metadata branch.
const TASK_NAME_MAX: usize = 200;

/// Reports unknown steps in `needs`, cycles, and too many variants.
pub(super) fn graph(reader: &mut Reader<'_>, steps: &[ReadStep]) {
    let names: Vec<&str> = steps.iter().map(|read| &*read.step.name).collect();
    for read in steps {
        for (need, span) in read.step.needs.iter().zip(&read.need_spans) {
            if names.contains(&&**need) {
                continue;
            }
            let hint = match similar(need, &names) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None if names.len() > 10 => format!("the file has {} steps", names.len()),
                None => format!("the steps are {}", list(&names)),
            };
            reader.error(span.clone(), format!("there is no step `{}`; {hint}", shown(need)));
        }
    }
    for read in steps.iter().filter(|read| !read.step.per_target) {
        let has_inputs = |need: &str| {
            let mut needed = steps.iter().map(|read| &read.step).filter(|step| *step.name == *need);
            needed.any(|step| step.per_target && !step.artifacts.is_empty())
        };
        for (need, span) in read.step.needs.iter().zip(&read.need_spans) {
            if has_inputs(need) {
                let message = format!(
                    "this step must also set `per-target`, because the artifacts of `{need}` \
                     depend on the target"
                );
                reader.error(span.clone(), message);
            }
        }
    }
    let needs: Vec<Vec<usize>> = steps.iter().map(|read| needs_of(read, &names)).collect();
    for cycle in cycles(&needs) {
        let mut path: Vec<&str> =
            cycle.iter().filter_map(|index| names.get(*index)).copied().collect();
        path.extend(path.first().copied());
        let Some(first) = cycle.first().and_then(|index| steps.get(*index)) else { continue };
        let path = path.join(" -> ");
        let message = format!("`needs` forms a cycle: {path}; remove one of these needs");
        reader.error(first.name_span.clone(), message);
    }
    for read in steps {
        let combinations = read.step.matrix.combinations();
        let names = combinations.iter().map(|axes| task_name(&read.step.name, axes).len());
        if let Some(length) = names.max().filter(|length| *length > TASK_NAME_MAX) {
            let message = format!(
                "the names of this step's variants have up to {length} characters; at most \
                 {TASK_NAME_MAX} are allowed, so use fewer axes or shorter values"
            );
            reader.error(read.name_span.clone(), message);
        }
    }
    let tasks: usize = steps.iter().map(|read| read.step.matrix.combinations().len()).sum();
    if tasks > TASKS_MAX {
        let message = format!(
            "the steps have {tasks} combinations of matrix values; at most {TASKS_MAX} are allowed"
        );
        reader.error(0..0, message);
    }
}

fn needs_of(read: &ReadStep, names: &[&str]) -> Vec<usize> {
    let index = |need| names.iter().position(|name| *name == need);
    read.step.needs.iter().filter_map(|need| index(&**need)).collect()
}

/// Returns one cycle for each group of steps that depend on each other.
fn cycles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut done = vec![false; needs.len()];
    let mut cycles = Vec::new();
    for start in 0..needs.len() {
        // The steps from `start` to the current step, each with the index of the next item to visit
        // in its list of needed steps.
        let mut path = vec![(start, 0)];
        if done.get(start) != Some(&false) {
            continue;
        }
        while let Some((step, position)) = path.last_mut() {
            let (step, next) = (*step, needs.get(*step).and_then(|list| list.get(*position)));
            *position += 1;
            match next.copied() {
                None => {
                    if let Some(done) = done.get_mut(step) {
                        *done = true;
                    }
                    path.pop();
                }
                Some(next) => {
                    if let Some(from) = path.iter().position(|(step, _)| *step == next) {
                        let cycle = path.iter().skip(from).map(|(step, _)| *step);
                        cycles.push(cycle.collect());
                        path.iter().for_each(|(step, _)| {
                            if let Some(done) = done.get_mut(*step) {
                                *done = true;
                            }
                        });
                        break;
                    }
                    if done.get(next) == Some(&false) {
                        path.push((next, 0));
                    }
                }
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_once() {
        assert_eq!(cycles(&[vec![1], vec![2], vec![]]), Vec::<Vec<usize>>::new());
        assert_eq!(cycles(&[vec![0]]), [[0]]);
        assert_eq!(cycles(&[vec![1], vec![2], vec![1]]), [[1, 2]]);
        assert_eq!(cycles(&[vec![1], vec![0], vec![3], vec![2]]), [[0, 1], [2, 3]]);
        assert_eq!(cycles(&[vec![1, 2], vec![2], vec![], vec![0, 3]]), [[3]]);
    }
}
