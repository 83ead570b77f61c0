//! The API over real connections, with the real engine and journal behind it.

mod support;

use headroom_api::{ApiError, Listening, openapi_document};
use headroom_core::controller::Measured;
use headroom_core::reading::Absence;
use headroom_core::units::Span;
use headroom_engine::ports::News;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use support::http::{Ask, Stream};
use support::{Past, Shop};

/// A shop with a short past, for tests that need no story.
async fn shop() -> Shop {
    Shop::open("127.0.0.1:0", Span::minutes(2)).await
}

/// Whether `value` is what `schema` says; the place and what is wrong if not. Knows the keywords that the document
/// uses, not all that exist.
fn check(value: &Value, schema: &Value, document: &Value, place: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{place}: {what}"));
    let Some(schema) = schema.as_object() else { return Ok(()) };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|p| document.pointer(p));
        check(value, target.expect("references lead somewhere"), document, place)?;
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(ways) = schema.get(keyword).and_then(Value::as_array) {
            let failures: Vec<_> =
                ways.iter().filter_map(|way| check(value, way, document, place).err()).collect();
            if failures.len() == ways.len() {
                return wrong(format!("fits none of {keyword}: {failures:?}"));
            }
        }
    }
    if let Some(kind) = schema.get("type") {
        let kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        let fits = kinds.iter().any(|kind| match kind.as_str().unwrap_or_default() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("a type called {other}"),
        });
        if !fits {
            return wrong(format!("{value} is not of type {kind}"));
        }
    }
    if let Some(known) = schema.get("enum").and_then(Value::as_array)
        && !known.contains(value)
    {
        return wrong(format!("{value} is none of {known:?}"));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong(format!("{value} is not {}", schema["const"]));
    }
    if let Some(object) = value.as_object() {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap_or_default()) {
                return wrong(format!("has no {name}"));
            }
        }
        let properties = schema.get("properties");
        for (name, field) in object {
            let known = properties.and_then(|p| p.get(name));
            // All keys of one map have one pattern.
            let pattern = schema.get("patternProperties").and_then(|p| p.as_object()?.values().next());
            let other = pattern.or_else(|| schema.get("additionalProperties"));
            match (known, other) {
                (Some(known), _) => check(field, known, document, &format!("{place}.{name}"))?,
                (None, Some(Value::Bool(false))) => return wrong(format!("has an undescribed {name}")),
                (None, Some(other)) => check(field, other, document, &format!("{place}.{name}"))?,
                (None, None) => {}
            }
        }
    }
    if let (Some(items), Some(item)) = (value.as_array(), schema.get("items")) {
        for (index, one) in items.iter().enumerate() {
            check(one, item, document, &format!("{place}[{index}]"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_the_openapi_document_says() {
    let shop = shop().await;
    let document = openapi_document();
    let served = Ask::get(shop.address, "/openapi.json").send().await;
    assert_eq!(served.json(), document);
    let decisions =
        Ask::get(shop.address, "/api/v1/workloads/web/decisions?changes=true").send().await.json();
    let id = decisions["decisions"][0]["decision"]["id"].as_str().unwrap().to_owned();
    let mut seen = 0;
    for (template, path) in document["paths"].as_object().unwrap() {
        let Some(operation) = path.get("get") else { continue };
        let asked = template.replace("{workload}", "web").replace("{decision}", &id);
        if asked.ends_with("/events") {
            continue;
        }
        let answer = Ask::get(shop.address, &asked).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{asked}");
        let content = &operation["responses"]["200"]["content"];
        if let Some(json) = content.get("application/json") {
            check(&answer.json(), &json["schema"], &document, &asked).unwrap();
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen} answers were checked");
    // A problem has a shape too.
    let problem = Ask::get(shop.address, "/api/v1/workloads/nobody").send().await;
    let schema = &document["components"]["responses"]["Problem"]["content"]["application/json"]["schema"];
    check(&problem.json(), schema, &document, "problem").unwrap();
    // And the check can fail.
    assert!(check(&json!({ "error": {} }), schema, &document, "problem").is_err());
    shop.close().await;
}

/// C5: why something or nothing was done, step by step, in the reader's language.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_explained_in_both_languages_and_tells_what_came_of_it() {
    let shop = shop().await;
    let list = Ask::get(shop.address, "/api/v1/workloads/web/decisions?changes=true&limit=1&lang=en")
        .send()
        .await
        .json();
    let first = &list["decisions"][0];
    let id = first["decision"]["id"].as_str().unwrap();
    assert!(first["explanation"]["headline"].as_str().unwrap().contains("a replica"), "{first}");
    let one = Ask::get(shop.address, &format!("/api/v1/decisions/{id}?lang=ko")).send().await.json();
    assert!(one["explanation"]["headline"].as_str().unwrap().contains("레플리카당"), "{one}");
    let chain = one["explanation"]["chain"].as_array().unwrap();
    assert!(
        chain.iter().any(|link| link["kind"] == "wants") && chain.iter().any(|link| link["kind"] == "moved")
    );
    assert_eq!(one["action"]["action"]["decision"], id);
    assert_eq!(one["action"]["end"]["outcome"], "done");
    // Why nothing happens, and until when.
    let frozen = Ask::get(shop.address, "/api/v1/workloads/search").send().await.json();
    assert!(frozen["explanation"].is_object() && frozen["freeze"]["by"] == "mina", "{frozen}");
    // Pages follow on one another without a gap or an overlap.
    let next = list["next"].as_str().unwrap();
    let older = format!("/api/v1/workloads/web/decisions?changes=true&limit=1&before={next}");
    let older = Ask::get(shop.address, &older).send().await.json();
    assert_ne!(older["decisions"][0]["decision"]["id"], id);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_token_and_strangers_are_refused() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let body = json!({ "for": "1h", "why": "load test" });
    let freeze = || Ask::post(at, "/api/v1/workloads/web/freeze?by=test", &body);
    let own = format!("http://{at}");
    for (ask, status, code) in [
        (freeze(), StatusCode::UNAUTHORIZED, "token-missing"),
        (freeze().token(""), StatusCode::UNAUTHORIZED, "token-missing"),
        (freeze().token(&token[1..]), StatusCode::UNAUTHORIZED, "token-wrong"),
        (freeze().token(&"0".repeat(64)), StatusCode::UNAUTHORIZED, "token-wrong"),
        (
            freeze().header("authorization", &format!("Basic {token}")),
            StatusCode::UNAUTHORIZED,
            "token-missing",
        ),
        (
            freeze().token(&token).header("origin", "https://evil.example"),
            StatusCode::FORBIDDEN,
            "other-origin",
        ),
        (freeze().token(&token).header("origin", "null"), StatusCode::FORBIDDEN, "other-origin"),
        (freeze().token(&token).header("host", "evil.example"), StatusCode::FORBIDDEN, "other-host"),
        (
            Ask::get(at, "/api/v1/overview").header("host", "evil.example"),
            StatusCode::FORBIDDEN,
            "other-host",
        ),
        (
            Ask::get(at, "/").header("host", &format!("rebound.example:{}", at.port())),
            StatusCode::FORBIDDEN,
            "other-host",
        ),
        (
            Ask::get(at, "/api/v1/overview").header("origin", "http://localhost:3000"),
            StatusCode::FORBIDDEN,
            "other-origin",
        ),
        (Ask::post(at, "/api/v1/plan", &json!({})), StatusCode::UNAUTHORIZED, "token-missing"),
    ] {
        let answer = ask.send().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(&token), "the token is in an answer");
        assert!(answer.headers.contains_key("content-security-policy"));
    }
    let view = Ask::get(at, "/api/v1/workloads/web").send().await.json();
    assert!(view["freeze"].is_null(), "nothing came of all that");
    // A probe is asked under any name, and a browser's own page may do what it likes.
    assert_eq!(Ask::get(at, "/healthz").header("host", "10.0.0.7").send().await.status, StatusCode::OK);
    let done = freeze().token(&token).header("origin", &own).send().await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_until_it_is_thawed() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let post = |path: &str, body: Value| Ask::post(at, path, &body).token(&token);
    let frozen = post("/api/v1/workloads/web/freeze?by=jun", json!({ "why": "release" })).send().await.json();
    assert_eq!((frozen["by"].as_str(), frozen["until"].is_null()), (Some("jun"), true));
    let view = Ask::get(at, "/api/v1/workloads/web").send().await.json();
    assert_eq!(view["freeze"]["why"], "release");
    let thawed = Ask::new(Method::POST, at, "/api/v1/workloads/web/thaw").token(&token).send().await;
    assert_eq!(thawed.status, StatusCode::NO_CONTENT);
    assert!(Ask::get(at, "/api/v1/workloads/web").send().await.json()["freeze"].is_null());
    for (path, body, status) in [
        ("/api/v1/workloads/nobody/freeze", json!({ "why": "x" }), StatusCode::NOT_FOUND),
        ("/api/v1/workloads/web/freeze", json!({ "why": "" }), StatusCode::UNPROCESSABLE_ENTITY),
        (
            "/api/v1/workloads/web/freeze",
            json!({ "why": "x", "for": "0s" }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            "/api/v1/workloads/web/freeze",
            json!({ "why": "x", "for": "400d" }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            "/api/v1/workloads/web/freeze",
            json!({ "why": "x", "until": "noon" }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("/api/v1/workloads/web/freeze", json!({ "why": "x".repeat(201) }), StatusCode::UNPROCESSABLE_ENTITY),
        ("/api/v1/workloads/web/freeze?by=%0a", json!({ "why": "x" }), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = post(path, body.clone()).send().await;
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_applied_exactly_or_refused() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let answer = Ask::get(at, "/api/v1/plan?lang=ko").send().await.json();
    assert_eq!(answer["plan"]["workloads"].as_array().unwrap().len(), 7);
    assert!(answer["explanations"]["web"]["headline"].is_string());
    let mut plan = answer["plan"].clone();
    for entry in plan["workloads"].as_array_mut().unwrap() {
        entry["saw"] = json!(entry["saw"].as_u64().unwrap() + 1);
    }
    let refused = Ask::post(at, "/api/v1/apply?by=test", &plan).token(&token).send().await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::CONFLICT, "plan-refused"),
        "{refused:?}"
    );
    // Another policy is planned with, not put in force; its mistakes are told all at once.
    let mut policy = Ask::get(at, "/api/v1/policy").token(&token).send().await.json();
    policy["spec"]["workloads"]["web"]["replicas"] = json!({ "min": 19, "max": 20 });
    let planned = Ask::post(at, "/api/v1/plan", &policy).token(&token).send().await.json();
    let web =
        planned["plan"]["workloads"].as_array().unwrap().iter().find(|e| e["workload"] == "web").unwrap();
    assert_eq!(web["to"], 19, "{web}");
    assert_eq!(
        Ask::get(at, "/api/v1/policy").send().await.json()["spec"]["workloads"]["web"]["replicas"]["min"],
        2
    );
    policy["spec"]["workloads"]["web"]["replicas"] = json!({ "min": 30, "max": 20 });
    policy["spec"]["workloads"]["web"]["strategies"] = json!([]);
    let wrong = Ask::post(at, "/api/v1/plan", &policy).token(&token).send().await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.json()["error"]["problems"].as_array().unwrap().len() >= 2, "{wrong:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_value_arrives_and_nonsense_does_not() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let push = |path: &str, body: &Value| Ask::post(at, path, body).token(&token);
    let queue = "/api/v1/workloads/thumbnails/signals/queue";
    let taken = push(queue, &json!({ "value": 41.5 })).send().await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
    for (path, body, code) in [
        (queue, json!({ "value": -1 }), "bad-body"),
        (queue, json!({ "value": "many" }), "bad-body"),
        (queue, json!({}), "bad-body"),
        (queue, json!({ "value": 1, "when": "now" }), "bad-body"),
        (queue, json!({ "value": 1, "at": "2999-01-01T00:00:00Z" }), "from-the-future"),
        ("/api/v1/workloads/web/signals/rps", json!({ "value": 1 }), "no-such-signal"),
        ("/api/v1/workloads/web/signals/none", json!({ "value": 1 }), "no-such-signal"),
        ("/api/v1/workloads/none/signals/queue", json!({ "value": 1 }), "no-such-workload"),
    ] {
        assert_eq!(push(path, &body).send().await.code(), code, "{path} {body}");
    }
    // The story sends 45 ± 21 to this queue; only the pushed value is a half.
    let series = "/api/v1/workloads/thumbnails/series?name=queue&since=1m";
    let arrived = async {
        loop {
            let answer = Ask::get(at, series).send().await.json();
            let columns = &answer["series"][0];
            let values =
                ["min", "max", "last", "mean"].map(|c| columns[c].as_array().unwrap().clone()).concat();
            if values.iter().any(|v| v.as_f64() == Some(41.5)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), arrived).await.expect("the value arrives");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_understood_is_told() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let freeze = "/api/v1/workloads/web/freeze";
    for (ask, status, code) in [
        (Ask::get(at, "/api/v1/overview?langue=fr"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/overview?lang=fr"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/decisions?limit=0"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/decisions?since=tomorrow"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/decisions?before=x"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/workloads/web/series?since=1h&until=2h"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/workloads/web/series?points=601"), 422, "bad-parameter"),
        (Ask::get(at, "/api/v1/workloads/WEB/series"), 404, "no-such-workload"),
        (Ask::get(at, "/api/v1/workloads/..%2fetc"), 404, "no-such-workload"),
        (Ask::get(at, "/api/v1/workloads/nobody/decisions"), 404, "no-such-workload"),
        (Ask::get(at, "/api/v1/decisions/web"), 404, "no-such-decision"),
        (Ask::get(at, "/api/v1/decisions/web-999999"), 404, "no-such-decision"),
        (Ask::get(at, "/api/v2/overview"), 404, "no-such-route"),
        (Ask::get(at, "/assets/x/../../Cargo.toml"), 404, "no-such-file"),
        (Ask::new(Method::DELETE, at, "/api/v1/overview").token(&token), 405, "method-not-allowed"),
        (
            Ask::post(at, freeze, &json!({})).token(&token).header("content-type", "text/plain"),
            415,
            "not-json",
        ),
        (Ask::post(at, freeze, &json!({})).token(&token).raw("{"), 422, "bad-body"),
        (Ask::post(at, freeze, &json!({})).token(&token).raw(vec![b' '; 9 << 20]), 413, "body-too-large"),
    ] {
        let answer = ask.send().await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_hides_the_environment_from_whoever_lacks_the_token() {
    let shop = shop().await;
    let open = Ask::get(shop.address, "/api/v1/policy").send().await;
    assert!(!String::from_utf8_lossy(&open.body).contains("hunter2"));
    let place = "/spec/workloads/web/target/process/env/DATABASE_PASSWORD";
    assert_eq!(open.json().pointer(place), Some(&json!("***")));
    let shown = Ask::get(shop.address, "/api/v1/policy").token(shop.token.reveal()).send().await;
    assert_eq!(shown.json().pointer(place), Some(&json!("hunter2")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_overview_and_end_with_the_server() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let listening = Ask::get(at, "/api/v1/events?lang=ko").open().await;
    listening.until("that it is open", |text| text.contains("event: overview")).await;
    let frozen = Ask::post(at, "/api/v1/workloads/emails/freeze", &json!({ "why": "audit" }))
        .token(&token)
        .send()
        .await;
    assert_eq!(frozen.status, StatusCode::OK);
    let freeze = "\"freeze\":{\"until\":null,\"by\":\"api\",\"why\":\"audit\"}";
    listening.until("the change", |text| text.contains("event: changed\ndata: \"emails\"")).await;
    let again = |text: &str| text.matches("event: overview").count() >= 2 && text.contains(freeze);
    listening.until("the freeze", again).await;
    assert_eq!(listening.headers["content-type"], "text/event-stream");
    // An open stream does not keep the server from stopping.
    shop.close().await;
    let text = listening.ended().await;
    // The first says that the stream is open; what is known already is not said again.
    let first = text.split("event: overview\ndata: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(first.contains("\"workloads\":[]"), "{first}");
}

/// A glance holds the same as the whole, in a fraction of the bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_in_lines_says_what_the_overview_says() {
    let shop = shop().await;
    let at = shop.address;
    let same = |lines: &Value, whole: &Value| {
        let [lines, whole] = [lines, whole].map(|all| all["workloads"].as_array().unwrap().clone());
        let says_same = |(line, view): (&Value, &Value)| {
            ["name", "tier", "range", "freeze", "pending"].iter().all(|field| line[*field] == view[*field])
                && line["replicas"]["wanted"] == view["status"]["wanted"]
                && line["cost"] == view["cost"]["perHour"]
        };
        lines.len() == whole.len() && lines.iter().zip(&whole).all(says_same)
    };
    // Each is of its own moment: sooner or later nothing comes between them.
    let asked = async {
        loop {
            let whole = Ask::get(at, "/api/v1/overview").send().await;
            let lines = Ask::get(at, "/api/v1/fleet").send().await;
            if same(&lines.json(), &whole.json()) {
                return (lines, whole);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let asked = tokio::time::timeout(std::time::Duration::from_secs(30), asked).await;
    let (lines, whole) = asked.expect("the lines say what the overview says");
    assert!(3 * lines.body.len() < whole.body.len(), "{} of {}", lines.body.len(), whole.body.len());
    let lines = lines.json();
    assert!(
        lines["workloads"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["name"] == "ads" && line["atMaximum"] == true)
    );
    let policy = Ask::get(at, "/api/v1/policy?workload=web&workload=ads&workload=nobody").send().await.json();
    let names: Vec<_> = policy["spec"]["workloads"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["ads", "web"]);
    let headlines =
        Ask::get(at, "/api/v1/headlines?workload=web&changes=true&limit=1&lang=ko").send().await.json();
    let first = &headlines["headlines"][0];
    assert!(
        first["headline"].as_str().unwrap().contains("레플리카당") && headlines["next"].is_string(),
        "{headlines}"
    );
    assert_eq!(Ask::get(at, "/api/v1/headlines?workload=WEB").send().await.code(), "no-such-workload");
    shop.close().await;
}

/// B15: what stands is listed with what to do about it, and a source that fails is named with its own words.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_sources_are_listed_with_the_next_step() {
    let shop = shop().await;
    let at = shop.address;
    let holds = |answer: &Value| {
        answer["alerts"].as_array().is_some_and(|a| a.iter().any(|a| a["kind"] == "approvalNeeded"))
    };
    let alerts = until(at, "/api/v1/alerts?lang=ko", holds).await;
    let waiting =
        alerts["alerts"].as_array().unwrap().iter().find(|a| a["kind"] == "approvalNeeded").unwrap();
    assert_eq!(
        (waiting["subject"]["workload"].as_str(), waiting["severity"].as_str(), waiting["headline"].as_str()),
        (Some("payments"), Some("medium"), Some("승인 대기"))
    );
    assert!(waiting["nextStep"].is_string() && waiting["decision"].is_string(), "{waiting}");
    let of_web = Ask::get(at, "/api/v1/alerts?workload=web").send().await.json();
    assert!(
        of_web["alerts"].as_array().unwrap().iter().all(|a| a["subject"]["workload"] == "web"),
        "{of_web}"
    );
    shop.engine().tell("warehouse", failing()).await.unwrap();
    shop.engine().tell("warehouse", failing()).await.unwrap();
    shop.engine().tell("warehouse", failing()).await.unwrap();
    let down = until(at, "/api/v1/sources", |answer| answer["sources"][0]["state"] == "down").await;
    let first = &down["sources"][0];
    assert_eq!(
        (first["name"].as_str(), first["why"].as_str()),
        (Some("warehouse"), Some("connection refused"))
    );
    assert!(first["nextStep"].as_str().unwrap().contains("server"), "{first}");
    let fine = down["sources"].as_array().unwrap().iter().find(|s| s["name"] == "balancer").unwrap();
    assert_eq!((fine["state"].as_str(), fine["nextStep"].is_null()), (Some("fine"), true));
    shop.close().await;
}

/// A round of a source that brought nothing but a failure.
fn failing() -> News {
    let value = Err(Absence::SourceFailed("connection refused".to_owned()));
    let signal = "queue".parse().expect("a name");
    News::Samples(vec![Measured { workload: support::name("thumbnails"), signal, value }])
}

/// Does something in a shop while a listener hears of it.
async fn heard_while(shop: Shop, what: impl AsyncFnOnce(std::net::SocketAddr, String, &Stream)) {
    let at = shop.address;
    let listening = Ask::get(at, "/api/v1/events").open().await;
    what(at, shop.token.reveal().to_owned(), &listening).await;
    shop.close().await;
    listening.ended().await;
}

/// Asks again until the answer is as it should be.
async fn until(at: std::net::SocketAddr, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let answer = Ask::get(at, path).send().await.json();
            if holds(&answer) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), asked).await.unwrap_or_else(|_| panic!("{path}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_a_person_is_approved_once_and_made() {
    heard_while(shop().await, async |at, token, heard| {
        let path = "/api/v1/workloads/payments";
        let view = until(at, path, |view| !view["pending"].is_null()).await;
        assert_eq!(
            (view["pending"]["from"].as_u64(), view["latest"]["outcome"].as_str()),
            (Some(3), Some("held"))
        );
        let id = view["pending"]["decision"].as_str().unwrap().to_owned();
        let say = |word: &str, id: &str, why: &str| {
            Ask::post(at, &format!("/api/v1/decisions/{id}/{word}?by=test"), &json!({ "why": why }))
        };
        for (ask, code) in [
            (say("approve", &id, "sale"), "token-missing"),
            (say("approve", &id, "").token(&token), "bad-text"),
            (say("approve", "payments-999999", "sale").token(&token), "nothing-waits"),
            (say("approve", "nobody-1", "sale").token(&token), "no-such-workload"),
            (say("reject", "payments", "sale").token(&token), "no-such-decision"),
        ] {
            assert_eq!(ask.send().await.code(), code);
        }
        let done = say("approve", &id, "sale").token(&token).send().await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
        let view = until(at, path, |view| view["status"]["ready"].as_u64() > Some(3)).await;
        assert!(view["pending"].is_null(), "{view}");
        assert_eq!(say("approve", &id, "again").token(&token).send().await.status, StatusCode::CONFLICT);
        // Of the workload itself, after it was last told to wait.
        let waits_no_longer = |text: &str| {
            let since = text.rsplit("\"pending\":{").next().unwrap_or_default();
            let mut told = since.split("\"name\":\"payments\"").skip(1);
            told.any(|told| {
                told.split("\"pending\":").nth(1).is_some_and(|pending| pending.starts_with("null"))
            })
        };
        heard.until("what waits no longer", waits_no_longer).await;
        heard.until("the change", |text| text.contains("event: changed\ndata: \"payments\"")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_change_is_not_made() {
    let shop = shop().await;
    let (at, token) = (shop.address, shop.token.reveal().to_owned());
    let path = "/api/v1/workloads/payments";
    let view = until(at, path, |view| !view["pending"].is_null()).await;
    let id = view["pending"]["decision"].as_str().unwrap();
    let no = json!({ "why": "the sale is off" });
    let done =
        Ask::post(at, &format!("/api/v1/decisions/{id}/reject?by=mina"), &no).token(&token).send().await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
    let view = until(at, path, |view| {
        view["explanation"]["headline"].as_str().is_some_and(|h| h.contains("the sale is off"))
    })
    .await;
    assert!(view["pending"].is_null() && view["status"]["wanted"] == 3, "{view}");
    shop.close().await;
}

/// The emails' queue runs dry after a quarter of an hour, and their fourteen replicas would go at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_is_told_and_closed() {
    let policy = support::fleet_with(&json!({ "breaker": { "most": "4%", "atLeast": 1, "within": "15m" } }));
    let shop = Shop::open_with(policy, "127.0.0.1:0", Past::of(Span::minutes(18)), |_| {}).await;
    heard_while(shop, async |at, token, heard| {
        let open = until(at, "/api/v1/overview", |view| !view["breaker"].is_null()).await["breaker"].clone();
        assert!(open["changed"].as_u64() > open["most"].as_u64(), "{open}");
        let close = |why: &str| Ask::post(at, "/api/v1/breaker/close?by=test", &json!({ "why": why }));
        assert_eq!(close("known").send().await.code(), "token-missing");
        assert_eq!(close("").token(&token).send().await.code(), "bad-text");
        let is_open = "\"breaker\":{\"at\":";
        heard.until("that it is open", |text| text.contains(is_open)).await;
        let done = close("known").token(&token).send().await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
        until(at, "/api/v1/overview", |view| view["breaker"].is_null()).await;
        assert_eq!(close("again").token(&token).send().await.status, StatusCode::CONFLICT);
        let is_closed =
            |text: &str| text.rsplit(is_open).next().is_some_and(|t| t.contains("\"breaker\":null"));
        heard.until("that it is closed", is_closed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_given_as_csv_too() {
    let shop = shop().await;
    for (path, header, row) in [
        ("/api/v1/overview?format=csv", "workload,tier,wanted,ready", "\nweb,web,"),
        (
            "/api/v1/workloads/web/series?format=csv&name=rps&name=replicas.ready&since=2m",
            "at,series,unit,",
            ",rps,perSecond,1000,",
        ),
        ("/api/v1/workloads/web/decisions?format=csv&changes=true", "at,workload,decision,", ",act,"),
        ("/api/v1/decisions/web-1?format=csv", "decision,at,kind,who,", ",outcome,"),
        ("/api/v1/decisions?format=csv&lang=ko", "at,workload,decision,", "레플리카"),
        ("/api/v1/alerts?format=csv", "since,severity,kind,subject,", ",approval-needed,payments,"),
        ("/api/v1/sources?format=csv&lang=ko", "source,state,heard_at,", "\nbalancer,fine,"),
        ("/api/v1/notices?format=csv", "at,workload,code,message", "\n"),
        ("/api/v1/notifiers?format=csv", "notifier,state,told_at,waiting,", "\nops,fine,"),
        ("/api/v1/held?format=csv&kind=approval", "kind,workload,since,until,", "\napproval,payments,"),
        ("/api/v1/held?format=csv&kind=frozen&lang=ko", "kind,workload,since,until,", "\nfrozen,"),
        ("/api/v1/workloads/web/forecast?format=csv", "at,signal,unit,q50,q90,q95,q99", "\n"),
    ] {
        let asked = async {
            loop {
                let answer = Ask::get(shop.address, path).send().await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8", "{path}: {text}");
                assert!(text.starts_with(header), "{path}: {text}");
                // Alerts and sources are looked at while the controller runs.
                if text.contains(row) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let came = tokio::time::timeout(std::time::Duration::from_secs(30), asked).await;
        assert!(came.is_ok(), "{path}: no {row:?}");
    }
    let refused = Ask::get(shop.address, "/api/v1/notices?format=xml").send().await;
    assert_eq!(refused.code(), "bad-parameter");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_kept_by_browsers_and_asked_for_anew_after_an_update() {
    let shop = shop().await;
    let index = Ask::get(shop.address, "/").send().await;
    let text = String::from_utf8_lossy(&index.body).into_owned();
    let script = text.split('"').find(|part| part.ends_with("/js/app.js")).unwrap();
    let asset = Ask::get(shop.address, script).send().await;
    assert_eq!(asset.status, StatusCode::OK);
    assert!(asset.headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert!(asset.headers["content-type"].to_str().unwrap().starts_with("text/javascript"));
    let known = asset.headers["etag"].to_str().unwrap();
    let again = Ask::get(shop.address, script).header("if-none-match", known).send().await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    let old = Ask::get(shop.address, "/assets/000000000000/js/app.js").send().await;
    assert_eq!((old.status, old.headers["cache-control"].to_str().unwrap()), (StatusCode::OK, "no-cache"));
    assert_eq!(index.headers["cache-control"], "no-cache");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_with_its_holder_and_a_free_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let refused = Listening::at(bind).await.unwrap_err();
    let ApiError::Taken { port, by, another } = &refused else { panic!("{refused}") };
    assert_eq!(*port, bind.port());
    assert!(by.contains(&format!("(pid {})", std::process::id())), "{by}");
    assert_ne!(another.port(), bind.port());
}
