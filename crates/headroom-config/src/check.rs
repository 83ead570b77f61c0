//! From text to a checked fleet, with everything that is wrong reported at once.
//!
//! Three steps, each working on what the one before left usable: the tree (is it YAML), the walk (has it the
//! format's shape), and the types with the core's own checks (does it make sense). A mistake in one place must not
//! hide those in another, so a value that is missing or wrong is replaced by something valid of its kind; and it must
//! not invent any either, so a check that may depend on such a value says nothing.

use std::ops::Range;

use headroom_core::fleet::{Fleet, FleetDocument, Problem};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::diagnostic::{Finding, MAX_DIAGNOSTICS, Severity};
use crate::rules::Rules;
use crate::say::{brief, list, nearest};
use crate::tree::{Loss, Node};
use crate::walk::{Fate, walk};

/// What a text turned out to be: the fleet, unless there is an error among the findings.
pub(crate) struct Checked {
    pub(crate) fleet: Option<Fleet>,
    pub(crate) findings: Vec<Finding>,
}

/// Reads and checks `text`.
pub(crate) fn check(text: &str) -> Checked {
    let mut findings = Vec::new();
    let mut root = match crate::tree::read(text, &mut findings) {
        Ok(root) => root,
        Err(finding) => {
            findings.push(finding);
            return Checked { fleet: None, findings };
        }
    };
    let schema = crate::schema::schema();
    let rules = Rules::new(&schema);
    if walk(&mut root, rules, &mut findings) == Fate::Lost {
        return Checked { fleet: None, findings };
    }
    let Some(document) = typed::<FleetDocument>(&mut root, rules, &mut findings) else {
        return Checked { fleet: None, findings };
    };
    match Fleet::new(document) {
        Ok(fleet) => Checked { fleet: Some(fleet), findings },
        Err(problems) => {
            add_problems(&root, problems, rules, &mut findings);
            Checked { fleet: None, findings }
        }
    }
}

/// The document as a `T`. What a type refuses is reported and left out, until the rest can be read or so much is
/// wrong that nobody reads on.
fn typed<T: DeserializeOwned>(root: &mut Node, rules: Rules<'_>, findings: &mut Vec<Finding>) -> Option<T> {
    // Each round takes a value out; one mistake takes at most as many rounds as its path is long (under 16).
    for _ in 0..16 * MAX_DIAGNOSTICS {
        let error = match serde_path_to_error::deserialize(root.to_json()) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let mut parts = Vec::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => parts.push(index.to_string()),
                Segment::Map { key } => parts.push(key.clone()),
                Segment::Enum { variant } => parts.push(variant.clone()),
                Segment::Unknown => break,
            }
        }
        let found = root.follow(&parts);
        parts.truncate(found.path.len());
        let is_consequence =
            root.losses().iter().any(|loss| loss.parent.starts_with(&parts) || loss.contains(&parts));
        if !is_consequence {
            let message = own_words(&error.inner().to_string(), parts.last());
            let finding = Finding::new(message).at(found.spot).path(&found.path);
            findings.push(match rules.about(&parts) {
                Some(about) => finding.help(about),
                None => finding,
            });
        }
        if findings.len() >= MAX_DIAGNOSTICS || !root.replace(&parts, rules.replacement_at(&parts)) {
            return None;
        }
    }
    None
}

/// A type's message, cut to size, and with its subject if it names none: those of other people's types don't.
fn own_words(message: &str, key: Option<&String>) -> String {
    /// Longer than any message of ours with a name in it; they quote what they refuse, which may be a megabyte.
    const LONGEST: usize = 300;
    let mut short: String = message.chars().take(LONGEST).collect();
    if message.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    match key {
        Some(key) if !short.contains(['"', '`']) => format!("`{}`: {short}", brief(key)),
        Some(_) | None => short,
    }
}

fn add_problems(root: &Node, problems: Vec<Problem>, rules: Rules<'_>, findings: &mut Vec<Finding>) {
    // The document's own settings (its version, its kind) say nothing of what is in it.
    let losses: Vec<Loss> = root.losses().into_iter().filter(|loss| !loss.parent.is_empty()).collect();
    let also = if losses.is_empty() { None } else { second_look(root, rules) };
    for problem in problems {
        let is_certain = match &also {
            Some(also) => also.contains(&problem),
            // Without a second look, whatever a loss may bear on is in doubt.
            None => !losses.iter().any(|l| l.is_setting && problem.path.parts().starts_with(&l.parent)),
        };
        if is_certain && !losses.iter().any(|loss| may_follow_from(&problem, loss)) {
            let found = root.follow(problem.path.parts());
            findings.push(from_problem(&problem, &found.rest, found.spot, &found.path));
        }
    }
}

/// The problems there would be with other values in the place of those that are missing or wrong.
fn second_look(root: &Node, rules: Rules<'_>) -> Option<Vec<Problem>> {
    let mut other = root.clone();
    other.take_alternatives();
    let document = typed::<FleetDocument>(&mut other, rules, &mut Vec::new())?;
    Some(Fleet::new(document).err().unwrap_or_default())
}

