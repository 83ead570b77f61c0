//! Who is told what: notifiers, routes, and when an alert is raised.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::check_url;
use super::{Auth, BasicAuth, HttpServer, Path, Problem, SecretRef};
use crate::alert::{AlertKind, Severity};
use crate::calendar::{Hours, Zone};
use crate::names::{SignalName, WorkloadName};
use crate::units::{Level, Quantity, Span, Timestamp, Unit};

/// The name of a notifier: the same alphabet as a signal's.
pub type NotifierName = SignalName;

/// Who is told what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Notify {
    /// Where people reach the page, `https://headroom.example`; messages link to decisions there. By default they
    /// link to the address that the API listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Who can be told, by name.
    pub notifiers: BTreeMap<NotifierName, NotifierSettings>,
    /// Who is told what. A message goes to every route that it fits.
    pub routes: Vec<Route>,
    /// When an alert is raised.
    #[serde(skip_serializing_if = "AlertSettings::is_default")]
    pub alerts: AlertSettings,
}

/// A way to tell people or programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum NotifierSettings {
    /// A channel in Slack.
    Slack(SlackSettings),
    /// A program that takes JSON, signed.
    Webhook(WebhookSettings),
    /// Prometheus's Alertmanager (API v2).
    Alertmanager(HttpServer),
    /// Mail by SMTP.
    Email(EmailSettings),
    /// `PagerDuty` (Events API v2).
    Pagerduty(PagerdutySettings),
}

/// A channel in Slack: an incoming webhook, or a bot, whose follow-ups stand in the thread of the first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum SlackSettings {
    /// The address of an incoming webhook; it is a secret.
    Webhook(SecretRef),
    /// A bot that may write in the channel.
    Bot(SlackBot),
}

/// A bot in Slack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SlackBot {
    /// Its token, `xoxb-…`, with the right `chat:write`.
    pub token: SecretRef,
    /// The channel's id or name.
    pub channel: String,
    /// Where Slack's API is; by default `https://slack.com`.
    #[serde(default = "slack_url")]
    pub url: String,
}

fn slack_url() -> String {
    "https://slack.com".to_owned()
}

/// A program that takes JSON by `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookSettings {
    /// `http://` or `https://`, host, port and path.
    pub url: String,
    /// The key of the signature in `X-Headroom-Signature`. Unsigned without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    /// Credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// Mail by SMTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EmailSettings {
    /// The server, `host:port`.
    pub server: String,
    /// How the connection is kept secret.
    #[serde(default)]
    pub tls: MailTls,
    /// A user and a password, where the server asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<BasicAuth>,
    /// Who writes, `headroom <headroom@example.com>`.
    pub from: String,
    /// Who is written to.
    pub to: Vec<String>,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// How a connection to a mail server is kept secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MailTls {
    /// TLS is asked for after the greeting (as a rule at port 587); without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte (as a rule at port 465).
    Implicit,
    /// No TLS: for a relay on this machine. Passwords are refused.
    None,
}

/// A service of `PagerDuty`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PagerdutySettings {
    /// The integration key of the service.
    pub key: SecretRef,
    /// Where the Events API is; by default `https://events.pagerduty.com`.
    #[serde(default = "pagerduty_url")]
    pub url: String,
}

fn pagerduty_url() -> String {
    "https://events.pagerduty.com".to_owned()
}

/// Who is told what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Route {
    /// The notifiers.
    pub to: Vec<NotifierName>,
    /// The least severity that is told. `info` tells of every change of a count, too.
    #[serde(default = "medium")]
    pub severity: Severity,
    /// Of these workloads only; without any, of all. What is about no workload (a source, the journal) fits every route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadName>,
    /// Of these kinds only, whatever their severity; without any, of all that are severe enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<AlertKind>,
    /// How long a message waits for others that go with it; by default it does not.
    #[serde(default = "nothing")]
    pub group: Span,
    /// How often an alert that is still raised is told again.
    #[serde(default = "four_hours")]
    pub repeat: Span,
    /// Whether it is told when an alert is over.
    #[serde(default = "yes")]
    pub recovery: bool,
    /// Hours in which only what is `high` is told; the rest waits for their end, and what is over by then is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietTime>,
}

