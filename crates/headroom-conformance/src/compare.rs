//! Comparing an answer with what is expected, by the rules of the tables' README.

use serde_json::Value;

use crate::report::Failure;

/// Numbers without a tolerance of their own must be this close, unless both are whole.
const CLOSE: f64 = 1e-9;
/// Lists that are sets.
const SETS: &[&str] = &["unready", "missing", "ignored", "nodes_any_order", "deleted", "best"];

/// The first expected field the answer does not meet.
pub(crate) fn difference(expect: &Value, actual: &Value) -> Option<Failure> {
    let tolerance = Tolerance::of(expect);
    let fields = expect.as_object()?;
    fields.iter().find_map(|(field, expected)| {
        let failure = |actual: &Value| {
            Some(Failure { field: field.clone(), expected: expected.clone(), actual: actual.clone() })
        };
        match field.as_str() {
            "tolerance_rel" | "tolerance_abs" | "abs_tolerance" => None,
            // The peer's wording; null leaves it open.
            "error_contains" => {
                let said = actual.get("error_contains").and_then(Value::as_str);
                let wanted = expected.as_str()?;
                if said.is_some_and(|s| s.contains(wanted)) { None } else { failure(get(actual, field)) }
            }
            _ => {
                if let Some(other) = field.strip_prefix("not_").or_else(|| field.strip_suffix("_not")) {
                    let actual = get(actual, other);
                    return if actual == expected { failure(actual) } else { None };
                }
                deep(field, expected, get(actual, field), tolerance)
            }
        }
    })
}

fn get<'a>(value: &'a Value, field: &str) -> &'a Value {
    value.get(field).unwrap_or(&Value::Null)
}

#[derive(Clone, Copy)]
struct Tolerance {
    relative: f64,
    absolute: f64,
}

impl Tolerance {
    fn of(expect: &Value) -> Self {
        let number = |field: &str| expect.get(field).and_then(Value::as_f64);
        Self {
            relative: number("tolerance_rel").unwrap_or(0.0),
            absolute: number("tolerance_abs").or_else(|| number("abs_tolerance")).unwrap_or(CLOSE),
        }
    }
}

fn deep(path: &str, expected: &Value, actual: &Value, tolerance: Tolerance) -> Option<Failure> {
    let differs =
        || Some(Failure { field: path.to_owned(), expected: expected.clone(), actual: actual.clone() });
    match (expected, actual) {
        (Value::Number(e), Value::Number(a)) => {
            if let (Some(e), Some(a)) = (e.as_i64(), a.as_i64()) {
                return if e == a { None } else { differs() };
            }
            let (e, a) = (e.as_f64()?, a.as_f64()?);
            let near = (e - a).abs() <= tolerance.absolute.max(tolerance.relative * e.abs());
            if near { None } else { differs() }
        }
        (Value::Object(e), Value::Object(_)) => {
            e.iter().find_map(|(key, e)| deep(&format!("{path}.{key}"), e, get(actual, key), tolerance))
        }
        (Value::Array(e), Value::Array(a)) => {
            if e.len() != a.len() {
                return differs();
            }
            let is_set = path.rsplit('.').next().is_some_and(|name| SETS.contains(&name));
            if is_set {
                return if e.iter().all(|item| a.contains(item)) { None } else { differs() };
            }
            e.iter().zip(a).enumerate().find_map(|(i, (e, a))| deep(&format!("{path}[{i}]"), e, a, tolerance))
        }
        _ => {
            if expected == actual {
                None
            } else {
                differs()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_expected_fields_are_compared_and_absent_is_not_zero() {
        for (expect, actual, fine) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
            (json!({"a": 1}), json!({"b": 1}), false),
            (json!({"a": null}), json!({}), true),
            (json!({"a": null}), json!({"a": 0}), false),
            (json!({"a": 0.3}), json!({"a": 0.1 + 0.2}), true),
            (json!({"a": 5}), json!({"a": 5.0}), true),
            (json!({"a": 0.2, "abs_tolerance": 0.01}), json!({"a": 0.205}), true),
            (json!({"missing": ["a", "b"]}), json!({"missing": ["b", "a"]}), true),
            (json!({"order": ["a", "b"]}), json!({"order": ["b", "a"]}), false),
            (json!({"not_state": "OK"}), json!({"state": "OK"}), false),
            (json!({"error_contains": "bad"}), json!({"error_contains": "a bad value"}), true),
            (json!({"error_contains": "bad"}), json!({"replicas": 1}), false),
            (json!({"error_contains": null}), json!({}), true),
        ] {
            assert_eq!(difference(&expect, &actual).is_none(), fine, "{expect} {actual}");
        }
    }
}
