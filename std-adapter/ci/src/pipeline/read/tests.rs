//! Tests for the reader: every error has a position and says what is expected.

use std::time::Duration;

use super::super::model::Pipeline;
use super::*;

/// Returns the errors for a file named `f`.
fn errors(text: &str) -> Vec<String> {
    let errors = Pipeline::parse("f", text).unwrap_err();
    errors.to_string().lines().map(|line| line.strip_prefix("f:").unwrap().to_owned()).collect()
}

/// Returns the errors for a step that contains the given lines, which start at line 3.
fn step_errors(lines: &str) -> Vec<String> {
    errors(&format!("[step.a]\nrun = 'x'\n{lines}\n"))
}

/// A file with all keys.
const WHOLE: &str = "
image = 'debian:12'
timeout = '20m'
[env]
LANG = 'C'
A = '1'

[step.lint]
run = 'make lint'
image = 'host'

[step.test]
run = ['make', 'make test']
needs = ['lint']
env = { A = 'rust ${matrix.rust}' }
timeout = '1h30m'
matrix = { rust = ['1.88', 'stable'], os = ['a', 'b'], exclude = [{ rust = '1.88', os = 'b' }] }
when = { branches = ['master', 'release/*'], prs = true, tags = false, paths = ['src/**'] }
artifacts = 'out/report.html'
secrets = ['TOKEN']
pool = 'big'
network = true
limits = { memory = '2GiB', processes = 100, cpu = '10m', disk = '1GiB' }
retry = { times = 2, pause = '1s' }
per-target = true

[step.test.cache.cargo]
paths = ['target', '.cargo']
key = 'v1-${matrix.rust}'
files = ['Cargo.lock']
";

#[test]
fn a_whole_file_is_read() {
    let pipeline = Pipeline::parse("f", WHOLE).unwrap();
    let [lint, test] = &*pipeline.steps else { panic!("{pipeline:?}") };
    assert_eq!((lint.image.as_deref(), lint.timeout.as_secs()), (None, 1200));
    assert_eq!(lint.env["A"], "1");
    assert_eq!(test.run, ["make", "make test"]);
    assert_eq!((test.image.as_deref(), test.timeout.as_secs()), (Some("debian:12"), 5400));
    assert_eq!((test.env["LANG"].as_str(), test.env["A"].as_str()), ("C", "rust ${matrix.rust}"));
    assert_eq!(test.matrix.combinations().len(), 3);
    assert_eq!(test.limits.memory, Some(2 << 30));
    assert_eq!((test.retry.attempts, test.retry.pause), (3, Duration::from_secs(1)));
    assert_eq!(test.caches[0].paths, ["target", ".cargo"]);
    assert_eq!(test.when.tags.as_deref(), Some(&[][..]));
    assert!(test.network && test.per_target && test.when.prs.is_some());
}

#[test]
fn steps_keep_the_order_of_the_file() {
    let text = "[step.z]\nrun='x'\n[step.a]\nrun='x'\n[step.m]\nrun='x'\n";
    let pipeline = Pipeline::parse("f", text).unwrap();
    let names: Vec<&str> = pipeline.steps.iter().map(|step| &*step.name).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (lines, expected) in [
        ("need = 'b'", "3:1: unknown key `need` in the step `a`; did you mean `needs`?"),
        ("tiemout = '1m'", "3:1: unknown key `tiemout` in the step `a`; did you mean `timeout`?"),
        (
            "when = { branch = 'x' }",
            "3:10: unknown key `branch` in `when`; did you mean `branches`?",
        ),
        (
            "limits.mem = 'x'",
            "3:8: unknown key `mem` in `limits`; the keys are `cpu`, `disk`, `memory`, `processes`",
        ),
        (
            "retry = {times = 1, paus = 'x'}",
            "3:21: unknown key `paus` in `retry`; did you mean `pause`?",
        ),
        (
            "cache.c = {paths = 'x', path = 'y'}",
            "3:25: unknown key `path` in the cache `c`; did you mean `paths`?",
        ),
    ] {
        assert_eq!(step_errors(lines), [expected]);
    }
    assert_eq!(
        errors("steps = 1\n[step.a]\nrun='x'\n"),
        ["1:1: unknown key `steps` in the file; did you mean `step`?"]
    );
}

