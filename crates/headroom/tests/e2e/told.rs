//! Being told: what people must know arrives, whatever happens to the controller or to who is told.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use headroom_testkit::receiver::{HttpReceiver, Request};
use serde_json::Value;

use crate::rig::{Rig, eventually, headroom, policy, stderr, stdout};

/// A receiver with a runtime of its own, for tests that are not async.
pub(crate) struct Receiver(pub(crate) HttpReceiver, tokio::runtime::Runtime);

impl Receiver {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self(runtime.block_on(HttpReceiver::start()), runtime)
    }

    pub(crate) fn until(&self, enough: impl FnMut(&Vec<Request>) -> bool) -> Vec<Request> {
        self.1.block_on(self.0.until(enough))
    }

    /// A policy that tells this receiver everything.
    fn policy(&self, more: &str) -> String {
        let notify = format!(
            "spec:\n  notify:\n    notifiers: {{ hook: {{ webhook: {{ url: \"http://{}\" }} }} }}\n    routes: [{{ to: [hook], severity: info }}]\n{more}",
            self.0.address()
        );
        policy(1, 4).replace("spec:\n", &notify)
    }
}

/// Ids and states of all news of a request.
fn news(request: &Request) -> Vec<(String, String)> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = body["news"].as_array().unwrap().iter();
    all.map(|news| (text(&news["alert"]["id"]), text(&news["state"]))).collect()
}

/// D6: nobody answers, the controller is killed, and still it arrives, under the name it had.
#[test]
fn a_message_outlives_an_outage_and_a_killed_controller() {
    let receiver = Receiver::start();
    receiver.0.answer(503, "");
    let mut rig = Rig::new(&receiver.policy("")).with(&["-v"]);
    rig.start_until_ready(1);
    // From sample to settled the log carries the id of the decision. A replica may be seen to be ready before that is
    // written.
    for part in [
        "decided decision=web-",
        "the target is asked decision=web-",
        "settled: the target took it decision=web-",
    ] {
        eventually(part, || rig.said().contains(part).then_some(()));
    }
    let before = receiver.until(|all| !all.is_empty());
    let (id, state) = news(&before[0]).remove(0);
    assert!(id.starts_with("web-scaled-") && state == "happened", "{id} {state}");
    rig.kill_controller();
    receiver.0.answer(200, "");
    rig.start();
    let seen = before.len();
    let after =
        receiver.until(|all| all.iter().skip(seen).any(|r| news(r).contains(&(id.clone(), state.clone()))));
    let message: Value = serde_json::from_str(&after[0].body).unwrap();
    let link = message["news"][0]["link"].as_str().unwrap();
    assert!(link.contains("/#/d/web-"), "{link}");
    // Delivered is delivered: it is not told again.
    let told = eventually("the delivery is counted", || {
        let metrics = crate::rig::get(&rig.server(), "/metrics").ok()?.1;
        metrics.contains("headroom_notifications_waiting{notifier=\"hook\"} 0").then_some(metrics)
    });
    assert!(told.contains("headroom_notifications_given_up_total{notifier=\"hook\"} 0"), "{told}");
}

