//! The document against the schema: every unknown setting, wrong kind of value, missing setting and unknown choice.
//!
//! The schema is the one that is generated from the config types, so a new strategy is checked here without a line
//! written for it. The walk judges the document's shape. What a text must look like to be a length of time or an
//! address is for the types to say, except for names and the formats of [`FORMATS`]: found here, they all come in
//! one pass.
//!
//! The walk also mends: a slip of the pen is read as what was meant, a value of no use is marked as lost, so
//! that the checks that follow see all the rest of the document.

use std::collections::BTreeSet;
use std::ops::Range;

use headroom_core::calendar::{Cron, TimeOfDay, Zone};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::units::{Quantity, Span, Timestamp};
use serde_json::{Map, Value};

use crate::diagnostic::{Finding, MAX_DIAGNOSTICS};
use crate::rules::{Rule, Rules, example};
use crate::say::{brief, choices, first_line, list, lower_first, nearest};
use crate::tree::{Entry, Kind, Node, Scalar, Standing};

/// A rule for text, and what is wrong with one that breaks it.
type TextRule = fn(&str) -> Result<(), String>;

/// The formats of strings that the walk knows.
const FORMATS: [(&str, TextRule); 6] = [
    ("span", |text| text.parse::<Span>().map(drop).map_err(|e| e.to_string())),
    ("quantity", |text| text.parse::<Quantity>().map(drop).map_err(|e| e.to_string())),
    ("date-time", |text| text.parse::<Timestamp>().map(drop).map_err(|e| e.to_string())),
    ("cron", |text| text.parse::<Cron>().map(drop).map_err(|e| e.to_string())),
    ("time-zone", |text| text.parse::<Zone>().map(drop).map_err(|e| e.to_string())),
    ("time-of-day", |text| text.parse::<TimeOfDay>().map(drop).map_err(|e| e.to_string())),
];

/// The patterns of names that the walk knows.
const PATTERNS: [(&str, TextRule, &str); 2] = [
    (
        "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        |text| text.parse::<WorkloadName>().map(drop).map_err(|_| not_a_name(text)),
        "use 1 to 63 lower-case letters, digits or hyphens, starting with a letter and not ending with a hyphen",
    ),
    (
        "^[A-Za-z]([-_A-Za-z0-9]*[_A-Za-z0-9])?$",
        |text| text.parse::<SignalName>().map(drop).map_err(|_| not_a_name(text)),
        "use 1 to 63 letters, digits, hyphens or underscores, starting with a letter and not ending with a hyphen",
    ),
];

fn not_a_name(text: &str) -> String {
    format!("`{}` can't be a name here", brief(text))
}

/// Plain words that YAML 1.1 takes for booleans and 1.2 for text.
const YAML_11_BOOLEANS: [&str; 12] =
    ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"];

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fate {
    /// It can be read on.
    Kept,
    /// It can't; whoever needs it is lost too.
    Lost,
}

/// Compares `root` with the schema, adds what is wrong to `findings` and mends `root`.
pub(crate) fn walk(root: &mut Node, rules: Rules<'_>, findings: &mut Vec<Finding>) -> Fate {
    let mut walker = Walker { rules, findings, path: Vec::new() };
    walker.value(root, rules.root(), &(0..0))
}

struct Walker<'a> {
    rules: Rules<'a>,
    findings: &'a mut Vec<Finding>,
    path: Vec<String>,
}

/// One of the things a value may be: a word, or a word with settings.
struct Choice<'a> {
    name: &'a str,
    settings: Option<&'a Value>,
}

