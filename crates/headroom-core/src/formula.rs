//! Formulas over signals: a small language that always ends and never fails.
//!
//! Numbers, signals, `replicas` and `ready`; `+ - * /`, comparisons, `&& || !`, `a ? b : c`, `a ?? b`, and
//! `min max ceil floor abs`. It is *typed*: a formula that adds a number to a truth is refused at load, with the place
//! of the mistake. It is *total*: there is no loop, a formula has a bounded size, and what has no value (a signal
//! that can't be read, a division by zero) makes the result absent instead of wrong, unless `??` says what to take in
//! its place. It is compiled at load to a list of steps; a tick runs them on a stack of fixed size.
//!
//! Ours rather than a crate because those at hand (expression crates for scripts) know no absence: a missing value is
//! an error or a zero there (docs/adr/0030-own-formulas.md).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::names::SignalName;

/// The longest formula, in characters: ten lines; more is a program.
const LONGEST: usize = 1024;
/// The deepest stack, and so the deepest nesting.
const DEEPEST: usize = 32;

/// A compiled formula.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Formula {
    text: Arc<str>,
    program: Arc<[Op]>,
    signals: Arc<[SignalName]>,
}

/// Text that is no formula: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} at character {at} of the formula {text:?}")]
pub struct NotAFormula {
    text: String,
    at: usize,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Number(f64),
    Signal(usize),
    Replicas,
    Ready,
    Unary(Unary),
    Binary(Binary),
    /// Condition, then, else.
    Choose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unary {
    Minus,
    Not,
    Ceil,
    Floor,
    Abs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Differs,
    And,
    Or,
    Else,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Truth,
}

impl Formula {
    /// The signals it names.
    #[must_use]
    pub fn signals(&self) -> &[SignalName] {
        &self.signals
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value, where it has one. `signal` gives a signal's value by its position in [`Formula::signals`].
    pub fn value(&self, replicas: f64, ready: f64, signal: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        let mut stack = [None; DEEPEST];
        let mut top = 0;
        for op in self.program.iter() {
            let value = match *op {
                Op::Number(n) => Some(n),
                Op::Signal(index) => signal(index),
                Op::Replicas => Some(replicas),
                Op::Ready => Some(ready),
                Op::Unary(unary) => {
                    top -= 1;
                    stack[top].and_then(|a| apply(unary, a))
                }
                Op::Binary(binary) => {
                    top -= 2;
                    both(binary, stack[top], stack[top + 1])
                }
                Op::Choose => {
                    top -= 3;
                    match stack[top] {
                        Some(condition) if condition != 0.0 => stack[top + 1],
                        Some(_) => stack[top + 2],
                        None => None,
                    }
                }
            };
            stack[top] = value.filter(|v: &f64| v.is_finite());
            top += 1;
        }
        stack[0]
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn apply(op: Unary, a: f64) -> Option<f64> {
    Some(match op {
        Unary::Minus => -a,
        Unary::Not => truth(a == 0.0),
        Unary::Ceil => a.ceil(),
        Unary::Floor => a.floor(),
        Unary::Abs => a.abs(),
    })
}

#[expect(clippy::float_cmp, reason = "`==` in a formula means what it says")]
fn both(op: Binary, a: Option<f64>, b: Option<f64>) -> Option<f64> {
    if op == Binary::Else {
        return a.or(b);
    }
    let (a, b) = (a?, b?);
    Some(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div if b == 0.0 => return None,
        Binary::Div => a / b,
        Binary::Less => truth(a < b),
        Binary::AtMost => truth(a <= b),
        Binary::More => truth(a > b),
        Binary::AtLeast => truth(a >= b),
        Binary::Equal => truth(a == b),
        Binary::Differs => truth(a != b),
        Binary::And => truth(a != 0.0 && b != 0.0),
        Binary::Or => truth(a != 0.0 || b != 0.0),
        Binary::Else => a,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
    })
}

/// Reads a formula by precedence, emitting steps as it goes.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    program: Vec<Op>,
    signals: Vec<SignalName>,
    /// Values on the stack, and how many there have been at once.
    depth: usize,
    nesting: usize,
}

/// Operators of two sides, loosest first: `??` binds tighter than arithmetic, so that `a ?? 0 + b` reads as people
/// mean it.
const LEVELS: &[&[(&str, Binary)]] = &[
    &[("||", Binary::Or)],
    &[("&&", Binary::And)],
    &[("==", Binary::Equal), ("!=", Binary::Differs)],
    &[("<=", Binary::AtMost), (">=", Binary::AtLeast), ("<", Binary::Less), (">", Binary::More)],
    &[("+", Binary::Add), ("-", Binary::Sub)],
    &[("*", Binary::Mul), ("/", Binary::Div)],
    &[("??", Binary::Else)],
];

impl<'a> Reader<'a> {
    fn fail<T>(&self, why: impl Into<String>) -> Result<T, NotAFormula> {
        Err(NotAFormula { text: self.text.to_owned(), at: self.at + 1, why: why.into() })
    }

    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), NotAFormula> {
        if self.eat(token) { Ok(()) } else { self.fail(format!("`{token}` is missing")) }
    }

