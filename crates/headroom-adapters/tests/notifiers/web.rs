//! Slack, webhooks and `PagerDuty`: what is sent, and what comes of an answer.

use headroom_adapters::notifier::webhook::sign;
use headroom_core::alert::State;
use headroom_engine::ports::TellError;
use headroom_testkit::receiver::HttpReceiver;
use serde_json::{Value, json};

use crate::support::{example, notification, open};

fn body(request: &headroom_testkit::receiver::Request) -> Value {
    serde_json::from_str(&request.body).unwrap()
}

/// D6: an alert in a channel says what, why, what it costs, and where to see more.
#[tokio::test]
async fn a_slack_webhook_is_told_as_its_page_says() {
    let (server, folder) = (HttpReceiver::start().await, tempfile::tempdir().unwrap());
    let url = format!("http://{}/services/T0/B0/hunter2", server.address());
    std::fs::write(folder.path().join("url"), &url).unwrap();
    let fleet = example("slack", &[("{ env: SLACK_WEBHOOK }", "{ file: url }")]);
    let notifier = open(&fleet, "channel", folder.path());
    notifier.tell(&notification(&[State::Raised])).await.unwrap();
    let request = server.until(|all| all.len() == 1).await.remove(0);
    assert_eq!(request.line, "POST /services/T0/B0/hunter2");
    let message = body(&request);
    let text = message["blocks"][0]["text"]["text"].as_str().unwrap();
    for part in
        ["[medium] web: at its maximum", "31 replicas are &lt;wanted&gt;", "Cost: 1.2 USD/h now", "Since "]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let context = message["blocks"][1]["elements"][0]["text"].as_str().unwrap();
    assert!(context.contains("<https://headroom.example/#/d/web-17|why>"), "{context}");
    assert!(context.contains("web-at-maximum-0"), "{context}");

    // What fails names no secret.
    server.answer(403, "no_service");
    let error = notifier.tell(&notification(&[State::Resolved])).await.unwrap_err();
    assert!(
        matches!(&error, TellError::Later(why) if why.contains("403") && !why.contains("hunter2")),
        "{error}"
    );
    std::fs::write(folder.path().join("url"), "hunter2").unwrap();
    let error = notifier.tell(&notification(&[State::Resolved])).await.unwrap_err();
    assert!(matches!(&error, TellError::Later(why) if !why.contains("hunter2")), "{error}");
}

