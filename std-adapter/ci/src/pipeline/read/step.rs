//! Reads a step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::super::model::{CacheSpec, Matrix, Step, When};
use super::super::template;
use super::reader::{Key, Reader, Span, Table, Value, shown};
use super::{matrix, units};
use crate::command::Limits;
use crate::term::Retry;

/// The maximum number of retries.
const RETRIES_MAX: u64 = 5;

pub(in super::super) const STEP_KEYS: [&str; 15] = [
    "artifacts",
    "cache",
    "env",
    "image",
    "limits",
    "matrix",
    "needs",
    "network",
    "per-target",
    "pool",
    "retry",
    "run",
    "secrets",
    "timeout",
    "when",
];
pub(in super::super) const CACHE_KEYS: [&str; 3] = ["files", "key", "paths"];
pub(in super::super) const LIMIT_KEYS: [&str; 4] = ["cpu", "disk", "memory", "processes"];
pub(in super::super) const RETRY_KEYS: [&str; 2] = ["pause", "times"];
pub(in super::super) const WHEN_KEYS: [&str; 4] = ["branches", "paths", "prs", "tags"];

/// The top-level keys of the file, which apply to all steps.
pub(super) struct Defaults {
    image: Option<String>,
    env: BTreeMap<String, String>,
    timeout: Duration,
}

/// A step, and the positions of its name and its dependencies in the file.
pub(super) struct ReadStep {
    pub(super) step: Step,
    pub(super) name_span: Span,
    pub(super) need_spans: Vec<Span>,
}

impl Defaults {
    pub(super) fn read(reader: &mut Reader<'_>, top: &Table<'_, '_>) -> Defaults {
        // Defaults cannot refer to axes, because the steps that inherit the defaults can have different
        // axes.
        let axes = &Matrix::default();
        let image = top.value("image").and_then(|value| image(reader, value, axes));
        let env = top.value("env").map(|value| env(reader, value, axes)).unwrap_or_default();
        let timeout = top
            .value("timeout")
            .and_then(|value| reader.parsed(value, "`timeout`", units::duration));
        let hour = Duration::from_secs(3600);
        Defaults { image: image.flatten(), env, timeout: timeout.unwrap_or(hour) }
    }
}

/// Reads a step. Returns `None` if the value is not a table or the name is invalid.
pub(super) fn read(
    reader: &mut Reader<'_>,
    key: &Key<'_>,
    value: &Value<'_>,
    defaults: &Defaults,
) -> Option<ReadStep> {
    let name = match units::step_name(key.get_ref()) {
        Ok(name) => name,
        Err(reason) => {
            let message = format!("the step name `{}`: {reason}", shown(key.get_ref()));
            reader.error(key.span(), message);
            return None;
        }
    };
    let what = format!("the step `{name}`");
    let table = reader.table(value, what, "a table that starts with `[step.NAME]`")?;
    reader.unknown_keys(&table, &STEP_KEYS);
    let axes = table.value("matrix").map(|value| matrix::read(reader, value)).unwrap_or_default();
    let run = scripts(reader, &table, key.span());
    let (needs, need_spans) = needs(reader, &table);
    let mut all_env = defaults.env.clone();
    all_env.extend(table.value("env").map(|value| env(reader, value, &axes)).unwrap_or_default());
    let image = match table.value("image") {
        Some(value) => image(reader, value, &axes).flatten(),
        None => defaults.image.clone(),
    };
    let timeout = table.value("timeout");
    let timeout = timeout.and_then(|value| reader.parsed(value, "`timeout`", units::duration));
    let secrets = secrets(reader, &table, &all_env);
    let step = Step {
        name: name.into(),
        run,
        needs,
        env: all_env,
        caches: table.value("cache").map(|value| caches(reader, value, &axes)).unwrap_or_default(),
        image,
        timeout: timeout.unwrap_or(defaults.timeout),
        when: table.value("when").map(|value| when(reader, value)).unwrap_or_default(),
        artifacts: paths(reader, &table, "artifacts"),
        secrets,
        pool: table.value("pool").and_then(|value| pool(reader, value, &axes)),
        network: flag(reader, &table, "network"),
        limits: table.value("limits").map(|value| limits(reader, value)).unwrap_or_default(),
        retry: table.value("retry").map_or(Retry::NEVER, |value| retry(reader, value)),
        per_target: flag(reader, &table, "per-target"),
        matrix: axes,
    };
    Some(ReadStep { step, name_span: key.span(), need_spans })
}