    fn emit(&mut self, op: Op, takes: usize) -> Result<(), NotAFormula> {
        self.depth = self.depth + 1 - takes;
        if self.depth > DEEPEST {
            return self.fail(format!("more than {DEEPEST} values stand open"));
        }
        self.program.push(op);
        Ok(())
    }

    fn needs(&self, kind: Kind, found: Kind) -> Result<(), NotAFormula> {
        let name = |kind| if kind == Kind::Number { "a number" } else { "a truth" };
        if kind == found {
            Ok(())
        } else {
            self.fail(format!("{} is needed, not {}", name(kind), name(found)))
        }
    }

    fn whole(&mut self) -> Result<Kind, NotAFormula> {
        self.nesting += 1;
        if self.nesting > DEEPEST {
            return self.fail("it is nested too deeply");
        }
        let kind = self.level(0)?;
        let kind = if !self.rest().starts_with("??") && self.eat("?") {
            self.needs(Kind::Truth, kind)?;
            let yes = self.whole()?;
            self.expect(":")?;
            let no = self.whole()?;
            self.needs(yes, no)?;
            self.emit(Op::Choose, 3)?;
            yes
        } else {
            kind
        };
        self.nesting -= 1;
        Ok(kind)
    }

    fn level(&mut self, level: usize) -> Result<Kind, NotAFormula> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        while let Some((_, op)) = operators.iter().find(|(token, _)| self.eat(token)) {
            let right = self.level(level + 1)?;
            left = self.typed(*op, left, right)?;
            self.emit(Op::Binary(*op), 2)?;
        }
        Ok(left)
    }

    fn typed(&self, op: Binary, left: Kind, right: Kind) -> Result<Kind, NotAFormula> {
        match op {
            Binary::And | Binary::Or => {
                self.needs(Kind::Truth, left)?;
                self.needs(Kind::Truth, right)?;
                Ok(Kind::Truth)
            }
            Binary::Else => self.needs(left, right).map(|()| left),
            Binary::Less
            | Binary::AtMost
            | Binary::More
            | Binary::AtLeast
            | Binary::Equal
            | Binary::Differs => {
                self.needs(Kind::Number, left)?;
                self.needs(Kind::Number, right)?;
                Ok(Kind::Truth)
            }
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => {
                self.needs(Kind::Number, left)?;
                self.needs(Kind::Number, right)?;
                Ok(Kind::Number)
            }
        }
    }

    fn unary(&mut self) -> Result<Kind, NotAFormula> {
        self.nesting += 1;
        if self.nesting > DEEPEST {
            return self.fail("it is nested too deeply");
        }
        let kind = if self.eat("-") {
            let kind = self.unary()?;
            self.needs(Kind::Number, kind)?;
            self.emit(Op::Unary(Unary::Minus), 1)?;
            Kind::Number
        } else if !self.rest().starts_with("!=") && self.eat("!") {
            let kind = self.unary()?;
            self.needs(Kind::Truth, kind)?;
            self.emit(Op::Unary(Unary::Not), 1)?;
            Kind::Truth
        } else {
            self.term()?
        };
        self.nesting -= 1;
        Ok(kind)
    }

    fn term(&mut self) -> Result<Kind, NotAFormula> {
        if self.eat("(") {
            let kind = self.whole()?;
            self.expect(")")?;
            return Ok(kind);
        }
        let rest = self.rest();
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        if let Some(digits) = rest.get(..number).filter(|digits| !digits.is_empty()) {
            let Ok(value) = digits.parse::<f64>() else { return self.fail("no number") };
            self.at += number;
            self.emit(Op::Number(value), 0)?;
            return Ok(Kind::Number);
        }
        if self.eat("`") {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(end) = rest.find('`') else { return self.fail("the closing ` is missing") };
            let name = rest.get(..end).unwrap_or_default();
            self.signal(name)?;
            self.at += end + 1;
            return Ok(Kind::Number);
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let function = |f| Some(f);
        let unary = match word {
            "ceil" => function(Unary::Ceil),
            "floor" => function(Unary::Floor),
            "abs" => function(Unary::Abs),
            _ => None,
        };
        let binary = match word {
            "min" => Some(Binary::Min),
            "max" => Some(Binary::Max),
            _ => None,
        };
        match word {
            "" => self.fail("a value is missing"),
            "true" | "false" => {
                self.at += end;
                self.emit(Op::Number(truth(word == "true")), 0)?;
                Ok(Kind::Truth)
            }
            "replicas" | "ready" => {
                self.at += end;
                self.emit(if word == "ready" { Op::Ready } else { Op::Replicas }, 0)?;
                Ok(Kind::Number)
            }
            _ if unary.is_some() || binary.is_some() => {
                self.at += end;
                self.call(unary, binary)
            }
            name => {
                self.signal(name)?;
                self.at += end;
                Ok(Kind::Number)
            }
        }
    }

    fn call(&mut self, unary: Option<Unary>, binary: Option<Binary>) -> Result<Kind, NotAFormula> {
        self.expect("(")?;
        let kind = self.whole()?;
        self.needs(Kind::Number, kind)?;
        if let Some(op) = unary {
            self.emit(Op::Unary(op), 1)?;
        }
        while binary.is_some() && self.eat(",") {
            let kind = self.whole()?;
            self.needs(Kind::Number, kind)?;
            if let Some(op) = binary {
                self.emit(Op::Binary(op), 2)?;
            }
        }
        self.expect(")")?;
        Ok(Kind::Number)
    }

    fn signal(&mut self, name: &str) -> Result<(), NotAFormula> {
        let Ok(name) = name.parse::<SignalName>() else {
            return self.fail(format!("`{name}` names no signal"));
        };
        let index = self.signals.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.signals.push(name);
            self.signals.len() - 1
        });
        self.emit(Op::Signal(index), 0)
    }
}

