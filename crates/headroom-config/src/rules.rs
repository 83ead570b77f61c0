//! The JSON schema as rules: references followed, what it says of a path, and values that fit it.

use serde_json::{Map, Value};

use crate::say::{brief, first_line, lower_first};
use crate::tree::{Entry, Kind, Node};

/// The schema of a whole document.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    root: &'a Value,
}

/// A schema with its references followed.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    pub(crate) schema: &'a Value,
    /// The words of the type itself, not of the field that uses it.
    pub(crate) about: Option<&'a str>,
}

impl<'a> Rule<'a> {
    pub(crate) fn get(self, keyword: &str) -> Option<&'a Value> {
        self.schema.get(keyword)
    }

    pub(crate) fn object(self, keyword: &str) -> Option<&'a Map<String, Value>> {
        self.get(keyword).and_then(Value::as_object)
    }

    pub(crate) fn texts(self, keyword: &str) -> Vec<&'a str> {
        match self.get(keyword) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }
}

/// What takes the place of a value that is missing or wrong, so that what is around it can be checked.
#[derive(Default)]
pub(crate) struct Replacement {
    /// Stands in now. `None` where leaving the value out does as well.
    pub(crate) node: Option<Node>,
    /// Stands in for the second look: what is wrong with either is wrong whatever the value would have been.
    pub(crate) alternative: Option<Node>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(root: &'a Value) -> Self {
        Self { root }
    }

    pub(crate) fn root(self) -> &'a Value {
        self.root
    }

    fn defs(self) -> Option<&'a Map<String, Value>> {
        self.root.get("$defs").and_then(Value::as_object)
    }

    /// Follows references.
    pub(crate) fn resolve(self, schema: &'a Value) -> Rule<'a> {
        /// References to references; the generator writes at most one.
        const MAX_HOPS: usize = 8;
        let mut rule = Rule { schema, about: schema.get("description").and_then(Value::as_str) };
        for _ in 0..MAX_HOPS {
            let Some(name) = rule.get("$ref").and_then(Value::as_str) else { break };
            let name = name.strip_prefix("#/$defs/").unwrap_or(name);
            let Some(target) = self.defs().and_then(|defs| defs.get(name)) else { break };
            rule = Rule { schema: target, about: target.get("description").and_then(Value::as_str) };
        }
        rule
    }

    /// The schema of what stands under `part` in something of `schema`.
    fn step(self, schema: &'a Value, part: &str) -> Option<&'a Value> {
        let rule = self.resolve(schema);
        let below = rule.object("properties").and_then(|properties| properties.get(part));
        let named = || rule.object("patternProperties").and_then(|patterns| patterns.values().next());
        let rest = || rule.get("additionalProperties").filter(|rest| rest.is_object());
        let branches = || {
            let all = rule.get("oneOf").or_else(|| rule.get("anyOf"))?.as_array()?;
            all.iter().find_map(|branch| self.step(branch, part))
        };
        below.or_else(named).or_else(rest).or_else(|| rule.get("items")).or_else(branches)
    }

    /// The schema of what stands at `path`.
    fn at(self, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(self.root, |here, part| self.step(here, part))
    }

    /// What the schema says of the setting at `path`.
    pub(crate) fn about(self, path: &[String]) -> Option<String> {
        let schema = self.at(path)?;
        let about = schema.get("description")?.as_str()?;
        let such_as = example(schema).map(|example| format!(", such as {example}")).unwrap_or_default();
        Some(format!("`{}`: {}{such_as}", brief(path.last()?), lower_first(first_line(about))))
    }

    /// What may take the place of the value at `path`.
    pub(crate) fn replacement_at(self, path: &[String]) -> Replacement {
        let Some(((name, above), schema)) = path.split_last().zip(self.at(path)) else {
            return Replacement::default();
        };
        let parent = self.at(above).map(|parent| self.resolve(parent));
        let is_required = parent.is_some_and(|parent| parent.texts("required").contains(&name.as_str()));
        self.replacement(schema, is_required)
    }

    /// What may take the place of a value of `schema`.
    pub(crate) fn replacement(self, schema: &'a Value, is_required: bool) -> Replacement {
        Replacement {
            node: if is_required { self.stand_in(schema, Variant::First) } else { None },
            alternative: self.stand_in(schema, Variant::Second),
        }
    }

    /// Something valid for `schema`; `None` if that can't be told. Whether it makes sense doesn't matter: what
    /// depends on it is not reported.
    fn stand_in(self, schema: &'a Value, variant: Variant) -> Option<Node> {
        let rule = self.resolve(schema);
        if let Some(text) = example(schema).or_else(|| example(rule.schema)) {
            return Some(Node::text(text));
        }
        if let Some(branches) = rule.get("oneOf").or_else(|| rule.get("anyOf")).and_then(Value::as_array) {
            return branches.iter().find_map(|branch| self.stand_in(branch, variant));
        }
        if let Some(word) = rule.texts("const").into_iter().chain(rule.texts("enum")).next() {
            return Some(Node::text(word));
        }
        let pick = |first, second| Some(Node::text(if variant == Variant::First { first } else { second }));
        match rule.texts("type").first().copied()? {
            "object" => {
                let entries = rule.texts("required").into_iter().map(|name| {
                    let node = self.stand_in(rule.object("properties")?.get(name)?, variant)?;
                    Some(Entry::new(name, 0..0, node))
                });
                let entries = entries.collect::<Option<Vec<_>>>()?;
                Some(Node { span: 0..0, kind: Kind::Map { flow: true, named: false, entries } })
            }
            "array" => Some(Node { span: 0..0, kind: Kind::Seq(Vec::new()) }),
            "string" => match rule.get("format").and_then(Value::as_str) {
                Some("span") => pick("1s", "1h"),
                Some("quantity") => pick("1", "50%"),
                Some("date-time") => pick("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"),
                Some(_) => None,
                None => pick("x", "y"),
            },
            "integer" | "number" => {
                let least = rule.get("minimum").and_then(Value::as_u64).unwrap_or(0).max(1);
                let number = if variant == Variant::First { least } else { least.saturating_add(100) };
                let kind = Kind::Scalar { text: number.to_string(), plain: true };
                Some(Node { span: 0..0, kind })
            }
            _ => None,
        }
    }
}

/// How a value may look.
pub(crate) fn example(schema: &Value) -> Option<&str> {
    schema.get("examples")?.as_array()?.first()?.as_str()
}

/// Which of two stand-ins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    First,
    Second,
}