/// A source that fails as a whole is named in `status`, `doctor`, the metrics and a message; so is its recovery.
#[test]
fn a_source_that_is_down_is_named_and_its_recovery_too() {
    let receiver = Receiver::start();
    let source = Receiver::start();
    source.0.answer(500, "out of order");
    let sources =
        format!("  sources: {{ depths: {{ http: {{ url: \"http://{}\" }} }} }}\n", source.0.address());
    let signal =
        "      signals:\n        depth: { http: { from: depths, path: $.depth }, unit: count, every: 200ms }";
    let mut rig = Rig::new(&receiver.policy(&sources).replace("      signals:", signal));
    rig.start_until_ready(1);
    let told = |state: &'static str| {
        receiver.until(move |all| {
            let mut news = all.iter().flat_map(news);
            news.any(|(id, s)| id.starts_with("source.depths-source-down-") && s == state)
        })
    };
    told("raised");
    let status = stdout(&rig.ask(&["status"]));
    assert!(
        status.contains("source depths: down") && status.contains("[high] source.depths: source-down"),
        "{status}"
    );
    let doctor = rig.ask(&["doctor"]);
    assert!(!doctor.status.success());
    assert!(stdout(&doctor).contains("`depths` is down since"), "{}", stdout(&doctor));
    let metrics = crate::rig::get(&rig.server(), "/metrics").unwrap().1;
    assert!(metrics.contains("headroom_source_up{source=\"depths\"} 0"), "{metrics}");
    assert!(metrics.contains("headroom_alerts{kind=\"source-down\",severity=\"high\"} 1"), "{metrics}");

    source.0.answer(200, r#"{"depth": 3}"#);
    told("resolved");
    eventually("the recovery is said", || {
        let overview = rig.json(&["status"])?;
        let codes: Vec<_> = overview["notices"].as_array()?.iter().map(|n| n["code"].clone()).collect();
        (codes.contains(&"source-back".into()) && codes.contains(&"source-down".into())).then_some(())
    });
    let doctor = stdout(&rig.ask(&["doctor"]));
    assert!(doctor.contains("`depths` answers"), "{doctor}");
}

/// What is raised about parts that a policy loses while the controller is down does not stay for ever.
#[test]
fn alerts_about_what_went_while_the_controller_was_down_are_resolved() {
    let receiver = Receiver::start();
    let source = Receiver::start();
    source.0.answer(500, "out of order");
    let sources =
        format!("  sources: {{ depths: {{ http: {{ url: \"http://{}\" }} }} }}\n", source.0.address());
    let jobs = format!(
        r#"    jobs:
      target: {{ process: {{ command: ["{}", sample-app, --port, "$PORT"] }} }}
      replicas: {{ min: 1, max: 1 }}
      signals:
        backlog: {{ push: {{ unit: count }}, freshFor: 10m }}
        depth: {{ http: {{ from: depths, path: $.depth }}, unit: count, every: 200ms }}
      strategies: [{{ targetTracking: {{ signal: backlog, perReplica: 1 }} }}]
"#,
        headroom()
    );
    let soon = |policy: String| policy.replace("    routes:", "    alerts: { hold: 1s }\n    routes:");
    let mut rig = Rig::new(&soon(receiver.policy(&sources) + &jobs));
    rig.start_until_ready(1);
    let pushed = rig.ask(&["push", "jobs", "backlog", "9"]);
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let kinds = ["jobs-at-maximum-", "source.depths-source-down-"];
    let told = |state: &'static str| {
        receiver.until(move |all| {
            kinds
                .iter()
                .all(|kind| all.iter().flat_map(news).any(|(id, told)| id.starts_with(kind) && told == state))
        })
    };
    told("raised");
    rig.kill_controller();
    std::fs::write(rig.file(), soon(receiver.policy(""))).unwrap();
    rig.start();
    told("resolved");
    let left = |rig: &Rig| -> Vec<String> {
        let status = rig.json(&["status"]).unwrap();
        let ids = status["alerts"].as_array().unwrap().iter().map(|alert| alert["id"].to_string());
        ids.filter(|id| kinds.iter().any(|kind| id.contains(kind))).collect()
    };
    assert_eq!(left(&rig), Vec::<String>::new());
    // That they are over is written down: the next start tells nothing of them.
    rig.stop();
    let seen = receiver.until(|_| true).len();
    std::fs::write(rig.file(), soon(receiver.policy("")).replace("min: 1", "min: 2")).unwrap();
    rig.start();
    assert_eq!(left(&rig), Vec::<String>::new());
    let all = receiver
        .until(|all| all.iter().skip(seen).flat_map(news).any(|(id, _)| id.starts_with("web-scaled-")));
    let again = all.iter().skip(seen).flat_map(news);
    let again: Vec<_> = again.filter(|(id, _)| kinds.iter().any(|kind| id.starts_with(kind))).collect();
    assert_eq!(again, []);
}

#[test]
fn top_needs_a_terminal_and_says_what_needs_none() {
    let output = crate::rig::alone(&["top"], std::path::Path::new("/"));
    assert_eq!(output.status.code(), Some(64));
    assert!(crate::rig::stderr(&output).contains("headroom status -o json"));
}