impl FromStr for Formula {
    type Err = NotAFormula;
    fn from_str(text: &str) -> Result<Self, NotAFormula> {
        let mut reader =
            Reader { text, at: 0, program: Vec::new(), signals: Vec::new(), depth: 0, nesting: 0 };
        if text.len() > LONGEST {
            return reader.fail(format!("it is longer than {LONGEST} characters"));
        }
        let kind = reader.whole()?;
        if !reader.rest().is_empty() {
            return reader.fail("an operator is missing");
        }
        reader.needs(Kind::Number, kind)?;
        Ok(Self { text: text.into(), program: reader.program.into(), signals: reader.signals.into() })
    }
}

impl TryFrom<String> for Formula {
    type Error = NotAFormula;
    fn try_from(text: String) -> Result<Self, NotAFormula> {
        text.parse()
    }
}

impl From<Formula> for String {
    fn from(formula: Formula) -> Self {
        formula.text.as_ref().to_owned()
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for Formula {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Formula".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A formula over signals: + - * /, comparisons, && || !, a ? b : c, a ?? b, min, max, ceil, floor, abs, replicas, ready.",
            "type": "string",
            "maxLength": 1024
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str, signals: &[(&str, f64)]) -> Option<f64> {
        let formula: Formula = text.parse().unwrap_or_else(|why| panic!("{why}"));
        formula.value(5.0, 4.0, |index| {
            let name = formula.signals()[index].as_str();
            signals.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
        })
    }

    #[test]
    fn it_reckons_as_people_read_it() {
        for (text, expected) in [
            ("1 + 2 * 3", Some(7.0)),
            ("(1 + 2) * 3", Some(9.0)),
            ("10 - 3 - 2", Some(5.0)),
            ("-rps / 10", Some(-25.0)),
            ("ceil(rps / 100)", Some(3.0)),
            ("max(1, rps / 100, floor(7.9))", Some(7.0)),
            ("min(replicas, ready) + abs(-1)", Some(5.0)),
            ("rps > 200 && !(ready >= replicas) ? 1 : 2", Some(1.0)),
            ("rps == 250 || false ? 1 : 2", Some(1.0)),
            ("gone ?? rps", Some(250.0)),
            ("gone ?? 0 + 1", Some(1.0)),
            ("gone + 1", None),
            ("rps / 0", None),
            ("(rps / 0) ?? 3", Some(3.0)),
            ("`p-95` * 1000", Some(200.0)),
            ("1000000 * 1000000 * 1000000", Some(1e18)),
        ] {
            assert_eq!(value(text, &[("rps", 250.0), ("p-95", 0.2)]), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_at_load_with_their_place() {
        for (text, at, why) in [
            ("", 1, "a value is missing"),
            ("1 +", 4, "a value is missing"),
            ("1 2", 3, "an operator is missing"),
            ("(1", 3, "`)` is missing"),
            ("rps > 1", 8, "a number is needed, not a truth"),
            ("1 + (rps > 1)", 14, "a number is needed, not a truth"),
            ("1 ? 2 : 3", 4, "a truth is needed, not a number"),
            ("rps > 1 ? 2", 12, "`:` is missing"),
            ("1..2", 1, "no number"),
            ("`a", 2, "the closing ` is missing"),
            ("`9a`", 2, "`9a` names no signal"),
            ("ceil 3", 6, "`(` is missing"),
        ] {
            let error = text.parse::<Formula>().unwrap_err();
            assert_eq!((error.at, error.why.as_str()), (at, why), "{text}");
        }
        assert!("(".repeat(100).parse::<Formula>().is_err());
        assert!("-".repeat(500).parse::<Formula>().is_err());
        assert!("1".repeat(2000).parse::<Formula>().is_err());
    }

    proptest! {
        /// Whatever is written, it is read or refused; whatever is read has a finite value or none.
        #[test]
        fn it_never_fails(text in "[-a-c0-9.+*/<>=!&|?: (),`]{0,60}", a in proptest::option::of(-1e300..1e300_f64)) {
            if let Ok(formula) = text.parse::<Formula>() {
                let value = formula.value(1.0, 1.0, |_| a);
                prop_assert!(value.is_none_or(f64::is_finite));
                prop_assert_eq!(formula.to_string(), text);
            }
        }
    }
}
