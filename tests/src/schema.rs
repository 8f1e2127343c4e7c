//! Checks the `params/schema` file against its JSON Schema.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Checks a JSON document against the JSON Schema in the file named by `sys.argv[1]`.
const CHECK: &str = "
import json, sys
from jsonschema import Draft202012Validator as Validator
schema = json.load(open(sys.argv[1]))
Validator.check_schema(schema)
Validator(schema).validate(json.load(sys.stdin))
";

/// Checks the text of a schema and returns the number of parameters.
///
/// # Panics
/// Panics if the text does not conform to the JSON Schema, or if the `jsonschema` Python package is
/// not installed.
pub fn check(text: &str) -> usize {
    if let Err(reason) = validate(text) {
        panic!("{reason}\n{text}");
    }
    let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
    document["params"].as_array().expect("an array").len()
}

/// Checks the text of a schema.
///
/// # Errors
/// Returns the Python program's report.
///
/// # Panics
/// Panics if `python3` or the `jsonschema` package is not installed.
pub fn validate(text: &str) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let installed = root.join("target/jsonschema/bin/python");
    let python = if installed.exists() { installed } else { "python3".into() };
    let mut child = Command::new(python)
        .args(["-c", CHECK])
        .arg(root.join("core/docs/params.schema.json"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is needed (Debian: `apt install python3`)");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("python3 reads");
    let output = child.wait_with_output().expect("python3 ends");
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !report.contains("No module named"),
        "the package jsonschema is needed (`pip install jsonschema`): {report}"
    );
    if output.status.success() { Ok(()) } else { Err(report) }
}
