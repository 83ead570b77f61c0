//! What the tests share: pages as policies, and news to tell.

use std::path::Path;
use std::sync::Arc;

use headroom_adapters::notifier;
use headroom_core::alert::{AlertNews, State};
use headroom_core::fleet::Fleet;
use headroom_core::units::Timestamp;
use headroom_engine::ports::{Notification, Notifier};
use serde_json::json;

/// The policy of a page in `docs/notifiers/`, with its texts replaced by the test's.
pub(crate) fn example(page: &str, replace: &[(&str, &str)]) -> Fleet {
    let yaml = headroom_testkit::page::policy(&format!("notifiers/{page}"), replace);
    headroom_config::parse("test.yaml", &yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).fleet
}

/// A notifier of a fleet.
pub(crate) fn open(fleet: &Fleet, name: &str, base: &Path) -> Arc<dyn Notifier> {
    let notifiers = notifier::open_all(fleet, base);
    Arc::clone(notifiers.get(name).unwrap_or_else(|| panic!("no notifier {name}")))
}

/// News of an alert called `web-at-maximum-0`, now.
pub(crate) fn news(state: State) -> AlertNews {
    let now = Timestamp::from(jiff::Timestamp::now());
    serde_json::from_value(json!({
        "at": now,
        "state": state,
        "alert": {
            "id": "web-at-maximum-0", "kind": "atMaximum", "severity": "medium", "subject": { "workload": "web" },
            "since": now.minus(headroom_core::units::Span::minutes(3)), "why": "31 replicas are <wanted>",
            "cost": { "now": "1.2 USD/h" }, "decision": "web-17"
        }
    }))
    .unwrap()
}

/// These pieces of news, as they are told.
pub(crate) fn notification(states: &[State]) -> Notification {
    Notification {
        at: Timestamp::from(jiff::Timestamp::now()),
        fleet: "shop".parse().unwrap(),
        page: Some("https://headroom.example".to_owned()),
        news: states.iter().map(|state| news(*state)).collect(),
        threads: std::collections::BTreeMap::new(),
    }
}