#[tokio::test]
async fn a_slack_bot_answers_in_the_thread() {
    let (server, folder) = (HttpReceiver::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("slack.token"), "xoxb-hunter2\n").unwrap();
    let fleet = example("slack", &[("https://slack.com", &format!("http://{}", server.address()))]);
    let notifier = open(&fleet, "thread", folder.path());
    server.answer(200, r#"{"ok": true, "ts": "1503435956.000247"}"#);
    let called = notifier.tell(&notification(&[State::Raised])).await.unwrap();
    assert_eq!(called.as_deref(), Some("1503435956.000247"));
    assert_eq!(notifier.tell(&notification(&[State::Still])).await.unwrap(), None, "it began nothing");
    // Another bot, as after a restart: the outbox remembers.
    let again = open(&fleet, "thread", folder.path());
    let mut end = notification(&[State::Resolved]);
    end.threads.insert(end.news[0].alert.id.clone(), called.unwrap());
    again.tell(&end).await.unwrap();
    let requests = server.until(|all| all.len() == 3).await;
    assert_eq!(requests[0].line, "POST /api/chat.postMessage");
    assert_eq!(requests[0].header("authorization"), Some("Bearer xoxb-hunter2"));
    let threads: Vec<_> = requests.iter().map(|r| body(r)["thread_ts"].clone()).collect();
    assert_eq!(threads, [Value::Null, json!("1503435956.000247"), json!("1503435956.000247")]);
    assert_eq!(body(&requests[2])["channel"], "#ops");
    assert!(body(&requests[2])["text"].as_str().unwrap().contains("no longer at its maximum"));

    for (error, later) in [("ratelimited", true), ("not_in_channel", true), ("invalid_blocks", false)] {
        server.answer(200, &format!(r#"{{"ok": false, "error": "{error}"}}"#));
        let got = notifier.tell(&notification(&[State::Raised])).await.unwrap_err();
        assert!(got.to_string().contains(error), "{got}");
        assert_eq!(matches!(got, TellError::Later(_)), later, "{error}");
    }
}

#[tokio::test]
async fn a_webhook_is_signed_as_its_page_says() {
    let (server, folder) = (HttpReceiver::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("key"), "hunter2").unwrap();
    let address = server.address().to_string();
    let fleet =
        example("webhook", &[("127.0.0.1:8099", &address), ("{ env: HOOK_SECRET }", "{ file: key }")]);
    let notifier = open(&fleet, "hook", folder.path());
    let notification = notification(&[State::Raised, State::Resolved]);
    notifier.tell(&notification).await.unwrap();
    let request = server.until(|all| all.len() == 1).await.remove(0);
    assert_eq!(request.line, "POST /headroom");
    let seconds = request.header("x-headroom-timestamp").unwrap().parse().unwrap();
    assert_eq!(seconds, notification.at.as_millis() / 1000);
    let signature = request.header("x-headroom-signature").unwrap();
    assert_eq!(signature, format!("v1={}", sign("hunter2", seconds, &request.body)));
    let body = body(&request);
    let states: Vec<_> = body["news"].as_array().unwrap().iter().map(|n| n["state"].clone()).collect();
    assert_eq!(states, ["raised", "resolved"]);
    assert_eq!(body["news"][0]["alert"]["id"], "web-at-maximum-0");
    assert_eq!(body["news"][0]["link"], "https://headroom.example/#/d/web-17");

    for (status, later) in [(500, true), (429, true), (401, true), (400, false), (422, false)] {
        server.answer(status, "what it says");
        let got = notifier.tell(&notification).await.unwrap_err();
        assert_eq!(matches!(got, TellError::Later(_)), later, "{status}: {got}");
        assert!(got.to_string().contains("what it says") && !got.to_string().contains("hunter2"), "{got}");
    }
}

/// What `printf '0.{}' | openssl dgst -sha256 -hmac key` says.
#[test]
fn the_signature_is_what_openssl_gives() {
    assert_eq!(sign("key", 0, "{}"), "7314351dd949aa7ec06f50fc2c96e618291447672c9b7f10b49d1ce46dad00b3");
}

#[tokio::test]
async fn pagerduty_is_told_as_its_page_says() {
    let (server, folder) = (HttpReceiver::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("key"), "hunter2").unwrap();
    let url = format!("http://{}", server.address());
    let fleet = example(
        "pagerduty",
        &[("https://events.pagerduty.com", &url), ("{ env: PAGERDUTY_KEY }", "{ file: key }")],
    );
    let notifier = open(&fleet, "pager", folder.path());
    server.answer(202, r#"{"status": "success"}"#);
    let states = [State::Raised, State::Still, State::Resolved, State::Happened];
    notifier.tell(&notification(&states)).await.unwrap();
    let requests = server.until(|all| all.len() == 4).await;
    let told: Vec<_> = requests
        .iter()
        .map(|r| (r.line.as_str(), body(r)["event_action"].clone(), body(r)["dedup_key"].clone()))
        .collect();
    let key = json!("web-at-maximum-0");
    let incident = |action: &str| ("POST /v2/enqueue", json!(action), key.clone());
    assert_eq!(told[..3], [incident("trigger"), incident("trigger"), incident("resolve")]);
    assert_eq!(told[3], ("POST /v2/change/enqueue", Value::Null, Value::Null));
    let first = body(&requests[0]);
    assert_eq!(first["routing_key"], "hunter2");
    assert_eq!(first["payload"]["severity"], "warning");
    assert_eq!(first["payload"]["source"], "shop");
    assert_eq!(first["links"][0]["href"], "https://headroom.example/#/d/web-17");
}
