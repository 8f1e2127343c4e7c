//! Reads a pipeline file and reports all errors in it.

mod check;
mod matrix;
mod reader;
#[cfg(test)]
mod schema_tests;
mod step;
#[cfg(test)]
mod tests;
mod units;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{PipelineError, PipelineErrors, Position};
use super::model::Pipeline;
use reader::{Reader, Table};
use step::Defaults;

/// The maximum size of a pipeline file, in bytes.
pub const FILE_MAX: usize = 64 << 10;
/// The maximum number of steps in a file.
pub const STEPS_MAX: usize = 100;

/// The top-level keys of the file.
pub(super) const TOP_KEYS: [&str; 4] = ["env", "image", "step", "timeout"];

impl Pipeline {
    /// Parses a pipeline file. `name` is the file name to use in messages.
    ///
    /// ```
    /// use datakit_ci::pipeline::Pipeline;
    ///
    /// let pipeline = Pipeline::parse("ci.toml", "[step.test]\nrun = 'make test'\n")?;
    /// assert_eq!(&*pipeline.steps[0].name, "test");
    ///
    /// let errors = Pipeline::parse("ci.toml", "[step.test]\nruns = 'make test'\n").unwrap_err();
    /// assert_eq!(
    ///     errors.to_string(),
    ///     "ci.toml:1:7: the step `test` has no commands; add `run = \"...\"`\n\
    ///      ci.toml:2:1: unknown key `runs` in the step `test`; did you mean `run`?"
    /// );
    /// # Ok::<(), datakit_ci::pipeline::PipelineErrors>(())
    /// ```
    ///
    /// # Errors
    /// Returns all errors in the file.
    pub fn parse(name: &str, text: &str) -> Result<Pipeline, PipelineErrors> {
        if text.len() > FILE_MAX {
            let message =
                format!("the file has {} bytes; at most {FILE_MAX} are allowed", text.len());
            let error = PipelineError { position: Position::at(text, FILE_MAX), message };
            return Err(PipelineErrors::new(name, vec![error]));
        }
        let (table, syntax) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(text);
        // After any other syntax error, parts of the file might have been skipped, so errors in the
        // content could be misleading.
        let complete = syntax.iter().all(|error| error.message() == "duplicate key");
        for error in &syntax {
            reader.error(error.span().unwrap_or_default(), sentence(error.message()));
        }
        let pipeline = complete.then(|| read(&mut reader, &table)).flatten();
        match (reader.into_errors(), pipeline) {
            (errors, Some(pipeline)) if errors.is_empty() => Ok(pipeline),
            (errors, _) => Err(PipelineErrors::new(name, errors)),
        }
    }
}

/// Improves the message of a syntax error.
fn sentence(message: &str) -> String {
    match message {
        "duplicate key" => "this key or step is defined twice; remove or rename one".to_owned(),
        message => format!("this is not valid TOML: {message}"),
    }
}

fn read(reader: &mut Reader<'_>, table: &Spanned<DeTable<'_>>) -> Option<Pipeline> {
    let top = Table { entries: table.get_ref(), span: 0..0, what: "the file".to_owned() };
    reader.unknown_keys(&top, &TOP_KEYS);
    let defaults = Defaults::read(reader, &top);
    let Some((_, value)) = top.get("step") else {
        reader.error(0..0, "the file has no steps; add `[step.NAME]` with `run = \"...\"`");
        return None;
    };
    let DeValue::Table(entries) = value.get_ref() else {
        let message = "`step` must be a table for each step, for example `[step.test]`";
        reader.error(value.span(), message);
        return None;
    };
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, value)| (key.span().start, value.span().start));
    if let Some((key, _)) = entries.get(STEPS_MAX) {
        let count = entries.len();
        let message = format!("the file has {count} steps; at most {STEPS_MAX} are allowed");
        reader.error(key.span(), message);
        return None;
    }
    if entries.is_empty() {
        reader.error(value.span(), "the file has no steps; add `[step.NAME]` with `run = \"...\"`");
    }
    let mut steps = Vec::new();
    for (key, value) in entries {
        steps.extend(step::read(reader, key, value, &defaults));
    }
    check::graph(reader, &steps);
    let steps = steps.into_iter().map(|read| read.step.into()).collect();
    Some(Pipeline { steps })
}