#[test]
fn wrong_values_are_refused_with_a_correction() {
    for (lines, expected) in [
        ("needs = 5", "3:9: `needs` is an integer; it must be a string or a list of strings"),
        ("secrets = ['A', 5]", "3:17: an item of `secrets` is an integer; it must be a string"),
        ("timeout = 10", "3:11: `timeout` is an integer; it must be a string"),
        ("timeout = '10'", "3:11: `timeout`: a duration has the form `90s`, `10m` or `1h30m`"),
        ("network = 'yes'", "3:11: `network` is a string; it must be `true` or `false`"),
        ("retry = 9", "3:9: `retry` is 9; it must be an integer between 0 and 5"),
        ("retry = -1", "3:9: `retry` is -1; it must be an integer between 0 and 5"),
        ("env = { A = 1 }", "3:13: `env.A` is an integer; it must be a string"),
        (
            "artifacts = '../x'",
            "3:13: `artifacts`: the path must not be empty and must not contain empty names, `.` or `..`",
        ),
        (
            "when.branches = 'a***'",
            "3:17: `when.branches`: `***` is not a wildcard; write `*` or `**`",
        ),
        (
            "image = '../x'",
            "3:9: `image` must be `host` or the name of an image, for example `debian:12`",
        ),
        (
            "env.X = '${HOME}'",
            "3:9: `env.X`: `${` starts a reference to a matrix axis, `${matrix.AXIS}`; other \
             variables are not expanded",
        ),
        (
            "pool = 'a b'",
            "3:8: `pool`: a name must consist of 1 to 50 letters (a-z, A-Z), digits, `-` or `_`, and start with a letter or a digit",
        ),
        (
            "env.T = 'x'\nsecrets = 'T'",
            "4:11: `T` is a secret and also in `env`; remove one of them",
        ),
        ("matrix = { v = [1.10] }", "3:17: `matrix.v` contains a float; write it as a string"),
        ("matrix = { v = [] }", "3:16: `matrix.v` has no values; add one, or remove the axis"),
        ("matrix = { v = [1, 1] }", "3:20: `matrix.v` contains `1` twice; remove one"),
        (
            "matrix = { v = [1], exclude = [{ v = 2 }] }",
            "3:38: the axis `v` has no value `2`; it has `1`",
        ),
        (
            "matrix = { v = [1], exclude = [{ v = 1 }] }",
            "3:31: `exclude` leaves no combination of the matrix; remove one",
        ),
        ("cache.c = {}", "3:7: the cache `c` has no paths; add `paths = [\"...\"]`"),
    ] {
        assert_eq!(step_errors(lines), [expected]);
    }
}

#[test]
fn unknown_needs_and_cycles_are_named() {
    let text = "[step.build]\nrun='x'\nneeds=['lnt','tests']\n[step.lint]\nrun='x'\nneeds='c'\n\
                [step.c]\nrun='x'\nneeds='lint'\n[step.self]\nrun='x'\nneeds='self'\n";
    assert_eq!(
        errors(text),
        [
            "3:8: there is no step `lnt`; did you mean `lint`?",
            "3:14: there is no step `tests`; the steps are `build`, `lint`, `c`, `self`",
            "4:7: `needs` forms a cycle: lint -> c -> lint; remove one of these needs",
            "10:7: `needs` forms a cycle: self -> self; remove one of these needs",
        ]
    );
}

#[test]
fn a_duplicate_step_does_not_hide_other_errors() {
    let text = "[step.a]\nrun='x'\n[step.a]\nrun='y'\n[step.b]\nrn='x'\n";
    let errors = errors(text);
    assert!(
        errors.contains(&"3:7: this key or step is defined twice; remove or rename one".to_owned()),
        "{errors:?}"
    );
    assert!(errors.iter().any(|error| error.starts_with("6:1: unknown key `rn`")), "{errors:?}");
}

