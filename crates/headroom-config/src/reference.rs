//! The reference page of the policy format, written from the schema.
//!
//! The doc comments of the config types are the manual: they become the schema's descriptions, and those become
//! this page. Nothing is described twice, and a setting without a description shows as an empty cell in review.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The reference page as Markdown, as committed at `docs/reference/policy.md`.
#[must_use]
pub fn policy_reference() -> String {
    let schema = crate::schema::schema();
    let mut page = Page {
        defs: schema.get("$defs").and_then(Value::as_object),
        out: INTRODUCTION.to_owned(),
        seen: BTreeSet::new(),
        values: BTreeSet::new(),
    };
    page.section("Policy file", &schema, "");
    page.values();
    page.out
}

const INTRODUCTION: &str = "# Policy reference

Every setting of a policy file: its type, its default, and what it does. This page is generated from the types that
read the file (`cargo xtask generate`); the same types give the JSON schema at `schemas/fleet.v1alpha1.json`, which
editors use to complete and check a policy while you write.

A policy is YAML 1.2, one fleet to a file, and strict: an unknown setting is an error. Where a type offers several
words, exactly one is written, and a word with settings is the key above them: `balancer: requestsPerSecond`, but
`balancer: { latency: p95 }`. `headroom check -f fleet.yaml` reports everything that is wrong with a file at once.
";

struct Page<'a> {
    defs: Option<&'a Map<String, Value>>,
    out: String,
    /// Types that have a section, or are about to.
    seen: BTreeSet<&'a str>,
    /// Types that are a single value.
    values: BTreeSet<&'a str>,
}

/// A type to be described later, and where it is used first.
type Later<'a> = (&'a str, String);

impl<'a> Page<'a> {
    /// A section for an object or an enum, then those for the types it uses.
    fn section(&mut self, title: &str, schema: &'a Value, path: &str) {
        let _ = write!(self.out, "\n## {title}\n\n");
        if !path.is_empty() {
            let _ = write!(self.out, "At `{path}`. ");
        }
        let _ = writeln!(self.out, "{}", about(schema));
        let mut later: Vec<Later<'a>> = Vec::new();
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            self.settings(schema, properties, path, &mut later);
        }
        if let Some(branches) = schema.get("oneOf").and_then(Value::as_array) {
            self.out.push_str("\n| Write | With | Meaning |\n| --- | --- | --- |\n");
            for branch in branches {
                self.choice(branch, path, &mut later);
            }
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            self.out.push_str("\n| Write |\n| --- |\n");
            for word in words.iter().filter_map(Value::as_str) {
                let _ = writeln!(self.out, "| `{word}` |");
            }
        }
        for (name, path) in later {
            if let Some(schema) = self.defs.and_then(|defs| defs.get(name)) {
                self.section(name, schema, &path);
            }
        }
    }

    fn settings(
        &mut self,
        schema: &'a Value,
        properties: &'a Map<String, Value>,
        path: &str,
        later: &mut Vec<Later<'a>>,
    ) {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        self.out.push_str("\n| Setting | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
        for (name, setting) in properties {
            let kind = self.kind(setting, &join(path, name), later);
            let default = match setting.get("default") {
                _ if required.contains(&name.as_str()) => "**required**".to_owned(),
                None | Some(Value::Null) => "—".to_owned(),
                Some(default) => format!("`{}`", plain(default)),
            };
            let _ = writeln!(self.out, "| `{name}` | {kind} | {default} | {} |", cell(&about(setting)));
        }
    }

    fn choice(&mut self, branch: &'a Value, path: &str, later: &mut Vec<Later<'a>>) {
        let meaning = cell(&about(branch));
        if let Some(word) = branch.get("const").and_then(Value::as_str) {
            let _ = writeln!(self.out, "| `{word}` | | {meaning} |");
        }
        for word in
            branch.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            let _ = writeln!(self.out, "| `{word}` | | {meaning} |");
        }
        for (word, settings) in branch.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let kind = self.kind(settings, &join(path, word), later);
            let _ = writeln!(self.out, "| `{word}:` | {kind} | {meaning} |");
        }
    }

    /// A type in a few words, with a link where it has a section. Types seen for the first time are put on `later`.
    fn kind(&mut self, schema: &'a Value, path: &str, later: &mut Vec<Later<'a>>) -> String {
        if let Some(name) =
            schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"))
        {
            let target = self.defs.and_then(|defs| defs.get_key_value(name));
            if let Some((name, target)) = target {
                if is_value(target) {
                    self.values.insert(name);
                } else if self.seen.insert(name) {
                    later.push((name, path.to_owned()));
                }
            }
            return format!("[{name}](#{})", name.to_lowercase());
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
        {
            let kinds: Vec<String> = branches
                .iter()
                .filter(|b| b.get("type").and_then(Value::as_str) != Some("null"))
                .map(|branch| self.kind(branch, path, later))
                .collect();
            return kinds.join(" or ");
        }
        if let Some(items) = schema.get("items") {
            return format!("list of {}", self.kind(items, &format!("{path}[]"), later));
        }
        let by_name = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .and_then(|patterns| patterns.values().next())
            .or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
        if let Some(values) = by_name {
            return format!("{} by name", self.kind(values, &join(path, "NAME"), later));
        }
        let words = match schema.get("type") {
            Some(Value::Array(all)) => {
                all.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect()
            }
            Some(Value::String(one)) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let named = |word: &str| match word {
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            other => other.to_owned(),
        };
        words.into_iter().map(named).collect::<Vec<_>>().join(" or ")
    }

    /// The types that are a single value, in one table at the end.
    fn values(&mut self) {
        self.out.push_str("\n## Values\n");
        for name in std::mem::take(&mut self.values) {
            let Some(schema) = self.defs.and_then(|defs| defs.get(name)) else { continue };
            let _ = write!(self.out, "\n### {name}\n\n");
            let described = about(schema);
            if !described.is_empty() {
                let _ = writeln!(self.out, "{described}");
            }
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
                let longest = schema.get("maxLength").and_then(Value::as_u64).unwrap_or_default();
                let _ = writeln!(self.out, "Text that matches `{pattern}`, at most {longest} characters.");
            }
        }
    }
}

/// Whether a type is written as one plain value, so that a line describes it.
fn is_value(schema: &Value) -> bool {
    schema.get("properties").is_none() && schema.get("oneOf").is_none() && schema.get("enum").is_none()
}

/// The description, with rustdoc's links to types, which this page doesn't have, as plain words.
fn about(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.replace("[`", "`").replace("`]", "`")
}

/// Text for a cell of a table: one line, and no bar.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// A default as it would be written in YAML.
fn plain(default: &Value) -> String {
    match default {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let written: Vec<String> = fields
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| format!("{k}: {}", plain(v)))
                .collect();
            if written.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", written.join(", ")) }
        }
        other => other.to_string(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