fn medium() -> Severity {
    Severity::Medium
}

fn nothing() -> Span {
    Span::ZERO
}

fn four_hours() -> Span {
    Span::hours(4)
}

fn yes() -> bool {
    true
}

/// Hours on the clocks of a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QuietTime {
    /// The time zone of the hours.
    #[serde(default)]
    pub time_zone: Zone,
    /// Which hours.
    pub hours: Vec<Hours>,
}

impl QuietTime {
    /// When the quiet that holds at `at` ends; `None` where it does not hold.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let (minutes, weekday) = self.time_zone.clock(at);
        self.hours.iter().find(|hours| hours.hold(minutes, weekday)).map(|hours| hours.end(at, minutes))
    }
}

/// When an alert is raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AlertSettings {
    /// The use of cpu above which `cpuHigh` is raised (B15: 90%).
    pub cpu_above: Quantity,
    /// How long a condition must hold before it is told of, and be gone before it is over. Failures of actions, the
    /// breaker and changes that wait for a person are told of at once.
    pub hold: Span,
    /// How long ready replicas may stay too few without one more becoming ready before `stuck` is raised; three times
    /// the measured start-up time counts where that is longer.
    pub stuck_after: Span,
    /// Turns within an hour (growing after shrinking, or the other way round) at which `flapping` is raised.
    pub flapping_at: u32,
    /// `idleResources` is raised where, at `replicas.min`, less than this share of what those replicas carry was needed
    /// for `idleAfter` (B15). 0% turns it off.
    pub idle_below: Quantity,
    /// See `idleBelow`. A day holds every hour of it: what is idle at night may be needed at noon.
    pub idle_after: Span,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            cpu_above: Quantity::ratio(Level::new(0.9).unwrap_or(Level::ZERO)),
            hold: Span::seconds(60),
            stuck_after: Span::minutes(5),
            flapping_at: 6,
            idle_below: Quantity::ratio(Level::new(0.2).unwrap_or(Level::ZERO)),
            idle_after: Span::hours(24),
        }
    }
}

impl AlertSettings {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Notify {
    pub(super) fn check(
        &self,
        at: &Path,
        workloads: &BTreeMap<WorkloadName, super::Workload>,
        problems: &mut Vec<Problem>,
    ) {
        if let Some(link) = &self.link {
            check_url(link, &at.key("link"), problems);
        }
        for (name, notifier) in &self.notifiers {
            notifier.check(&at.key("notifiers").key(name.as_str()), problems);
        }
        for (index, route) in self.routes.iter().enumerate() {
            route.check(&at.key("routes").index(index), self, workloads, problems);
        }
        let alerts = at.key("alerts");
        if !self.alerts.cpu_above.fits(Unit::Ratio) {
            problems
                .push(Problem::new(alerts.key("cpuAbove"), "must be a share").help("write it as 90% or 0.9"));
        }
        if !self.alerts.idle_below.fits(Unit::Ratio) {
            problems.push(
                Problem::new(alerts.key("idleBelow"), "must be a share").help("write it as 20% or 0.2"),
            );
        }
        if self.alerts.flapping_at == 0 {
            problems.push(Problem::new(alerts.key("flappingAt"), "must be at least 1"));
        }
    }
}

impl Route {
    fn check(
        &self,
        at: &Path,
        notify: &Notify,
        workloads: &BTreeMap<WorkloadName, super::Workload>,
        problems: &mut Vec<Problem>,
    ) {
        if self.to.is_empty() {
            problems
                .push(Problem::new(at.key("to"), "names nobody").help("name one of spec.notify.notifiers"));
        }
        for (index, name) in self.to.iter().enumerate() {
            if !notify.notifiers.contains_key(name) {
                let known = notify.notifiers.keys().map(|n| n.as_str().to_owned());
                problems.push(
                    Problem::new(at.key("to").index(index), format!("no notifier called `{name}`"))
                        .candidates(name.as_str(), known),
                );
            }
        }
        for (index, name) in self.workloads.iter().enumerate() {
            if !workloads.contains_key(name) {
                let known = workloads.keys().map(|n| n.as_str().to_owned());
                problems.push(
                    Problem::new(at.key("workloads").index(index), format!("no workload called `{name}`"))
                        .candidates(name.as_str(), known),
                );
            }
        }
        if self.repeat < SHORTEST_REPEAT {
            problems.push(Problem::new(
                at.key("repeat"),
                format!("nobody is told the same more often than every {SHORTEST_REPEAT}"),
            ));
        }
        if self.group > LONGEST_GROUP {
            problems.push(Problem::new(at.key("group"), format!("news waits {LONGEST_GROUP} at the most")));
        }
    }
}

/// The shortest pause between two messages that say the same.
const SHORTEST_REPEAT: Span = Span::minutes(1);
/// The longest a message waits for company: an alert is news.
const LONGEST_GROUP: Span = Span::minutes(10);

impl NotifierSettings {
    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        match self {
            Self::Slack(SlackSettings::Webhook(_)) => {}
            Self::Slack(SlackSettings::Bot(bot)) => {
                check_url(&bot.url, &at.key("slack").key("bot").key("url"), problems);
            }
            Self::Webhook(hook) => check_url(&hook.url, &at.key("webhook").key("url"), problems),
            Self::Alertmanager(server) => {
                check_url(&server.url, &at.key("alertmanager").key("url"), problems);
            }
            Self::Pagerduty(service) => check_url(&service.url, &at.key("pagerduty").key("url"), problems),
            Self::Email(mail) => mail.check(&at.key("email"), problems),
        }
    }

