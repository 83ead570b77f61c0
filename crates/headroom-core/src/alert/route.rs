//! Who is told of which news, and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alert, AlertNews, Severity, State};
use crate::fleet::{NotifierName, NotifierSettings, Notify, Route};
use crate::units::{Span, Timestamp};

/// An Alertmanager takes an alert for over that it is not told of again (after 5 min unless it is set up otherwise).
const ALERTMANAGER_REPEAT: Span = Span::minutes(1);

/// One message to one notifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// To whom.
    pub to: NotifierName,
    /// When at the earliest.
    pub due: Timestamp,
    /// Whether it waits for the end of quiet hours: what is over by then is not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// What.
    pub news: AlertNews,
}

impl Delivery {
    /// What tells it from every other.
    #[must_use]
    pub fn key(&self) -> String {
        let AlertNews { at, state, alert } = &self.news;
        format!("{}/{}/{}/{}", self.to, alert.id, state.word(), at.as_millis())
    }
}

/// Who was told when of what is still raised. Bounded by the raised alerts times the notifiers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    told: BTreeMap<(String, NotifierName), Timestamp>,
}

impl Routes {
    /// The messages that news makes: one for each notifier that a route leads to.
    pub fn route(&mut self, notify: &Notify, news: &AlertNews) -> Vec<Delivery> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        for route in &notify.routes {
            if !fits(route, &news.alert) || (news.state == State::Resolved && !route.recovery) {
                continue;
            }
            for to in &route.to {
                if deliveries.iter().any(|delivery| delivery.to == *to) {
                    continue;
                }
                self.told.insert((news.alert.id.clone(), to.clone()), news.at);
                deliveries.push(delivery(route, to, news.clone()));
            }
        }
        if news.state != State::Raised {
            self.told.retain(|(id, _), _| *id != news.alert.id);
        }
        deliveries
    }

    /// The messages that what is still raised makes at `at`.
    pub fn repeats<'a>(
        &mut self,
        notify: &Notify,
        raised: impl Iterator<Item = &'a Alert>,
        at: Timestamp,
    ) -> Vec<Delivery> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        for alert in raised {
            for route in notify.routes.iter().filter(|route| fits(route, alert)) {
                for to in &route.to {
                    // After a restart the pause begins anew.
                    let told = self.told.entry((alert.id.clone(), to.clone())).or_insert(at);
                    if at.since(*told) < pause(notify, route, to) {
                        continue;
                    }
                    *told = at;
                    let news = AlertNews { at, state: State::Still, alert: alert.clone() };
                    deliveries.push(delivery(route, to, news));
                }
            }
        }
        deliveries
    }
}

fn fits(route: &Route, alert: &Alert) -> bool {
    let kind = match route.kinds.as_slice() {
        [] => alert.severity >= route.severity,
        kinds => kinds.contains(&alert.kind),
    };
    let workload = alert.subject.workload();
    kind && (route.workloads.is_empty() || workload.is_none_or(|name| route.workloads.contains(name)))
}

fn pause(notify: &Notify, route: &Route, to: &NotifierName) -> Span {
    match notify.notifiers.get(to) {
        Some(NotifierSettings::Alertmanager(_)) => ALERTMANAGER_REPEAT,
        Some(
            NotifierSettings::Slack(_)
            | NotifierSettings::Webhook(_)
            | NotifierSettings::Email(_)
            | NotifierSettings::Pagerduty(_),
        )
        | None => route.repeat,
    }
}

fn delivery(route: &Route, to: &NotifierName, news: AlertNews) -> Delivery {
    let waits =
        (news.alert.severity < Severity::High).then(|| route.quiet_hours.as_ref()?.until(news.at)).flatten();
    let due = waits.unwrap_or_else(|| news.at.plus(route.group));
    Delivery { to: to.clone(), due, quiet: waits.is_some(), news }
}

#[cfg(test)]
mod tests {
    use super::super::{AlertKind, Facts, Subject};
    use super::*;

