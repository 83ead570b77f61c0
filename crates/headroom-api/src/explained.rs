//! Decisions with their explanation, as the API hands them out.
//!
//! The sentences are those of [`headroom_core::say`], so the page, the command line and reports say the same. Beside
//! the finished lines stands the chain of single steps, for those who draw it.

use headroom_core::decision::{Advice, Decision};
use headroom_core::names::WorkloadName;
use headroom_core::say::{self, Language};
use headroom_core::units::{Replicas, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// One decision in words.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    /// What was decided and the reason that decided, in one sentence.
    pub(crate) headline: String,
    /// What each strategy said, one line each.
    recommendations: Vec<String>,
    /// What it reckons with beside the signals: what one replica carries, the warm pool; one line each.
    known: Vec<String>,
    /// How the number moved, one line each.
    steps: Vec<String>,
    /// Until when it stays so by itself, where that is known.
    pub(crate) until: Option<Timestamp>,
    /// The same in parts: what the strategies said, then every move, then the refusal.
    pub(crate) chain: Vec<Link>,
}

/// One link of the chain that led to a decision.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    /// What kind of link.
    pub(crate) kind: LinkKind,
    /// Who spoke: a strategy or a guard, in words.
    pub(crate) who: String,
    /// The stable code of the reason.
    pub(crate) code: &'static str,
    /// The number before, where one was moved or refused.
    pub(crate) from: Option<Replicas>,
    /// The number after, or the one that was wanted.
    pub(crate) to: Option<Replicas>,
    /// The reason, in words.
    pub(crate) text: String,
}

/// What a link of the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LinkKind {
    /// A strategy wants a number.
    Wants,
    /// A strategy lifts what the others want.
    Floor,
    /// A strategy lowers what the others want.
    Ceiling,
    /// A strategy is content, also with as few as this.
    Content,
    /// A strategy can't say.
    Abstains,
    /// The number was moved.
    Moved,
    /// The whole change was refused.
    Refused,
}

/// Something together with the explanation of its decision.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained<T> {
    /// What is explained.
    #[serde(flatten)]
    pub(crate) of: T,
    /// The explanation of its latest decision, once there is one.
    pub(crate) explanation: Option<Explanation>,
}

/// A decision and its explanation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedDecision {
    /// The decision.
    pub(crate) decision: Decision,
    /// In words.
    pub(crate) explanation: Explanation,
}

impl ExplainedDecision {
    /// Explains `decision`.
    pub(crate) fn new(decision: Decision, language: Language) -> Self {
        Self { explanation: explain(&decision, language), decision }
    }
}

/// Explains one decision.
pub(crate) fn explain(decision: &Decision, language: Language) -> Explanation {
    let said = say::explain(decision, language);
    let advice = decision.recommendations.iter().map(|r| {
        let (kind, to) = match &r.advice {
            Advice::Wants { replicas, .. } => (LinkKind::Wants, Some(*replicas)),
            Advice::Floor { replicas, .. } => (LinkKind::Floor, Some(*replicas)),
            Advice::Ceiling { replicas, .. } => (LinkKind::Ceiling, Some(*replicas)),
            Advice::Content { replicas, .. } => (LinkKind::Content, Some(*replicas)),
            Advice::Abstains { .. } => (LinkKind::Abstains, None),
        };
        let why = r.advice.why();
        Link { kind, who: r.label(), code: why.code(), from: None, to, text: say::sentence(why, language) }
    });
    let moves = decision.steps.iter().map(|step| Link {
        kind: LinkKind::Moved,
        who: say::by(step.by, language).to_owned(),
        code: step.why.code(),
        from: Some(step.from),
        to: Some(step.to),
        text: say::sentence(&step.why, language),
    });
    let refusal = decision.refusal.iter().map(|refusal| Link {
        kind: LinkKind::Refused,
        who: say::by(refusal.by, language).to_owned(),
        code: refusal.why.code(),
        from: Some(decision.from),
        to: Some(refusal.wanted),
        text: say::sentence(&refusal.why, language),
    });
    Explanation {
        headline: said.headline,
        recommendations: said.recommendations,
        known: said.known,
        steps: said.steps,
        until: said.until,
        chain: advice.chain(moves).chain(refusal).collect(),
    }
}

/// The explanations of a plan, by workload.
pub(crate) type Explanations = std::collections::BTreeMap<WorkloadName, Explanation>;
