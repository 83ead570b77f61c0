//! YAML text as a tree that remembers where every value stands.
//!
//! serde forgets places and stops at its first error; the tree keeps both the places and going. It also keeps what
//! the later steps find out about a value: that a key was meant to be another one, that a value is of no use. So a
//! document with a mistake in one corner is still checked in all others.
//!
//! Refused here, because a policy needs none of it and each is a way to be misread: tags, keys that are no text,
//! a key twice in one mapping, several documents in a file, and aliases that multiply without end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span as Mark, StrInput, StructureStyle};
use serde_json::{Map, Number, Value};

use crate::diagnostic::{Finding, floor_boundary};
use crate::rules::Replacement;

/// How deep a document may nest. The format itself needs less than 16; beyond, recursion would end the process.
const MAX_DEPTH: usize = 64;
/// How many values a document may have once its aliases are followed: ten times the largest sensible fleet
/// (a thousand workloads of ten values), and small enough that a file which multiplies its aliases ends here.
const MAX_NODES: usize = 100_000;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The bytes of the text that the value takes; empty for a value that isn't written.
    pub(crate) span: Range<usize>,
    /// What the value is.
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Text, a number, a boolean or nothing: YAML writes them alike.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Whether it stands without quotes, so that it may be more than text.
        plain: bool,
    },
    /// A list.
    Seq(Vec<Item>),
    /// A mapping.
    Map {
        /// Whether it is written in braces.
        flow: bool,
        /// Whether the keys are names that people give, not settings of the format: so the schema says.
        named: bool,
        /// The entries in the order of the file.
        entries: Vec<Entry>,
    },
}

/// An item of a list.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) node: Node,
    pub(crate) standing: Standing,
}

/// Whether what stands there can be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the document's own.
    Given,
    /// Something valid in the place of a value that is missing or wrong, so that what is around it can be checked.
    StandIn,
    /// Of no use: left out of what is read on.
    Lost,
}

/// An entry of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key as written.
    pub(crate) written: String,
    /// The key as meant: another one where a slip was found.
    pub(crate) name: String,
    /// Where the key stands.
    pub(crate) key: Range<usize>,
    pub(crate) node: Node,
    pub(crate) standing: Standing,
    /// For a value that isn't given: what else might stand there.
    alternative: Option<Box<Node>>,
}

/// What a scalar means by YAML's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(Number),
    Float(f64),
    Text(&'a str),
}