    /// The word for it in a policy.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Webhook(_) => "webhook",
            Self::Alertmanager(_) => "alertmanager",
            Self::Email(_) => "email",
            Self::Pagerduty(_) => "pagerduty",
        }
    }
}

impl EmailSettings {
    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        let port = self.server.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
        if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
            problems.push(Problem::new(at.key("server"), "is no address").help("write it as host:port"));
        }
        if self.to.is_empty() {
            problems.push(Problem::new(at.key("to"), "names nobody"));
        }
        let addresses = self.to.iter().enumerate().map(|(index, to)| (at.key("to").index(index), to));
        for (at, address) in addresses.chain([(at.key("from"), &self.from)]) {
            if !address.contains('@') {
                problems.push(Problem::new(at, format!("{address:?} is no mail address")));
            }
        }
        if self.tls == MailTls::None && self.auth.is_some() {
            problems.push(
                Problem::new(at.key("tls"), "a password must not be sent without TLS")
                    .help("write `tls: startTls` or `tls: implicit`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Where the problems of a `notify` are.
    fn wrong(notify: &Value) -> Vec<String> {
        let notify: Notify = serde_json::from_value(notify.clone()).unwrap();
        let mut problems = Vec::new();
        notify.check(&Path::root(), &BTreeMap::new(), &mut problems);
        problems.iter().map(|problem| problem.path.to_string()).collect()
    }

    fn mail(more: &Value) -> Value {
        let mut mail = json!({ "server": "smtp.example:587", "from": "a@example", "to": ["b@example"] });
        mail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "notifiers": { "mail": { "email": mail } } })
    }

    #[test]
    fn a_password_is_not_sent_without_tls() {
        let auth = json!({ "auth": { "user": "me", "password": { "env": "X" } } });
        assert!(wrong(&mail(&auth)).is_empty());
        let mut plain = auth;
        plain["tls"] = "none".into();
        assert_eq!(wrong(&mail(&plain)), ["notifiers.mail.email.tls"]);
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        assert_eq!(wrong(&mail(&json!({ "server": "smtp.example", "to": [] }))).len(), 2);
        let route = |route: Value| json!({ "notifiers": {}, "routes": [route] });
        assert_eq!(wrong(&route(json!({ "to": [] }))), ["routes.0.to"]);
        assert_eq!(wrong(&route(json!({ "to": ["ops"] }))), ["routes.0.to.0"]);
        let two = wrong(&route(json!({ "to": ["ops"], "workloads": ["web"], "repeat": "1s" })));
        assert_eq!(two, ["routes.0.to.0", "routes.0.workloads.0", "routes.0.repeat"]);
        assert_eq!(wrong(&json!({ "link": "https://me:secret@page" })), ["link"]);
    }
}