#[test]
fn all_syntax_errors_are_reported() {
    let errors = errors("a = 'x' zz\n[step.a]\nrun = make\n");
    assert_eq!(
        errors,
        [
            "1:9: this is not valid TOML: unexpected key or value, expected newline, `#`",
            "3:7: this is not valid TOML: string values must be quoted, expected literal string",
        ]
    );
}

#[test]
fn limits_of_the_file_are_enforced() {
    let large = format!("# {}\n", "x".repeat(FILE_MAX));
    assert_eq!(
        errors(&large),
        [format!("1:65537: the file has {} bytes; at most 65536 are allowed", large.len())]
    );
    let steps: String = (0..101).map(|n| format!("[step.s{n}]\nrun='x'\n")).collect();
    assert_eq!(errors(&steps), ["201:7: the file has 101 steps; at most 100 are allowed"]);
    let matrix = "matrix = { a = [1,2,3,4,5], b = [1,2,3,4,5], c = [1,2,3] }";
    assert_eq!(step_errors(matrix), ["3:10: `matrix` has 75 combinations; at most 64 are allowed"]);
    let many: String = (0..9)
        .map(|n| format!("[step.s{n}]\nrun='x'\nmatrix={{a=[1,2,3,4,5,6],b=[1,2,3,4,5,6]}}\n"))
        .collect();
    assert_eq!(
        errors(&many),
        ["1:1: the steps have 324 combinations of matrix values; at most 256 are allowed"]
    );
    let wide = format!("needs = [{}]", "'a',".repeat(101));
    assert_eq!(step_errors(&wide), ["3:9: `needs` has 101 items; at most 100 are allowed"]);
}

#[test]
fn hostile_files_end_with_a_bounded_number_of_errors() {
    let deep = format!("a = {}", "[".repeat(30_000));
    let dotted = format!("{} = 1", vec!["a"; 30_000].join("."));
    let keys: String = (0..5000).map(|n| format!("k{n} = 1\n")).collect();
    let huge_axes = format!(
        "[step.a]\nrun='x'\n[step.a.matrix]\n{}",
        (0..3000).map(|n| format!("a{n}=[1,2,3]\n")).collect::<String>()
    );
    for text in [&*deep, &dotted, &keys, &huge_axes, "", "\0", "\u{feff}", "[step]\n", "step = 1"] {
        let errors = Pipeline::parse("f", text).unwrap_err();
        assert!(errors.errors.len() <= 50, "{errors}");
        assert!(errors.to_string().len() < 20_000);
    }
}

#[test]
fn names_with_odd_characters_are_refused_without_being_printed_raw() {
    let errors = errors("[step.\"a\\u001b[31m\"]\nrun='x'\n[step.state]\nrun='x'\n");
    assert!(errors[0].starts_with("1:7: the step name `a\\u{1b}[31m`: a name must"), "{errors:?}");
    assert!(errors[1].starts_with("3:7: the step name `state`: this name is reserved"));
}

/// Corrupts the file at every position. The reader must return either a pipeline or errors with
/// positions in the file.
#[test]
fn damaged_files_are_read_or_refused() {
    let mut refused = 0;
    for at in 0..WHOLE.len() {
        for damage in ["", "\"", "]", "=", "\n", "\0", "9", "{", "\u{1f980}"] {
            // Trying all of them at each position would take seconds.
            if (at + damage.len()) % 3 != 0 && !damage.is_empty() {
                continue;
            }
            let (Some(start), Some(end)) = (WHOLE.get(..at), WHOLE.get(at + 1..)) else { continue };
            let text = format!("{start}{damage}{end}");
            let Err(errors) = Pipeline::parse("f", &text) else { continue };
            refused += 1;
            let lines = text.matches('\n').count() + 1;
            for error in errors.errors {
                let line = text.lines().nth(error.position.line - 1).unwrap_or_default();
                assert!(error.position.line <= lines, "{error:?}");
                assert!(error.position.column <= line.chars().count() + 1, "{error:?}");
                assert!(!error.message.is_empty() && error.message.len() < 1000);
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