/// Reads `text` as one YAML document. `Err` holds the one mistake that makes reading on senseless; mistakes that
/// don't are added to `findings`.
pub(crate) fn read(text: &str, findings: &mut Vec<Finding>) -> Result<Node, Finding> {
    let mut options = granit_parser::options! {
        // One document needs no directive, and `%TAG` only serves tags.
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { parser, text, anchors: BTreeMap::new(), nodes: 0, findings };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    /// What each anchor stands for: a value, how many values it holds and how deep it is.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    /// Values made so far, copies of anchors included.
    nodes: usize,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Finding> {
        let mut root = None;
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    let at = self.bytes(mark);
                    let line_end = self.text[at.start..].find('\n').map_or(self.text.len(), |n| at.start + n);
                    return Err(Finding::new("a second document starts here; a file holds one fleet")
                        .at(at.start..line_end.max(at.end))
                        .help("move it to a file of its own, or put its workloads under the first one's `spec.workloads`"));
                }
                Event::DocumentStart(..) => {}
                Event::StreamEnd => {
                    return root.ok_or_else(|| Finding::new("the file is empty").help(START));
                }
                event => root = Some(self.node(event, mark, 0)?.0),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Mark), Finding> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = floor_boundary(self.text, error.marker().byte_offset().unwrap_or(0));
                let indentation = self.text[line_start(self.text, at)..].trim_start_matches(' ');
                let help = match error.kind() {
                    ErrorKind::RecursionLimitExceeded => return Err(too_deep(at..at)),
                    ErrorKind::UnknownAnchor => {
                        return Err(Finding::new("this alias stands for nothing")
                            .at(at..at)
                            .help(ALIAS_HELP));
                    }
                    _ if indentation.starts_with('\t') => Some(TAB_HELP),
                    ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => Some(INDENT_HELP),
                    ErrorKind::ExpectedFlowMappingSeparator
                    | ErrorKind::ExpectedFlowSequenceSeparator
                    | ErrorKind::UnclosedFlowCollection { .. } => Some(BRACKET_HELP),
                    _ => None,
                };
                let message = format!("this is not YAML: {}", sentence(&error.info()));
                Err(Finding { help: help.map(str::to_owned), ..Finding::new(message).at(at..at) })
            }
            // The stream ends with `StreamEnd`, after which nobody asks.
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    /// The value that `event` begins, how many values it holds, and how deep it is.
    fn node(&mut self, event: Event<'a>, mark: Mark, depth: usize) -> Result<(Node, usize, usize), Finding> {
        let at = self.bytes(mark);
        self.count(1, &at)?;
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let (node, size, height, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark)?;
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar { text: text.into_owned(), plain };
                (Node { span: at, kind }, 1, 1, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark)?;
                let (items, end, size, height) = self.items(depth)?;
                (Node { span: at.start..end.max(at.start), kind: Kind::Seq(items) }, size, height, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark)?;
                let (entries, end, size, height) = self.entries(depth)?;
                let kind = Kind::Map { flow: style == StructureStyle::Flow, named: false, entries };
                (Node { span: at.start..end.max(at.start), kind }, size, height, anchor)
            }
            Event::Alias(id) => {
                let Some((_, size, height)) = self.anchors.get(&id) else {
                    return Err(Finding::new("this alias stands within the value it stands for").at(at));
                };
                let (size, height) = (*size, *height);
                self.count(size, &at)?;
                if depth + height > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                let Some((node, _, _)) = self.anchors.get(&id) else {
                    return Err(Finding::new("this alias stands for nothing").at(at));
                };
                return Ok((node.clone(), size, height));
            }
            _ => return Err(Finding::new("this is no value").at(at)),
        };
        if anchor != 0 {
            self.count(size, &node.span)?;
            self.anchors.insert(anchor, (node.clone(), size, height));
        }
        Ok((node, size, height))
    }

    fn items(&mut self, depth: usize) -> Result<(Vec<Item>, usize, usize, usize), Finding> {
        let (mut items, mut size, mut height) = (Vec::new(), 1, 0);
        loop {
            let (event, mark) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok((items, self.bytes(mark).end, size, height + 1));
            }
            let (node, more, deep) = self.node(event, mark, depth + 1)?;
            size += more;
            height = height.max(deep);
            items.push(Item { node, standing: Standing::Given });
        }
    }

    fn entries(&mut self, depth: usize) -> Result<(Vec<Entry>, usize, usize, usize), Finding> {
        let (mut entries, mut size, mut height) = (Vec::new(), 1, 0);
        let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
        loop {
            let (event, mark) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok((entries, self.bytes(mark).end, size, height + 1));
            }
            let key = self.bytes(mark);
            let Node { kind: Kind::Scalar { text: name, .. }, .. } = self.node(event, mark, depth + 1)?.0
            else {
                return Err(Finding::new("a key is a single word or text").at(key));
            };
            let (event, mark) = self.next()?;
            let (node, more, deep) = self.node(event, mark, depth + 1)?;
            size += more + 1;
            height = height.max(deep);
            if let Some(first) = seen.get(&name) {
                let line = 1 + self.text[..first.start].matches('\n').count();
                self.findings.push(
                    Finding::new(format!("`{}` stands here a second time", crate::say::brief(&name)))
                        .at(key.clone())
                        .help(format!("line {line} has it already; keep one of the two")),
                );
                continue;
            }
            seen.insert(name.clone(), key.clone());
            entries.push(Entry::new(&name, key, node));
        }
    }

    fn refuse_tag(&self, tagged: bool, mark: Mark) -> Result<(), Finding> {
        if !tagged {
            return Ok(());
        }
        Err(Finding::new("YAML tags such as `!!str` have no place in a policy")
            .at(self.bytes(mark.tag_span().unwrap_or(mark)))
            .help("leave the tag out; text that looks like a number stands in quotes"))
    }

    fn count(&mut self, more: usize, at: &Range<usize>) -> Result<(), Finding> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(Finding::new(format!("with its aliases followed, the document has more than {MAX_NODES} values"))
            .at(at.clone())
            .help("split the fleet into several files, and don't let aliases contain aliases"))
    }

    fn bytes(&self, mark: Mark) -> Range<usize> {
        let range = mark.byte_range().unwrap_or(0..0);
        let end = range.end.min(self.text.len());
        range.start.min(end)..end
    }
}

/// What an empty file could start with.
const START: &str =
    "start with `apiVersion: headroom.dev/v1alpha1` and `kind: Fleet`; `examples/` has whole files";

// What usually lies behind an error of the parser.
const ALIAS_HELP: &str =
    "name the value with `&name` before `*name` is used; text that begins with `*` stands in quotes";
const TAB_HELP: &str = "a tab stands in the indentation; YAML indents with spaces only";
const INDENT_HELP: &str =
    "check the indentation: this line stands neither beside the lines above it nor within them";
const BRACKET_HELP: &str = "a bracket before this place is not closed, or a comma is missing";