fn scripts(reader: &mut Reader<'_>, table: &Table<'_, '_>, at: Span) -> Vec<String> {
    let not_empty = |text: &str| match text.trim() {
        "" => Err("a command must not be empty".to_owned()),
        _ => Ok(text.to_owned()),
    };
    let Some(value) = table.value("run") else {
        reader.error(at, format!("{} has no commands; add `run = \"...\"`", table.what));
        return Vec::new();
    };
    if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
        reader.error(value.span(), format!("{} has no commands; `run` is empty", table.what));
    }
    without_spans(reader.strings(value, "`run`", not_empty))
}

fn without_spans<T>(values: Vec<(T, Span)>) -> Vec<T> {
    values.into_iter().map(|(value, _)| value).collect()
}

fn needs(reader: &mut Reader<'_>, table: &Table<'_, '_>) -> (Vec<Arc<str>>, Vec<Span>) {
    let Some(value) = table.value("needs") else { return Default::default() };
    let mut needs: Vec<(Arc<str>, Span)> = Vec::new();
    for (name, span) in reader.strings(value, "`needs`", |text| Ok(Arc::<str>::from(text))) {
        if needs.iter().any(|(known, _)| *known == name) {
            let message = format!("`needs` names `{}` twice; remove one", shown(&name));
            reader.error(span, message);
        } else {
            needs.push((name, span));
        }
    }
    needs.into_iter().unzip()
}

fn env(reader: &mut Reader<'_>, value: &Value<'_>, axes: &Matrix) -> BTreeMap<String, String> {
    let right = "a table of strings, for example `{ LANG = \"C\" }`";
    let mut variables = BTreeMap::new();
    let Some(table) = reader.table(value, "`env`".to_owned(), right) else { return variables };
    for (key, value) in table.in_order() {
        let name = match units::variable(key.get_ref()) {
            Ok(name) => name,
            Err(reason) => {
                reader.error(key.span(), format!("`{}`: {reason}", shown(key.get_ref())));
                continue;
            }
        };
        if let Some(text) = templated(reader, value, &format!("`env.{name}`"), axes) {
            variables.insert(name, text);
        }
    }
    variables
}

/// Reads a string that can refer to matrix axes.
fn templated(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    what: &str,
    matrix: &Matrix,
) -> Option<String> {
    let axes: Vec<&str> = matrix.axes.iter().map(|(axis, _)| axis.as_str()).collect();
    reader.parsed(value, what, |text| template::check(text, &axes).map(|()| text.to_owned()))
}

/// Reads an image name. The inner option is `None` for the host.
fn image(reader: &mut Reader<'_>, value: &Value<'_>, axes: &Matrix) -> Option<Option<String>> {
    let text = templated(reader, value, "`image`", axes)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:@${}".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '$');
    if text.len() > 255 || !starts || !text.chars().all(allowed) {
        let message = "`image` must be `host` or the name of an image, for example `debian:12`";
        reader.error(value.span(), message);
        return None;
    }
    Some((text != "host").then_some(text))
}

fn pool(reader: &mut Reader<'_>, value: &Value<'_>, axes: &Matrix) -> Option<String> {
    let text = templated(reader, value, "`pool`", axes)?;
    if text.contains("${") {
        return Some(text);
    }
    reader.parsed(value, "`pool`", units::name)
}

fn paths(reader: &mut Reader<'_>, table: &Table<'_, '_>, key: &str) -> Vec<String> {
    let value = table.value(key);
    let what = format!("`{key}`");
    without_spans(value.map(|value| reader.strings(value, &what, units::path)).unwrap_or_default())
}

fn flag(reader: &mut Reader<'_>, table: &Table<'_, '_>, key: &str) -> bool {
    let value = table.value(key);
    value.and_then(|value| reader.boolean(value, &format!("`{key}`"))).unwrap_or(false)
}

fn secrets(
    reader: &mut Reader<'_>,
    table: &Table<'_, '_>,
    env: &BTreeMap<String, String>,
) -> Vec<String> {
    let Some(value) = table.value("secrets") else { return Vec::new() };
    let secrets = reader.strings(value, "`secrets`", units::variable);
    for (name, span) in &secrets {
        if env.contains_key(name) {
            let message = format!("`{name}` is a secret and also in `env`; remove one of them");
            reader.error(span.clone(), message);
        }
    }
    without_spans(secrets)
}