impl<'a> Walker<'a> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding.path(&self.path));
    }

    /// Enough is wrong already: more is counted, but no time goes into good advice.
    fn is_full(&self) -> bool {
        self.findings.len() >= MAX_DIAGNOSTICS
    }

    fn nearest<'n>(&self, written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        if self.is_full() { None } else { nearest(written, known) }
    }

    /// Judges one value. `owner` is its key, to point at where the value itself can't be.
    fn value(&mut self, node: &mut Node, schema: &'a Value, owner: &Range<usize>) -> Fate {
        let rule = self.rules.resolve(schema);
        if let Some(branches) = rule.get("anyOf").or_else(|| rule.get("oneOf")).and_then(Value::as_array) {
            return self.one_of(node, branches, owner);
        }
        let words: Vec<&str> = rule.texts("enum").into_iter().chain(rule.texts("const")).collect();
        if !words.is_empty() {
            let choices = words.into_iter().map(|name| Choice { name, settings: None }).collect::<Vec<_>>();
            return self.choice(node, &choices, owner);
        }
        let types = rule.texts("type");
        if types.is_empty() {
            return Fate::Kept;
        }
        let accepts = |name: &str| types.contains(&name);
        match &node.kind {
            Kind::Map { .. } if accepts("object") => self.mapping(node, rule, owner),
            Kind::Seq(_) if accepts("array") => self.items(node, rule),
            Kind::Scalar { .. } => self.scalar(node, rule, &types, owner),
            Kind::Map { .. } | Kind::Seq(_) => self.wrong_type(node, rule, &types, owner),
        }
    }

    fn scalar(&mut self, node: &Node, rule: Rule<'a>, types: &[&str], owner: &Range<usize>) -> Fate {
        let Some(scalar) = node.scalar() else { return Fate::Lost };
        let accepts = |name: &str| types.contains(&name);
        match scalar {
            Scalar::Null if accepts("null") => Fate::Kept,
            Scalar::Bool(_) if accepts("boolean") => Fate::Kept,
            Scalar::Integer(ref n) if accepts("integer") || accepts("number") => {
                let value = n.as_f64().unwrap_or(f64::NAN);
                self.number(node, rule, value, owner)
            }
            Scalar::Float(value) if accepts("number") => self.number(node, rule, value, owner),
            Scalar::Text(text) if accepts("string") => self.text(node, rule, text, owner),
            _ => self.wrong_type(node, rule, types, owner),
        }
    }

    fn number(&mut self, node: &Node, rule: Rule<'a>, value: f64, owner: &Range<usize>) -> Fate {
        let format = rule.get("format").and_then(Value::as_str).unwrap_or_default();
        if let Some((_, check)) = FORMATS.iter().find(|(name, _)| *name == format) {
            // A plain number of a format with units: what its text would say.
            return match check(&value.to_string()) {
                Ok(()) => Fate::Kept,
                Err(what) => {
                    self.report(Finding::new(what).at(node.spot(owner)));
                    Fate::Lost
                }
            };
        }
        let limit = |keyword: &str| rule.get(keyword).and_then(Value::as_f64);
        let (mut low, mut high) = (limit("minimum"), limit("maximum"));
        match format {
            "uint8" => high = high.or(Some(f64::from(u8::MAX))),
            "uint16" => high = high.or(Some(f64::from(u16::MAX))),
            "uint32" => high = high.or(Some(f64::from(u32::MAX))),
            "int32" => (low, high) = (low.or(Some(f64::from(i32::MIN))), high.or(Some(f64::from(i32::MAX)))),
            _ => {}
        }
        let written = match node.scalar() {
            Some(Scalar::Integer(n)) => n.to_string(),
            _ => value.to_string(),
        };
        let wrong = if !value.is_finite() {
            Some(format!("{written} is not a finite number"))
        } else if low.is_some_and(|low| value < low) {
            low.map(|low| format!("{written} is too small; the least is {low}"))
        } else if high.is_some_and(|high| value > high) {
            high.map(|high| format!("{written} is too large; the most is {high}"))
        } else {
            None
        };
        let Some(wrong) = wrong else { return Fate::Kept };
        self.report(Finding::new(wrong).at(node.spot(owner)));
        Fate::Lost
    }

    fn text(&mut self, node: &Node, rule: Rule<'a>, text: &str, owner: &Range<usize>) -> Fate {
        let spot = node.spot(owner);
        if let Some(pattern) = rule.get("pattern").and_then(Value::as_str)
            && let Some((Err(what), help)) = check_name(pattern, text)
        {
            self.report(Finding::new(what).at(spot).help(help));
            return Fate::Lost;
        }
        if let Some(format) = rule.get("format").and_then(Value::as_str)
            && let Some((_, check)) = FORMATS.iter().find(|(name, _)| *name == format)
        {
            if let Err(what) = check(text) {
                // The message quotes the text, which may be a megabyte.
                self.report(Finding::new(check(&brief(text)).err().unwrap_or(what)).at(spot));
                return Fate::Lost;
            }
            return Fate::Kept;
        }
        let plain = matches!(node.kind, Kind::Scalar { plain: true, .. });
        if plain && YAML_11_BOOLEANS.contains(&text) {
            let message = format!("`{text}` is text here, but a yes or no to programs that read YAML 1.1");
            let finding = Finding::warning(message).at(spot);
            self.report(finding.help(format!("put it in quotes, \"{text}\", and everybody reads text")));
        }
        Fate::Kept
    }

    fn wrong_type(&mut self, node: &Node, rule: Rule<'a>, types: &[&str], owner: &Range<usize>) -> Fate {
        let types: Vec<&str> = types.iter().copied().filter(|t| *t != "null").collect();
        let is_scalar_type = !types.contains(&"object") && !types.contains(&"array");
        // "A length of time with its unit: 250ms, 5s" says what is needed and how it looks.
        let own_words = rule.about.filter(|_| is_scalar_type).and_then(|about| about.split_once(": "));
        let wanted = match own_words {
            Some((wanted, _)) => lower_first(wanted),
            None => types.iter().map(|t| type_name(t)).collect::<Vec<_>>().join(" or "),
        };
        let found = describe(node);
        let mut finding = Finding::new(format!("{wanted} is needed here, not {found}")).at(node.spot(owner));
        let is_plain_text = types == ["string"] && own_words.is_none();
        match (node.scalar(), &node.kind) {
            (Some(Scalar::Null), _) if is_plain_text => {
                finding = finding.help("write \"\" for an empty text");
            }
            (Some(Scalar::Null), _) if types.contains(&"object") => {
                finding =
                    finding.help("write its settings below it, further to the right, or leave the line out");
            }
            (Some(_), _) if is_plain_text && example(rule.schema).is_some() => {
                finding = finding.help(format!("such as {}", example(rule.schema).unwrap_or_default()));
            }
            (Some(Scalar::Integer(_) | Scalar::Float(_) | Scalar::Bool(_)), Kind::Scalar { text, .. })
                if is_plain_text =>
            {
                finding = finding.suggest(format!("write \"{}\"", brief(text))).help("quotes make it text");
            }
            (Some(Scalar::Text(_)), _) if types.contains(&"array") => {
                finding = finding.help("write [a, b], or each item on a line of its own after `- `");
            }
            (None, Kind::Map { .. }) if types.contains(&"array") => {
                finding = finding.help("put `- ` before the first line of each item");
            }
            _ => {}
        }
        if let (None, Some((_, examples))) = (&finding.help, own_words) {
            finding = finding.help(examples.trim_end_matches('.'));
        }
        self.report(finding);
        Fate::Lost
    }

    fn items(&mut self, node: &mut Node, rule: Rule<'a>) -> Fate {
        let Kind::Seq(items) = &mut node.kind else { return Fate::Lost };
        let Some(schema) = rule.get("items") else { return Fate::Kept };
        for (index, item) in items.iter_mut().enumerate() {
            self.path.push(index.to_string());
            if self.value(&mut item.node, schema, &(0..0)) == Fate::Lost {
                item.standing = Standing::Lost;
            }
            self.path.pop();
        }
        Fate::Kept
    }

    fn mapping(&mut self, node: &mut Node, rule: Rule<'a>, owner: &Range<usize>) -> Fate {
        let spot = node.spot(owner);
        let Kind::Map { entries, named, .. } = &mut node.kind else { return Fate::Lost };
        let patterns = rule.object("patternProperties");
        if patterns.is_some() || rule.get("additionalProperties").is_some_and(Value::is_object) {
            *named = true;
            let mut taken: BTreeSet<String> = entries.iter().map(|e| e.name.clone()).collect();
            for entry in entries.iter_mut() {
                self.named_entry(entry, rule, patterns, &taken);
                taken.insert(entry.name.clone());
            }
            return Fate::Kept;
        }
        let Some(properties) = rule.object("properties") else { return Fate::Kept };
        let mut fate = Fate::Kept;
        let required = rule.texts("required");
        let mut taken: BTreeSet<String> = entries.iter().map(|e| e.name.clone()).collect();
        entries.retain_mut(|entry| {
            if properties.contains_key(&entry.name) {
                return true;
            }
            let Some(meant) = self.unknown_field(entry, &taken, properties) else { return false };
            meant.clone_into(&mut entry.name);
            taken.insert(entry.name.clone())
        });
        for entry in entries.iter_mut() {
            if let Some(schema) = properties.get(&entry.name) {
                self.path.push(entry.written.clone());
                if self.value(&mut entry.node, schema, &entry.key) == Fate::Lost {
                    entry.replace(self.rules.replacement(schema, required.contains(&entry.name.as_str())));
                    if entry.standing.is_lost() && required.contains(&entry.name.as_str()) {
                        fate = Fate::Lost;
                    }
                }
                self.path.pop();
            }
        }
        let missing: Vec<&str> =
            required.into_iter().filter(|name| !entries.iter().any(|e| e.name == *name)).collect();
        if missing.is_empty() {
            return fate;
        }
        self.missing(&missing, properties, spot.clone());
        for name in missing {
            let mut entry = Entry::new(name, spot.clone(), Node::nothing());
            entry.replace(
                properties.get(name).map_or_else(Default::default, |s| self.rules.replacement(s, true)),
            );
            if entry.standing.is_lost() {
                fate = Fate::Lost;
            }
            entries.push(entry);
        }
        fate
    }

    fn named_entry(
        &mut self,
        entry: &mut Entry,
        rule: Rule<'a>,
        patterns: Option<&'a Map<String, Value>>,
        taken: &BTreeSet<String>,
    ) {
        self.path.push(entry.written.clone());
        let schema = match patterns.and_then(|patterns| patterns.iter().next()) {
            Some((pattern, schema)) => {
                if let Some((Err(what), help)) = check_name(pattern, &entry.name) {
                    let finding = Finding::new(what).at(entry.key.clone()).help(help);
                    match name_like(pattern, &entry.name).filter(|name| !taken.contains(name)) {
                        Some(name) => {
                            self.report(finding.suggest(format!("`{name}` would do")));
                            entry.name = name;
                        }
                        None => {
                            self.report(finding);
                            entry.standing = Standing::Lost;
                        }
                    }
                }
                Some(schema)
            }
            None => rule.get("additionalProperties"),
        };
        if let Some(schema) = schema
            && self.value(&mut entry.node, schema, &entry.key) == Fate::Lost
        {
            entry.standing = Standing::Lost;
        }
        self.path.pop();
    }

    /// Reports a setting that isn't one, and says which was meant, if that can be told and it isn't there yet.
    fn unknown_field(
        &mut self,
        entry: &Entry,
        taken: &BTreeSet<String>,
        properties: &'a Map<String, Value>,
    ) -> Option<&'a str> {
        let name = entry.name.as_str();
        let shown = brief(name);
        let known = || properties.keys().map(String::as_str);
        let finding = Finding::new(format!("there is no setting `{shown}` here")).at(entry.key.clone());
        let help = format!("the settings here are {}", list(known(), "and"));
        let free = |meant: &&str| !taken.contains(*meant);
        let meant = self.nearest(name, known());
        self.path.push(name.to_owned());
        if name == "<<" {
            self.report(finding.help(
                "merge keys are no part of YAML 1.2; write the settings out, or use an alias for a whole value",
            ));
        } else if let Some(meant) = meant {
            let duplicate = !free(&meant);
            let suggestion = format!("did you mean `{meant}`?");
            self.report(finding.suggest(suggestion).help(if duplicate {
                format!("`{meant}` stands here already; {help}")
            } else {
                help
            }));
        } else if let Some(parent) = self.child_with(properties, name) {
            self.report(finding.suggest(format!("it belongs under `{parent}`")).help(help));
        } else {
            self.report(finding.help(help));
        }
        self.path.pop();
        meant.filter(free)
    }

    /// Which of `properties` has a setting called `name`.
    fn child_with(&self, properties: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
        if self.is_full() {
            return None;
        }
        let has = |schema: &'a Value| {
            let rule = self.rules.resolve(schema);
            let branches = rule.get("anyOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            rule.object("properties").is_some_and(|p| p.contains_key(name))
                || branches
                    .iter()
                    .any(|b| self.rules.resolve(b).object("properties").is_some_and(|p| p.contains_key(name)))
        };
        properties.iter().find(|(_, schema)| has(schema)).map(|(parent, _)| parent.as_str())
    }

    fn missing(&mut self, missing: &[&str], properties: &'a Map<String, Value>, spot: Range<usize>) {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let help = missing
            .iter()
            .filter_map(|name| {
                let about = properties.get(*name)?.get("description")?.as_str()?;
                Some(format!("`{name}`: {}", lower_first(first_line(about))))
            })
            .collect::<Vec<_>>()
            .join("; ");
        let finding =
            Finding::new(format!("{} {verb} missing", list(missing.iter().copied(), "and"))).at(spot);
        self.report(if help.is_empty() { finding } else { finding.help(help) });
    }

    /// A value that may be one of several things.
    fn one_of(&mut self, node: &mut Node, branches: &'a [Value], owner: &Range<usize>) -> Fate {
        let is_null = |branch: &Value| branch.get("type").and_then(Value::as_str) == Some("null");
        let others: Vec<&'a Value> = branches.iter().filter(|b| !is_null(b)).collect();
        if node.is_null() && others.len() < branches.len() {
            return Fate::Kept;
        }
        if let [only] = others.as_slice() {
            return match self.choices_of(only) {
                Some(choices) => self.choice(node, &choices, owner),
                None => self.value(node, only, owner),
            };
        }
        let mut all = Vec::new();
        for branch in &others {
            match self.choices_of(branch) {
                Some(some) => all.extend(some),
                None => return self.any_of(node, &others, owner),
            }
        }
        self.choice(node, &all, owner)
    }

    /// The words a schema offers, alone or with settings; `None` if it is something else.
    fn choices_of(&self, schema: &'a Value) -> Option<Vec<Choice<'a>>> {
        let rule = Rule { schema, about: None };
        let words: Vec<&str> = rule.texts("enum").into_iter().chain(rule.texts("const")).collect();
        if !words.is_empty() {
            return Some(words.into_iter().map(|name| Choice { name, settings: None }).collect());
        }
        let properties = rule.object("properties")?;
        let required = rule.texts("required");
        match (properties.iter().next(), required.as_slice()) {
            (Some((name, settings)), [only]) if properties.len() == 1 && name == only => {
                Some(vec![Choice { name, settings: Some(settings) }])
            }
            _ => None,
        }
    }

    /// Branches that no word tells apart: the first that fits, else what is wrong with the one that fits best.
    fn any_of(&mut self, node: &mut Node, branches: &[&'a Value], owner: &Range<usize>) -> Fate {
        let mut best: Option<(Vec<Finding>, Node, Fate)> = None;
        for branch in branches {
            let mut tried = node.clone();
            let mut findings = Vec::new();
            let mut walker = Walker { rules: self.rules, findings: &mut findings, path: self.path.clone() };
            let fate = walker.value(&mut tried, branch, owner);
            if best.as_ref().is_none_or(|(least, ..)| findings.len() < least.len()) {
                best = Some((findings, tried, fate));
            }
        }
        let Some((findings, tried, fate)) = best else { return Fate::Kept };
        self.findings.extend(findings);
        *node = tried;
        fate
    }

    /// An enum: a word, or a mapping with one word as its key.
    fn choice(&mut self, node: &mut Node, choices: &[Choice<'a>], owner: &Range<usize>) -> Fate {
        let spot = node.spot(owner);
        let described = describe(node);
        let scalar_text = match node.scalar() {
            Some(Scalar::Text(text)) => Some(text.to_owned()),
            Some(_) | None => None,
        };
        if let Some(text) = scalar_text {
            return self.word(&text, node, choices, spot);
        }
        let Kind::Map { entries, .. } = &mut node.kind else {
            let finding = Finding::new(format!("{described} can't stand here")).at(spot);
            self.report(finding.help(choices_text(choices)));
            return Fate::Lost;
        };
        if let [entry] = entries.as_mut_slice() {
            return self.tagged(entry, choices);
        }
        let finding = match split_settings(entries, choices) {
            _ if entries.is_empty() => Finding::new("nothing is chosen here").at(spot),
            Some(tag) => {
                let second = entries.get(1).map_or(spot, |e| e.key.clone());
                Finding::new(format!("the settings of `{tag}` stand beside it instead of below it"))
                    .at(second)
                    .suggest("move it two spaces to the right")
                    .help(format!("what belongs to `{tag}` is indented further than `{tag}` itself"))
            }
            None => {
                let names = list(entries.iter().map(|e| e.name.as_str()), "and");
                let second = entries.get(1).map_or(spot, |e| e.key.clone());
                Finding::new(format!("only one can be named here, not {names} together")).at(second)
            }
        };
        let needs_list = finding.help.is_none();
        self.report(if needs_list { finding.help(choices_text(choices)) } else { finding });
        Fate::Lost
    }

    fn word(&mut self, text: &str, node: &mut Node, choices: &[Choice<'a>], spot: Range<usize>) -> Fate {
        let shown = brief(text);
        match choices.iter().find(|c| c.name == text) {
            Some(Choice { settings: None, .. }) => Fate::Kept,
            Some(Choice { settings: Some(_), name }) => {
                let finding = Finding::new(format!("`{name}` needs its settings")).at(spot);
                self.report(finding.help(format!("write them after it, as in `{name}: …`")));
                Fate::Lost
            }
            None => {
                let finding = Finding::new(format!("`{shown}` can't stand here")).at(spot);
                let finding = finding.help(choices_text(choices));
                let meant = self.nearest(text, choices.iter().map(|c| c.name));
                let Some(meant) = meant else {
                    self.report(finding);
                    return Fate::Lost;
                };
                self.report(finding.suggest(format!("did you mean `{meant}`?")));
                if !choices.iter().any(|c| c.name == meant && c.settings.is_none()) {
                    return Fate::Lost;
                }
                node.kind = Kind::Scalar { text: meant.to_owned(), plain: false };
                Fate::Kept
            }
        }
    }

    fn tagged(&mut self, entry: &mut Entry, choices: &[Choice<'a>]) -> Fate {
        if !choices.iter().any(|c| c.name == entry.name) {
            let shown = brief(&entry.name);
            let finding = Finding::new(format!("`{shown}` can't stand here")).at(entry.key.clone());
            let finding = finding.help(choices_text(choices));
            match self.nearest(&entry.name, choices.iter().map(|c| c.name)) {
                Some(meant) => {
                    self.report(finding.suggest(format!("did you mean `{meant}`?")));
                    entry.name = meant.to_owned();
                }
                None => {
                    self.report(finding);
                    return Fate::Lost;
                }
            }
        }
        match choices.iter().find(|c| c.name == entry.name) {
            Some(Choice { settings: Some(settings), name }) => {
                self.path.push((*name).to_owned());
                let fate = self.value(&mut entry.node, settings, &entry.key);
                self.path.pop();
                if fate == Fate::Lost {
                    entry.standing = Standing::Lost;
                }
                fate
            }
            Some(Choice { settings: None, name }) => {
                let finding = Finding::new(format!("`{name}` has no settings")).at(entry.key.clone());
                self.report(finding.help(format!("write the word alone: `{name}`")));
                Fate::Lost
            }
            None => Fate::Lost,
        }
    }
}

/// The choice whose settings were written beside it: its own value is empty, and the others aren't choices.
fn split_settings<'c>(entries: &[Entry], choices: &[Choice<'c>]) -> Option<&'c str> {
    let (first, others) = entries.split_first()?;
    let tag = choices.iter().find(|c| c.name == first.name && c.settings.is_some())?;
    let strangers = others.iter().all(|e| choices.iter().all(|c| c.name != e.name));
    (first.node.is_null() && strangers).then_some(tag.name)
}

fn choices_text(known: &[Choice<'_>]) -> String {
    match known {
        [only] => format!("only `{}` can stand here", only.name),
        many => format!("choose {}", choices(many.iter().map(|c| c.name))),
    }
}

fn check_name(pattern: &str, text: &str) -> Option<(Result<(), String>, &'static str)> {
    PATTERNS.iter().find(|(known, ..)| *known == pattern).map(|(_, check, help)| (check(text), *help))
}

/// A valid name near to `text`: lower case if need be, hyphens for what can't stand in a name.
fn name_like(pattern: &str, text: &str) -> Option<String> {
    let try_name = |text: &str| {
        let name: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
            .collect();
        let name = name.trim_matches(['-', '_']).to_owned();
        matches!(check_name(pattern, &name), Some((Ok(()), _))).then_some(name)
    };
    try_name(text).or_else(|| try_name(&text.to_lowercase().replace('_', "-")))
}

/// What stands there, in a few words.
fn describe(node: &Node) -> String {
    match (&node.kind, node.scalar()) {
        (Kind::Seq(_), _) => "a list".to_owned(),
        (Kind::Map { .. }, _) => "settings".to_owned(),
        (Kind::Scalar { .. }, Some(Scalar::Null) | None) => "nothing".to_owned(),
        (Kind::Scalar { text, .. }, Some(Scalar::Bool(_))) => format!("`{text}`"),
        (Kind::Scalar { text, .. }, Some(Scalar::Integer(_) | Scalar::Float(_))) => {
            format!("the number {}", brief(text))
        }
        (Kind::Scalar { text, .. }, Some(Scalar::Text(_))) => format!("the text \"{}\"", brief(text)),
    }
}

/// A JSON type in the words of someone who writes YAML.
fn type_name(name: &str) -> &str {
    match name {
        "object" => "a group of settings",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every keyword in `schema`, but not names of settings and types.
    fn keywords<'v>(schema: &'v Value, found: &mut BTreeSet<&'v str>) {
        let Some(object) = schema.as_object() else { return };
        for (keyword, value) in object {
            found.insert(keyword);
            match (keyword.as_str(), value) {
                ("default" | "examples" | "const" | "enum", _) => {}
                ("properties" | "patternProperties" | "$defs", Value::Object(named)) => {
                    named.values().for_each(|schema| keywords(schema, found));
                }
                (_, Value::Array(schemas)) => schemas.iter().for_each(|schema| keywords(schema, found)),
                (_, schema) => keywords(schema, found),
            }
        }
    }

    /// A new keyword in the schema is a new rule that the walk must learn, or it would go unchecked.
    #[test]
    fn the_walk_knows_every_keyword_of_the_schema() {
        let known = [
            "$defs",
            "$ref",
            "$schema",
            "additionalProperties",
            "anyOf",
            "const",
            "default",
            "description",
            "enum",
            "examples",
            "format",
            "items",
            "maxLength",
            "maximum",
            "minimum",
            "oneOf",
            "pattern",
            "patternProperties",
            "properties",
            "required",
            "title",
            "type",
        ];
        let schema = crate::schema::schema();
        let mut found = BTreeSet::new();
        keywords(&schema, &mut found);
        let unknown: Vec<_> = found.into_iter().filter(|keyword| !known.contains(keyword)).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }

    /// A kind of name whose pattern the walk doesn't know would be reported by the type, at its mapping's place.
    #[test]
    fn the_walk_knows_every_pattern_of_the_schema() {
        fn patterns<'v>(schema: &'v Value, found: &mut BTreeSet<&'v str>) {
            match schema {
                Value::Object(object) => {
                    found.extend(object.get("pattern").and_then(Value::as_str));
                    if let Some(Value::Object(named)) = object.get("patternProperties") {
                        found.extend(named.keys().map(String::as_str));
                    }
                    object.values().for_each(|value| patterns(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| patterns(value, found)),
                _ => {}
            }
        }
        let schema = crate::schema::schema();
        let mut found = BTreeSet::new();
        patterns(&schema, &mut found);
        for pattern in found {
            assert!(PATTERNS.iter().any(|(known, ..)| *known == pattern), "{pattern}");
        }
    }
}
