//! Reads the matrix of a step.

use std::collections::BTreeMap;

use super::super::model::Matrix;
use super::reader::{Reader, Value, list, shown};

/// The maximum number of variants of a step.
pub(super) const VARIANTS_MAX: usize = 64;
/// The maximum length of an axis value, in bytes.
const AXIS_VALUE_MAX: usize = 50;

/// Reads the matrix of a step.
pub(super) fn read(reader: &mut Reader<'_>, value: &Value<'_>) -> Matrix {
    let right = "a table of lists, for example `{ rust = [\"1.88\", \"stable\"] }`";
    let mut matrix = Matrix::default();
    let Some(table) = reader.table(value, "`matrix`".to_owned(), right) else { return matrix };
    for (key, value) in table.in_order() {
        if key.get_ref() == "exclude" {
            continue;
        }
        let axis = match axis_name(key.get_ref()) {
            Ok(axis) => axis,
            Err(reason) => {
                reader.error(key.span(), format!("the axis `{}`: {reason}", shown(key.get_ref())));
                continue;
            }
        };
        let values = axis_values(reader, value, &axis);
        matrix.axes.push((axis, values));
    }
    if matrix.axes.is_empty() {
        reader.error(value.span(), format!("`matrix` has no axes; it must be {right}"));
    }
    let product = matrix.product();
    if product > VARIANTS_MAX {
        let message =
            format!("`matrix` has {product} combinations; at most {VARIANTS_MAX} are allowed");
        reader.error(value.span(), message);
        return Matrix::default();
    }
    if let Some(value) = table.value("exclude") {
        matrix.exclude = exclusions(reader, value, &matrix);
        if product > 0 && matrix.combinations().is_empty() {
            reader.error(value.span(), "`exclude` leaves no combination of the matrix; remove one");
        }
    }
    matrix
}

fn axis_name(text: &str) -> Result<String, String> {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if text.len() > 30 || !starts || !text.bytes().all(lower) {
        return Err(
            "an axis name must consist of 1 to 30 lowercase letters (a-z), digits or `_`, and \
             start with a letter"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn axis_values(reader: &mut Reader<'_>, value: &Value<'_>, axis: &str) -> Vec<String> {
    let what = format!("`matrix.{axis}`");
    let Some(items) = value.get_ref().as_array() else {
        reader.wrong_type(value, &what, "a list of strings");
        return Vec::new();
    };
    if items.is_empty() {
        reader.error(value.span(), format!("{what} has no values; add one, or remove the axis"));
    }
    let mut values: Vec<String> = Vec::new();
    for item in items.iter() {
        let Some(text) = axis_value(reader, item, &what) else { continue };
        if values.contains(&text) {
            reader.error(item.span(), format!("{what} contains `{text}` twice; remove one"));
        } else {
            values.push(text);
        }
    }
    values
}

fn axis_value(reader: &mut Reader<'_>, value: &Value<'_>, what: &str) -> Option<String> {
    if let Some(number) = value.get_ref().as_integer().filter(|number| number.radix() == 10) {
        return Some(number.as_str().to_owned());
    }
    if value.get_ref().is_float() {
        // Reject floats, because 1.10 and 1.1 are the same number.
        reader.error(value.span(), format!("{what} contains a float; write it as a string"));
        return None;
    }
    reader.parsed(value, &format!("an item of {what}"), |text| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+:".contains(&byte);
        if text.is_empty() || text.len() > AXIS_VALUE_MAX || !text.bytes().all(allowed) {
            return Err(format!(
                "a value must consist of 1 to {AXIS_VALUE_MAX} letters (a-z, A-Z), digits or the \
                 characters `-_.+:`"
            ));
        }
        Ok(text.to_owned())
    })
}

fn exclusions(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    matrix: &Matrix,
) -> Vec<BTreeMap<String, String>> {
    let right = "a list of tables, for example `[{ rust = \"1.88\", os = \"mac\" }]`";
    let Some(items) = value.get_ref().as_array() else {
        reader.wrong_type(value, "`exclude`", right);
        return Vec::new();
    };
    let axes: Vec<&str> = matrix.axes.iter().map(|(axis, _)| axis.as_str()).collect();
    let mut all = Vec::new();
    for item in items.iter().take(VARIANTS_MAX) {
        let Some(table) = reader.table(item, "an item of `exclude`".to_owned(), right) else {
            continue;
        };
        reader.unknown_keys(&table, &axes);
        let mut entry = BTreeMap::new();
        for (axis, values) in &matrix.axes {
            let Some(value) = table.value(axis) else { continue };
            let Some(text) = axis_value(reader, value, &format!("`exclude.{axis}`")) else {
                continue;
            };
            if !values.contains(&text) {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let message =
                    format!("the axis `{axis}` has no value `{text}`; it has {}", list(&values));
                reader.error(value.span(), message);
            }
            entry.insert(axis.clone(), text);
        }
        if entry.is_empty() && table.entries.is_empty() {
            reader
                .error(item.span(), "an empty item of `exclude` leaves out everything; remove it");
        }
        all.push(entry);
    }
    all
}