fn caches(reader: &mut Reader<'_>, value: &Value<'_>, axes: &Matrix) -> Vec<CacheSpec> {
    let right = "a table for each cache, for example `[step.test.cache.cargo]`";
    let Some(all) = reader.table(value, "`cache`".to_owned(), right) else { return Vec::new() };
    let mut caches = Vec::new();
    for (key, value) in all.in_order() {
        let name = match units::name(key.get_ref()) {
            Ok(name) => name,
            Err(reason) => {
                let message = format!("the cache name `{}`: {reason}", shown(key.get_ref()));
                reader.error(key.span(), message);
                continue;
            }
        };
        let what = format!("the cache `{name}`");
        let Some(table) = reader.table(value, what, right) else { continue };
        reader.unknown_keys(&table, &CACHE_KEYS);
        let paths = self::paths(reader, &table, "paths");
        if table.value("paths").is_none() {
            let message = format!("{} has no paths; add `paths = [\"...\"]`", table.what);
            reader.error(key.span(), message);
        }
        let text = table.value("key").and_then(|value| templated(reader, value, "`key`", axes));
        let files = self::paths(reader, &table, "files");
        caches.push(CacheSpec { name, paths, key: text.unwrap_or_default(), files });
    }
    caches
}

fn when(reader: &mut Reader<'_>, value: &Value<'_>) -> When {
    let right = "a table, for example `{ branches = \"master\", prs = true }`";
    let Some(table) = reader.table(value, "`when`".to_owned(), right) else {
        return When::default();
    };
    reader.unknown_keys(&table, &WHEN_KEYS);
    let mut patterns = |key: &str| {
        let value = table.value(key)?;
        Some(reader.patterns(value, &format!("`when.{key}`")))
    };
    let (branches, tags, prs) = (patterns("branches"), patterns("tags"), patterns("prs"));
    let paths = table.value("paths").map(|value| {
        let paths = reader.strings(value, "`when.paths`", super::super::pattern::Pattern::parse);
        without_spans(paths)
    });
    When { branches, tags, prs, paths: paths.unwrap_or_default() }
}

fn limits(reader: &mut Reader<'_>, value: &Value<'_>) -> Limits {
    let right = "a table, for example `{ memory = \"2GiB\" }`";
    let mut limits = Limits::default();
    let Some(table) = reader.table(value, "`limits`".to_owned(), right) else { return limits };
    reader.unknown_keys(&table, &LIMIT_KEYS);
    let size = |reader: &mut Reader<'_>, key: &str| {
        let value = table.value(key)?;
        reader.parsed(value, &format!("`limits.{key}`"), units::size)
    };
    limits.memory = size(reader, "memory").or(limits.memory);
    limits.disk = size(reader, "disk").or(limits.disk);
    let cpu = table.value("cpu");
    let cpu = cpu.and_then(|value| reader.parsed(value, "`limits.cpu`", units::duration));
    limits.cpu_seconds = cpu.map(|cpu| cpu.as_secs()).or(limits.cpu_seconds);
    let processes = table.value("processes");
    let processes =
        processes.and_then(|value| reader.integer(value, "`limits.processes`", (1, 100_000)));
    limits.processes = processes.or(limits.processes);
    limits
}

fn retry(reader: &mut Reader<'_>, value: &Value<'_>) -> Retry {
    let mut pause = Duration::from_secs(5);
    let times = match value.get_ref() {
        DeValue::Table(_) => {
            let Some(table) = reader.table(value, "`retry`".to_owned(), "a table") else {
                return Retry::NEVER;
            };
            reader.unknown_keys(&table, &RETRY_KEYS);
            let read = table.value("pause");
            let read = read.and_then(|v| reader.parsed(v, "`retry.pause`", units::duration));
            pause = read.unwrap_or(pause);
            match table.value("times") {
                Some(times) => reader.integer(times, "`retry.times`", (0, RETRIES_MAX)),
                None => {
                    reader.error(table.span, "`retry` has no `times`; add `times = 1`");
                    None
                }
            }
        }
        _ => reader.integer(value, "`retry`", (0, RETRIES_MAX)),
    };
    let attempts = times.and_then(|times| u32::try_from(times).ok()).map_or(1, |times| times + 1);
    Retry { attempts, pause, pause_max: Duration::from_secs(300).max(pause) }
}
