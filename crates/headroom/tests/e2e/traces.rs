//! Traces: what a collector of OpenTelemetry is told of a decision, from sample to settled.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use headroom_testkit::receiver::Request;
use serde_json::Value;

use crate::rig::{Rig, load, policy};
use crate::told::Receiver;

/// The spans of all requests.
fn spans(all: &[Request]) -> Vec<Value> {
    let bodies = all.iter().map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
    let of = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    bodies.flat_map(of).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    found.map_or(&Value::Null, |attribute| &attribute["value"])
}

fn nanos(span: &Value, of: &str) -> u64 {
    span[of].as_str().unwrap().parse().unwrap()
}

/// The trace of the first growth, from its sample to the target's answer; a collector that was down is told later.
#[test]
fn a_decision_is_traced_from_sample_to_settled() {
    let receiver = Receiver::start();
    receiver.0.answer(503, "");
    let endpoint = format!("http://{}", receiver.0.address());
    let mut rig = Rig::new(&policy(1, 4)).with(&["--otlp-endpoint", &endpoint]);
    rig.start_until_ready(1);
    let refused = receiver.until(|all| !all.is_empty()).len();
    receiver.0.answer(200, "{}");
    let offered = load(&rig.address(), "surge 60s @120");
    let grown = |span: &Value| {
        span["name"] == "decision"
            && attribute(span, "headroom.outcome")["stringValue"] == "act"
            && attribute(span, "headroom.from")["intValue"] != "0"
    };
    let all = receiver.until(|all| spans(&all[refused..]).iter().any(grown));
    assert!(all[0].line.starts_with("POST /v1/traces"), "{:?}", all[0].line);
    let of_first = |all: &[Request]| {
        let root = spans(all).into_iter().find(grown)?;
        Some(spans(all).into_iter().filter(|span| span["traceId"] == root["traceId"]).collect::<Vec<_>>())
    };
    let trace = of_first(&all).unwrap();
    let named = |name: &str| {
        trace.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {trace:#?}"))
    };
    let (root, read, decide) = (named("decision"), named("read rps"), named("decide"));
    let (strategy, moved) = (named("strategy targetTracking #1"), named("guard strategies"));
    let (record, act, settled) = (named("record"), named("act"), named("settled"));
    let id = &attribute(root, "headroom.decision")["stringValue"];
    assert!(id.as_str().unwrap().starts_with("web-"), "{id}");
    for span in &trace {
        assert_eq!(attribute(span, "headroom.decision")["stringValue"], *id, "{span:#?}");
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"), "{span:#?}");
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
    }
    for span in [read, decide, record, act, settled] {
        assert_eq!(span["parentSpanId"], root["spanId"], "{span:#?}");
    }
    for span in [strategy, moved] {
        assert_eq!(span["parentSpanId"], decide["spanId"], "{span:#?}");
    }
    assert!(attribute(read, "headroom.value")["doubleValue"].as_f64().unwrap() > 50.0, "{read:#?}");
    assert_eq!(nanos(root, "startTimeUnixNano"), nanos(read, "startTimeUnixNano"));
    assert_eq!(nanos(root, "endTimeUnixNano"), nanos(settled, "endTimeUnixNano"));
    assert_eq!((&act["status"]["code"], &root["status"]["code"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(attribute(act, "headroom.to"), attribute(root, "headroom.to"));
    offered.enough();
    rig.stop();
}

/// A collector that can't be one is said at the start, before anything is left behind.
#[test]
fn an_endpoint_that_is_no_address_is_refused() {
    let rig = Rig::new(&policy(1, 4));
    for endpoint in ["nowhere at all", "nonsense", "", "127.0.0.1:4318", "ftp://x/", "http://", "https:///v1"]
    {
        let output = rig.refused(&["--bind", "127.0.0.1:0", "--otlp-endpoint", endpoint]);
        let said = crate::rig::stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{endpoint}: {said}");
        assert!(said.contains("--otlp-endpoint") && said.contains("http://HOST:4318"), "{said}");
    }
    assert!(!rig.data().exists(), "nothing was begun");
}