/// Whether `problem` may be there only because a value was lost.
fn may_follow_from(problem: &Problem, loss: &Loss) -> bool {
    let path = problem.path.parts();
    // It is about something that contains the loss, or about what the lost value itself would say,
    loss.parent.starts_with(path)
        || loss.contains(path)
        // or about another setting beside it,
        || (loss.is_setting && path.starts_with(&loss.parent) && path.len() == loss.parent.len() + 1)
        // or it misses the very name that was lost.
        || problem.unknown.as_ref().is_some_and(|u| loss.name.as_deref() == Some(u.written.as_str()))
}

fn from_problem(problem: &Problem, rest: &[String], spot: Range<usize>, path: &[String]) -> Finding {
    let parts = problem.path.parts();
    let mut finding = Finding::new(with_subject(&problem.what, parts.last())).at(spot).path(path);
    let mut help = Vec::new();
    if let Some(unknown) = &problem.unknown {
        let known = || unknown.known.iter().map(String::as_str);
        if let Some(meant) = nearest(&unknown.written, known()) {
            finding = finding.suggest(format!("did you mean `{meant}`?"));
        }
        help.push(if unknown.known.is_empty() {
            "there is none yet".to_owned()
        } else {
            format!("there {} {}", if unknown.known.len() == 1 { "is" } else { "are" }, list(known(), "and"))
        });
    }
    help.extend(problem.help.clone());
    if !rest.is_empty() {
        help.push(format!("`{}` is not written here, so its default counts", brief(&rest.join("."))));
    }
    if !help.is_empty() {
        finding = finding.help(help.join("; "));
    }
    finding
}

/// A message that lacks its subject gets the key as one: "must be above 0" is "`target` must be above 0".
fn with_subject(what: &str, key: Option<&String>) -> String {
    const VERBS: [&str; 7] = ["is", "must", "has", "needs", "can't", "lies", "names"];
    let first = what.split(' ').next().unwrap_or_default();
    match key {
        Some(key) if VERBS.contains(&first) => format!("`{}` {what}", brief(key)),
        Some(_) | None => what.to_owned(),
    }
}

/// Whether any finding forbids to use the file.
pub(crate) fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: { name: shop }
spec:
  workloads:
    web:
      target: { process: { command: [./web], health: { startGrace: 60s }, maxLifetime: 90s } }
      balancer: { listen: 127.0.0.1:8080 }
      replicas: { min: 2, max: 4 }
      signals: { rps: { balancer: requestsPerSecond }, cpu: { process: cpu } }
      strategies:
        - targetTracking: { signal: rps, perReplica: 100 }
        - threshold: { signal: cpu, above: 70%, below: 30%, target: 60% }
";

    fn messages(text: &str) -> Vec<String> {
        check(text).findings.into_iter().map(|finding| finding.message).collect()
    }

    /// Each row makes one mistake on which other checks hang: only that mistake is reported.
    #[test]
    fn one_mistake_is_reported_once() {
        assert_eq!(messages(GOOD), Vec::<String>::new());
        for (right, wrong, message) in [
            ("127.0.0.1:8080", "nowhere", "`listen`: invalid socket address syntax"),
            ("{ listen: 127.0.0.1:8080 }", "8080", "a group of settings is needed here, not the number 8080"),
            ("balancer: { listen", "balencer: { listen", "there is no setting `balencer` here"),
            ("perReplica:", "perReplcia:", "there is no setting `perReplcia` here"),
            ("perReplica: 100", "perReplica: lots", "\"lots\" is not a quantity"),
            ("rps: { balancer", "rps: { balanser", "there is no setting `balanser` here"),
            (
                "rps: { balancer: requestsPerSecond }",
                "rps: 5",
                "a group of settings is needed here, not the number 5",
            ),
            ("rps: { balancer: requestsPerSecond }", "rps: {}", "a signal is read from exactly one source"),
            ("above: 70%", "above: seventy", "\"seventy\" is not a quantity"),
            ("below: 30%", "below: thirty", "\"thirty\" is not a quantity"),
            ("target: 60%", "target: [60%]", "a number with its unit is needed here"),
            ("max: 4", "max: four", "a number of replicas is needed here"),
            (", max: 4", "", "`max` is missing"),
            ("startGrace: 60s", "startGrace: soon", "\"soon\" is not a length of time"),
            ("[./web]", "./web", "a list is needed here"),
            ("target: { process", "target: { docker", "`docker` can't stand here"),
            ("name: shop", "name: [shop]", "text is needed here, not a list"),
        ] {
            let text = GOOD.replacen(right, wrong, 1);
            assert_ne!(text, GOOD, "{right}");
            let found = messages(&text);
            assert!(found.len() == 1 && found[0].starts_with(message), "{wrong}: {found:#?}");
        }
    }

    /// A mistake that has nothing to do with another one in the same workload is reported beside it.
    #[test]
    fn a_mistake_hides_no_other() {
        let wrong = GOOD.replacen("min: 2", "min: 5", 1);
        for (right, other) in [
            ("127.0.0.1:8080", "nowhere"),
            ("[./web]", "./web"),
            ("perReplica: 100", "perReplica: lots"),
            ("process: cpu", "process: cpuu"),
            ("kind: Fleet", "kind: Flock"),
            ("name: shop", "nam: [shop]"),
        ] {
            let found = messages(&wrong.replacen(right, other, 1));
            let at_once =
                found.len() >= 2 && found.contains(&"the least, 5, is above the most, 4".to_owned());
            assert!(at_once, "{other}: {found:#?}");
        }
    }
}