fn too_deep(at: Range<usize>) -> Finding {
    Finding::new(format!("the document nests deeper than {MAX_DEPTH} levels")).at(at)
}

/// A parser's message as part of a sentence.
fn sentence(message: &str) -> Cow<'_, str> {
    let message = message.trim().trim_end_matches('.');
    if message.is_empty() { Cow::Borrowed("it can't be read") } else { Cow::Borrowed(message) }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |n| n + 1)
}

impl Standing {
    pub(crate) fn is_lost(self) -> bool {
        self == Self::Lost
    }
}

impl Entry {
    /// An entry as it is given.
    pub(crate) fn new(name: &str, key: Range<usize>, node: Node) -> Self {
        let (written, name) = (name.to_owned(), name.to_owned());
        Self { written, name, key, node, standing: Standing::Given, alternative: None }
    }

    /// Puts something else in the place of the value, or marks it as of no use.
    pub(crate) fn replace(&mut self, by: Replacement) {
        self.standing = if by.node.is_some() { Standing::StandIn } else { Standing::Lost };
        if let Some(node) = by.node {
            self.node = node;
        }
        self.alternative = by.alternative.map(Box::new);
    }
}

impl Node {
    /// Nothing, written nowhere.
    pub(crate) fn nothing() -> Self {
        Self { span: 0..0, kind: Kind::Scalar { text: String::new(), plain: true } }
    }

    /// Text, written nowhere.
    pub(crate) fn text(text: &str) -> Self {
        Self { span: 0..0, kind: Kind::Scalar { text: text.to_owned(), plain: false } }
    }

    /// What the value means, if it is a scalar.
    pub(crate) fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            Kind::Scalar { text, plain: true } => Some(resolve(text)),
            Kind::Scalar { text, plain: false } => Some(Scalar::Text(text)),
            Kind::Seq(_) | Kind::Map { .. } => None,
        }
    }

    /// Whether nothing is written, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The value for serde, without what was lost.
    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Seq(items) => Value::Array(
                items.iter().filter(|i| !i.standing.is_lost()).map(|i| i.node.to_json()).collect(),
            ),
            Kind::Map { entries, .. } => Value::Object(
                entries
                    .iter()
                    .filter(|e| !e.standing.is_lost())
                    .map(|e| (e.name.clone(), e.node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            Kind::Scalar { .. } => match self.scalar() {
                Some(Scalar::Bool(b)) => Value::Bool(b),
                Some(Scalar::Integer(n)) => Value::Number(n),
                Some(Scalar::Float(f)) => Number::from_f64(f).map_or(Value::Null, Value::Number),
                Some(Scalar::Text(text)) => Value::String(text.to_owned()),
                Some(Scalar::Null) | None => Value::Null,
            },
        }
    }

    /// Where to point for this value: at itself if it stands on its own, else at `owner`, its key.
    pub(crate) fn spot(&self, owner: &Range<usize>) -> Range<usize> {
        match &self.kind {
            Kind::Map { flow: false, .. } if owner.is_empty() => {
                self.first_key().unwrap_or(self.span.clone())
            }
            Kind::Map { flow: false, .. } => owner.clone(),
            Kind::Map { .. } | Kind::Scalar { .. } | Kind::Seq(_) if self.span.is_empty() => owner.clone(),
            Kind::Seq(items) if !owner.is_empty() && !items.is_empty() => owner.clone(),
            Kind::Map { .. } | Kind::Scalar { .. } | Kind::Seq(_) => self.span.clone(),
        }
    }

    fn first_key(&self) -> Option<Range<usize>> {
        match &self.kind {
            Kind::Map { entries, .. } => entries.first().map(|e| e.key.clone()),
            Kind::Seq(_) | Kind::Scalar { .. } => None,
        }
    }

    /// Follows `parts`, as they count without what was lost, as far as the document goes.
    pub(crate) fn follow(&self, parts: &[String]) -> Followed {
        let (mut node, mut spot) = (self, self.spot(&(0..0)));
        let mut path = Vec::with_capacity(parts.len());
        for part in parts {
            match &node.kind {
                Kind::Map { entries, .. } => {
                    let Some(entry) = entries.iter().find(|e| !e.standing.is_lost() && e.name == *part)
                    else {
                        break;
                    };
                    (node, spot) = (&entry.node, entry.node.spot(&entry.key));
                    path.push(entry.written.clone());
                }
                Kind::Seq(items) => {
                    let Some(place) = place_of(items, part) else { break };
                    (node, spot) = (&items[place].node, items[place].node.spot(&(0..0)));
                    path.push(place.to_string());
                }
                Kind::Scalar { .. } => break,
            }
        }
        let rest = parts[path.len()..].to_vec();
        Followed { spot, path, rest }
    }

    /// Puts something else in the place of what stands at `parts` (as [`Node::follow`] finds it), or marks it as
    /// of no use where nothing else will do or was tried before. `false` where nothing stands.
    pub(crate) fn replace(&mut self, parts: &[String], by: Replacement) -> bool {
        let Some((part, rest)) = parts.split_first() else { return false };
        match &mut self.kind {
            Kind::Map { named, entries, .. } => {
                let Some(entry) = entries.iter_mut().find(|e| !e.standing.is_lost() && e.name == *part)
                else {
                    return false;
                };
                if !rest.is_empty() {
                    return entry.node.replace(rest, by);
                }
                let may_stand_in = !*named && entry.standing == Standing::Given;
                entry.replace(if may_stand_in { by } else { Replacement::default() });
                true
            }
            Kind::Seq(items) => {
                let Some(place) = place_of(items, part) else { return false };
                if !rest.is_empty() {
                    return items[place].node.replace(rest, by);
                }
                items[place].standing = Standing::Lost;
                true
            }
            Kind::Scalar { .. } => false,
        }
    }

    /// Puts the alternative in the place of every value that isn't given.
    pub(crate) fn take_alternatives(&mut self) {
        match &mut self.kind {
            Kind::Map { entries, .. } => {
                for entry in entries {
                    match entry.alternative.take() {
                        Some(node) => (entry.node, entry.standing) = (*node, Standing::StandIn),
                        None => entry.node.take_alternatives(),
                    }
                }
            }
            Kind::Seq(items) => items.iter_mut().for_each(|item| item.node.take_alternatives()),
            Kind::Scalar { .. } => {}
        }
    }

    /// Everything lost.
    pub(crate) fn losses(&self) -> Vec<Loss> {
        let mut found = Vec::new();
        self.collect_losses(&mut Vec::new(), &mut found);
        found
    }

    fn collect_losses(&self, parent: &mut Vec<String>, found: &mut Vec<Loss>) {
        match &self.kind {
            Kind::Map { named, entries, .. } => {
                for entry in entries {
                    if entry.standing != Standing::Given {
                        let name = Some(entry.name.clone());
                        found.push(Loss { parent: parent.clone(), name, is_setting: !named });
                    } else {
                        parent.push(entry.name.clone());
                        entry.node.collect_losses(parent, found);
                        parent.pop();
                    }
                }
            }
            Kind::Seq(items) => {
                let mut index: usize = 0;
                for item in items {
                    if item.standing.is_lost() {
                        found.push(Loss { parent: parent.clone(), name: None, is_setting: false });
                    } else {
                        parent.push(index.to_string());
                        item.node.collect_losses(parent, found);
                        parent.pop();
                        index += 1;
                    }
                }
            }
            Kind::Scalar { .. } => {}
        }
    }
}