    fn notify(routes: &str) -> Notify {
        let json = format!(
            r#"{{"notifiers": {{"ops": {{"slack": {{"webhook": {{"env": "URL"}}}}}}, "am": {{"alertmanager": {{"url": "http://a"}}}}}},
                "routes": [{routes}]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn news(kind: AlertKind, state: State, seconds: i64) -> AlertNews {
        let subject = Subject::Workload("web".parse().unwrap());
        let alert = Alert::new(
            kind,
            subject,
            Timestamp::from_millis(0),
            Facts::only(crate::alert::Why::Said("because".to_owned())),
        );
        AlertNews { at: Timestamp::from_millis(seconds * 1000), state, alert }
    }

    fn to(deliveries: &[Delivery]) -> Vec<&str> {
        deliveries.iter().map(|d| d.to.as_str()).collect()
    }

    #[test]
    fn a_route_takes_what_is_severe_enough_or_named() {
        let raised = |kind| news(kind, State::Raised, 0);
        for (route, told) in [
            (r#"{"to": ["ops"]}"#, [false, true, true]),
            (r#"{"to": ["ops"], "severity": "info"}"#, [true, true, true]),
            (r#"{"to": ["ops"], "kinds": ["scaled"]}"#, [true, false, false]),
            (r#"{"to": ["ops"], "severity": "high", "workloads": ["web"]}"#, [false, false, true]),
            (r#"{"to": ["ops"], "severity": "info", "workloads": ["api"]}"#, [false, false, false]),
        ] {
            let notify = notify(route);
            let kinds = [AlertKind::Scaled, AlertKind::AtMaximum, AlertKind::CpuHigh];
            let got = kinds.map(|kind| !Routes::default().route(&notify, &raised(kind)).is_empty());
            assert_eq!(got, told, "{route}");
        }
    }

    #[test]
    fn a_notifier_of_two_routes_is_told_once() {
        let notify = notify(r#"{"to": ["ops", "am"]}, {"to": ["ops"], "recovery": false}"#);
        let raised = news(AlertKind::CpuHigh, State::Raised, 0);
        assert_eq!(to(&Routes::default().route(&notify, &raised)), ["ops", "am"]);
    }

    #[test]
    fn recovery_is_told_unless_it_is_not_wanted() {
        let over = news(AlertKind::CpuHigh, State::Resolved, 9);
        let with = notify(r#"{"to": ["ops"]}"#);
        let without = notify(r#"{"to": ["ops"], "recovery": false}"#);
        assert_eq!(Routes::default().route(&with, &over).len(), 1);
        assert_eq!(Routes::default().route(&without, &over).len(), 0);
    }

    #[test]
    fn what_is_still_raised_is_told_again_until_it_is_over() {
        let notify = notify(r#"{"to": ["ops", "am"], "repeat": "10m"}"#);
        let raised = news(AlertKind::CpuHigh, State::Raised, 0);
        let mut routes = Routes::default();
        routes.route(&notify, &raised);
        let mut again = Vec::new();
        for second in 1..=1200 {
            let at = Timestamp::from_millis(second * 1000);
            for delivery in routes.repeats(&notify, [&raised.alert].into_iter(), at) {
                assert_eq!(delivery.news.state, State::Still);
                again.push((delivery.to.to_string(), second));
            }
        }
        let of = |name: &str| again.iter().filter(|(to, _)| to == name).map(|(_, s)| *s).collect::<Vec<_>>();
        assert_eq!(of("ops"), [600, 1200]);
        assert_eq!(of("am").len(), 20, "an Alertmanager forgets what it is not told of");
        routes.route(&notify, &news(AlertKind::CpuHigh, State::Resolved, 1300));
        assert!(routes.told.is_empty());
    }

    #[test]
    fn quiet_hours_hold_back_all_but_what_is_high() {
        let quiet =
            r#"{"to": ["ops"], "group": "10s", "quietHours": {"hours": [{"from": "00:00", "to": "06:00"}]}}"#;
        let notify = notify(quiet);
        let due = |kind, seconds| {
            let deliveries = Routes::default().route(&notify, &news(kind, State::Raised, seconds));
            (deliveries[0].due.as_millis() / 1000, deliveries[0].quiet)
        };
        assert_eq!(due(AlertKind::AtMaximum, 3600), (6 * 3600, true));
        assert_eq!(due(AlertKind::CpuHigh, 3600), (3610, false));
        assert_eq!(due(AlertKind::AtMaximum, 7 * 3600), (7 * 3600 + 10, false));
    }
}