/// Where in `items` the item stands that is number `part` once the lost ones are left out.
fn place_of(items: &[Item], part: &str) -> Option<usize> {
    let number: usize = part.parse().ok()?;
    items.iter().enumerate().filter(|(_, item)| !item.standing.is_lost()).nth(number).map(|(place, _)| place)
}

/// How far a path leads into a document.
pub(crate) struct Followed {
    /// Where to point.
    pub(crate) spot: Range<usize>,
    /// The part of the path that the document has, items counted as in the file.
    pub(crate) path: Vec<String>,
    /// The part it doesn't have: a default, or something missing.
    pub(crate) rest: Vec<String>,
}

/// A value that was missing or of no use, and so is unknown to every later check.
pub(crate) struct Loss {
    /// The path of what it stood in, as [`Node::follow`] counts.
    pub(crate) parent: Vec<String>,
    /// Its key as meant; `None` for an item of a list.
    pub(crate) name: Option<String>,
    /// Whether it is a setting of its parent, so that the parent can't be judged without it.
    pub(crate) is_setting: bool,
}

impl Loss {
    /// Whether `path` leads to the lost value or into it.
    pub(crate) fn contains(&self, path: &[String]) -> bool {
        let depth = self.parent.len();
        path.starts_with(&self.parent) && self.name.is_some() && path.get(depth) == self.name.as_ref()
    }
}

/// YAML 1.2's core schema, chapter 10.3.
fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Scalar::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let radix = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok())
    };
    if let Some(n) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Scalar::Integer(n.into());
    }
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if digits(unsigned) {
        let signed = text.strip_prefix('+').unwrap_or(text);
        if let Ok(n) = signed.parse::<u64>() {
            return Scalar::Integer(n.into());
        }
        if let Ok(n) = signed.parse::<i64>() {
            return Scalar::Integer(n.into());
        }
    }
    let looks_like_float = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse() {
        Ok(float) if looks_like_float => Scalar::Float(float),
        _ => Scalar::Text(text),
    }
}
