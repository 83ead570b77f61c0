//! The example of each page in `docs/sources/`, read from the real server.

use std::path::Path;
use std::sync::Arc;

use headroom_adapters::source::recall::Recall;
use headroom_core::reading::Absence;
use headroom_engine::ports::{News, Source as _};
use headroom_testkit::source::{Behaviour, Faulty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{Server, free_port, skip_real};
use crate::support::{example, http, open, policy, run, until, until_value, write};

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A12: Prometheus is queried; empty, NaN, infinity, several series and a refused query are no values.
#[tokio::test]
async fn prometheus_is_read_as_its_page_says() {
    if skip_real("Prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shown = Faulty::start(Behaviour::Good(Arc::new(|_: &[u8]| {
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        // A counter that grows by 50 a second.
        let text = format!(
            "# TYPE http_requests_total counter\nhttp_requests_total{{app=\"shop\"}} {}\n\
             http_requests_total{{app=\"other\"}} 1\nbroken NaN\nendless +Inf\n",
            millis % 1_000_000_000 / 20
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        (answer.into_bytes(), false)
    })))
    .await;
    let config = folder.path().join("prometheus.yml");
    write(
        &config,
        &format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 900ms }}\nscrape_configs:\n  - job_name: app\n    static_configs: [ {{ targets: [\"{}\"] }} ]\n",
            shown.address()
        ),
    );
    let (port, log) = (free_port(), folder.path().join("log"));
    let data = folder.path().join("data");
    let mut server = Server::start(
        "prometheus",
        &[
            &format!("--config.file={}", config.display()),
            &format!("--storage.tsdb.path={}", data.display()),
            &format!("--web.listen-address={}", at(port)),
        ],
        &[],
        &log,
    );
    server.listens(port, &log).await;
    let fleet = example("prometheus", &[("127.0.0.1:9090", &at(port))]);
    let mut source = open(&fleet, folder.path()).remove(0);
    // A rate over few scrapes is extrapolated low at first.
    let grown = |v: &Result<headroom_core::reading::Sample, Absence>| {
        v.as_ref().is_ok_and(|s| (40.0..60.0).contains(&s.value.get()))
    };
    let _ = until(&mut source, "rps", grown).await;

    let ask = |name: &str, query: &str, rest: &str| {
        format!(
            "        {name}: {{ prometheus: {{ from: metrics, query: '{query}'{rest} }}, unit: count, every: 200ms }}\n"
        )
    };
    let signals = [
        ask("fine", "up", ""),
        ask("scalar", "scalar(up) * 7", ""),
        ask("none", "no_such_metric", ""),
        ask("nan", "broken", ""),
        ask("infinite", "endless", ""),
        ask("several", "http_requests_total", ""),
        ask("picked", "http_requests_total > 0", ", where: { app: other }"),
        ask("refused", "sum(", ""),
        ask("range", "up[5s]", ""),
    ];
    let fleet = policy(
        &format!("metrics: {{ prometheus: {{ url: \"http://{}\" }} }}", at(port)),
        signals.concat().trim(),
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "fine", 1.0).await;
    until_value(&mut source, "scalar", 7.0).await;
    until_value(&mut source, "picked", 1.0).await;
    let absent = |expected: Absence| move |v: &Result<_, Absence>| v.as_ref().err() == Some(&expected);
    let _ = until(&mut source, "none", absent(Absence::Empty)).await;
    let _ = until(&mut source, "nan", absent(Absence::NotANumber)).await;
    let _ = until(&mut source, "infinite", absent(Absence::NotANumber)).await;
    for (name, words) in [("several", "2 series"), ("refused", "refused"), ("range", "refused")] {
        let says =
            |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains(words));
        let _ = until(&mut source, name, says).await;
    }
}

/// The real server asks for a password and for a client's certificate over TLS; without either nothing is told, and neither is
/// the password.
#[tokio::test]
async fn prometheus_is_shown_a_password_and_a_certificate_over_tls() {
    if skip_real("Prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = crate::tls::Authority::new();
    authority.put(folder.path());
    authority.put_server(folder.path());
    // hunter2, by bcrypt.
    write(
        &folder.path().join("web.yml"),
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  scaler: \
         $2b$04$iWu9VXmIiB.N16gqMaReMeO.6M/wrRQ0IJRCYfcNTEI8tD4d6XjGS\n",
    );
    write(&folder.path().join("prometheus.yml"), "global: {}\n");
    write(&folder.path().join("right"), "hunter2\n");
    write(&folder.path().join("wrong"), "hunter3\n");
    let (port, log) = (free_port(), folder.path().join("log"));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut server = Server::start(
        "prometheus",
        &[
            &format!("--config.file={}", path("prometheus.yml")),
            &format!("--web.config.file={}", path("web.yml")),
            &format!("--storage.tsdb.path={}", path("data")),
            &format!("--web.listen-address={}", at(port)),
        ],
        &[],
        &log,
    );
    server.listens(port, &log).await;
    let source = |password: &str, rest: &str| {
        let auth = format!("basic: {{ user: scaler, password: {{ file: {password} }} }}");
        let fleet = policy(
            &format!(
                "metrics: {{ prometheus: {{ url: \"https://localhost:{port}\", auth: {{ {auth} }}{rest} }} }}"
            ),
            "one: { prometheus: { from: metrics, query: vector(1) }, unit: count, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    let (ca, client) = (", ca: ca.pem", ", client: { certificate: client.pem, key: client.key }");
    until_value(&mut source("right", &format!("{ca}{client}")), "one", 1.0).await;
    for (password, rest, words) in [
        ("wrong", format!("{ca}{client}"), "401"),
        ("right", ca.to_owned(), "BadCertificate"),
        ("right", client.to_owned(), "certificate"),
    ] {
        let told = format!("{:?}", until(&mut source(password, &rest), "one", |_| true).await);
        assert!(told.contains(words) && !told.contains("hunter"), "{rest}: {told}");
    }
}

/// A new installation is told the past that a Prometheus kept: means of five minutes, gaps as gaps; a query that is
/// refused spoils no other.
#[tokio::test]
async fn the_past_is_asked_of_prometheus() {
    if skip_real("Prometheus") {
        return;
    }
    const STEP: i64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let now = headroom_engine::driver::now();
    let last = now.as_millis() / 1000 / STEP * STEP - STEP;
    let begun = last - 3 * 288 * STEP;
    // Three days of a point every five minutes; six hours of it are missing.
    let known = |at: i64| (begun..=last).contains(&at) && !(72..144).contains(&((at - begun) / STEP));
    let load = |at: i64| ((at - begun) / STEP % 288) as f64;
    let mut text = "# TYPE shop_rps gauge\n".to_owned();
    for app in ["shop", "other"] {
        for at in (begun..=last).step_by(300).filter(|at| known(*at)) {
            text.push_str(&format!("shop_rps{{app=\"{app}\"}} {} {at}\n", load(at)));
        }
    }
    text.push_str("# EOF\n");
    let (openmetrics, data) = (folder.path().join("history"), folder.path().join("data"));
    write(&openmetrics, &text);
    let path = |path: &Path| path.display().to_string();
    run("promtool", &["tsdb", "create-blocks-from", "openmetrics", &path(&openmetrics), &path(&data)]);
    let config = folder.path().join("prometheus.yml");
    write(&config, "global: {}\n");
    let (port, log) = (free_port(), folder.path().join("log"));
    let mut server = Server::start(
        "prometheus",
        &[
            &format!("--config.file={}", config.display()),
            &format!("--storage.tsdb.path={}", data.display()),
            "--storage.tsdb.retention.time=20d",
            &format!("--web.listen-address={}", at(port)),
        ],
        &[],
        &log,
    );
    server.listens(port, &log).await;
    let rest = "unit: perSecond, every: 1s, forecast: {}";
    let fleet = policy(
        &format!("metrics: {{ prometheus: {{ url: \"http://{}\" }} }}", at(port)),
        &format!(
            "rps: {{ prometheus: {{ from: metrics, query: shop_rps, where: {{ app: shop }} }}, {rest} }}
        twofold: {{ prometheus: {{ from: metrics, query: shop_rps }}, {rest} }}
        nothing: {{ prometheus: {{ from: metrics, query: no_such_metric }}, {rest} }}
        refused: {{ prometheus: {{ from: metrics, query: 'sum(' }}, {rest} }}"
        ),
    );
    let group = headroom_adapters::source::groups(&fleet).remove(0);
    let names = ["rps", "nothing", "refused", "twofold"];
    let lacking: Vec<_> = names.iter().map(|name| ("app".parse().unwrap(), name.parse().unwrap())).collect();
    let mut recall = Recall::new(&group, &lacking, folder.path(), now).unwrap();
    let mut told = std::collections::BTreeMap::new();
    while let Some(news) = recall.next().await {
        let News::History { signal, history, .. } = news else { panic!("{news:?}") };
        assert!(told.insert(signal.to_string(), history).is_none(), "each is told once");
    }
    let past = told["rps"].clone().unwrap();
    assert_eq!(past.steps.len(), 14 * 288);
    for (k, value) in past.steps.iter().enumerate() {
        let at = past.from.as_millis() / 1000 + i64::try_from(k).unwrap() * STEP;
        let expected = known(at).then(|| load(at));
        assert_eq!(value.map(|v| v.get()), expected, "step {k}");
    }
    for name in ["nothing", "twofold"] {
        assert!(told[name].as_ref().unwrap().steps.iter().all(Option::is_none), "{name}");
    }
    let why = told["refused"].as_ref().unwrap_err();
    assert!(why.contains("`metrics`") && why.contains("refused"), "{why}");
    assert!(Recall::new(&group, &[], folder.path(), now).is_none(), "nobody lacks it");
}

/// A past that can't be had is said of each signal, after a few tries, and that is the end of it.
#[tokio::test(start_paused = true)]
async fn a_past_that_can_not_be_had_is_said() {
    let fleet = policy(
        &format!("metrics: {{ prometheus: {{ url: \"http://127.0.0.1:{}\" }} }}", free_port()),
        "one: { prometheus: { from: metrics, query: x }, unit: count, forecast: {} }
        two: { prometheus: { from: metrics, query: y }, unit: count, forecast: {} }",
    );
    let group = headroom_adapters::source::groups(&fleet).remove(0);
    let lacking: Vec<_> =
        ["one", "two"].iter().map(|name| ("app".parse().unwrap(), name.parse().unwrap())).collect();
    let mut recall = Recall::new(&group, &lacking, Path::new("/"), headroom_engine::driver::now()).unwrap();
    let mut told = Vec::new();
    while let Some(News::History { signal, history, .. }) = recall.next().await {
        let why = history.unwrap_err();
        assert!(why.contains("`metrics`") && why.contains("no connection"), "{why}");
        told.push(signal.to_string());
    }
    told.sort();
    assert_eq!(told, ["one", "two"]);
}

/// A12: OpenMetrics text is scraped.
#[tokio::test]
async fn programs_are_scraped_as_the_page_says() {
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let server = Faulty::start(Behaviour::Good(Arc::new(move |_: &[u8]| {
        let n = 100 * (1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let text = format!(
            "# TYPE http_requests counter\nhttp_requests_total{{code=\"200\"}} {n}\nhttp_requests_total{{code=\"500\"}} {n}\n\
             # TYPE http_request_seconds histogram\nhttp_request_seconds_bucket{{le=\"0.1\"}} {n}\n\
             http_request_seconds_bucket{{le=\"+Inf\"}} {n}\nhttp_request_seconds_count {n}\n# EOF\n"
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        (answer.into_bytes(), false)
    })))
    .await;
    let fleet = example("scrape", &[("127.0.0.1:9100", &server.address().to_string())]);
    let mut source = open(&fleet, Path::new("/")).remove(0);
    let rate = until(&mut source, "rps", |v| v.is_ok()).await.unwrap();
    assert!(rate.value.get() > 0.0, "{rate:?}");
    until_value(&mut source, "p95", 0.095).await;
}

#[tokio::test]
async fn targets_are_found_in_a_file_and_in_dns() {
    let server = |value: u32| {
        Faulty::start(Behaviour::Good(Arc::new(move |_: &[u8]| {
            let text = format!("depth {value}\n");
            (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes(), false)
        })))
    };
    let (one, two) = (server(3).await, server(4).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets.json");
    write(&file, &format!(r#"[{{"targets": ["{}"], "labels": {{"zone": "a"}}}}]"#, one.address()));
    let fleet = policy(
        &format!("apps: {{ scrape: {{ file: targets.json, dns: \"localhost:{}\" }} }}", two.address().port()),
        "all: { scrape: { from: apps, metric: depth, where: { zone: a } }, unit: count, every: 100ms }
        most: { scrape: { from: apps, metric: depth, combine: max }, unit: count, every: 100ms }",
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "all", 3.0).await;
    until_value(&mut source, "most", 4.0).await;
    // The file is read anew: a target comes and another goes.
    write(&file, &format!(r#"[{{"targets": ["{}"], "labels": {{"zone": "a"}}}}]"#, two.address()));
    until_value(&mut source, "all", 4.0).await;
    std::fs::remove_file(&file).unwrap();
    let failed = until(&mut source, "all", |v| v.is_err()).await;
    assert!(format!("{failed:?}").contains("targets.json"), "{failed:?}");
}

#[tokio::test]
async fn a_json_document_is_read_as_the_page_says() {
    let server = Faulty::start(Behaviour::Good(Arc::new(|_: &[u8]| {
        let text = r#"{"queues": [{"depth": 3}, {"depth": 4}], "updatedAt": "2026-01-02T03:04:05Z"}"#;
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes(), false)
    })))
    .await;
    let fleet = example("http", &[("127.0.0.1:8080", &server.address().to_string())]);
    let mut source = open(&fleet, Path::new("/")).remove(0);
    let sample = until(&mut source, "orders", |v| v.is_ok()).await.unwrap();
    assert_eq!((sample.value.get(), sample.at.as_millis()), (7.0, 1_767_323_045_000));
}

#[tokio::test]
async fn a_command_is_run_as_the_page_says() {
    let mut source = open(&example("exec", &[]), Path::new("/")).remove(0);
    until_value(&mut source, "waiting", 12.0).await;
}

/// A12: the infrastructure class.
#[tokio::test]
async fn this_machine_is_read_as_the_page_says() {
    let mut source = open(&example("host", &[]), Path::new("/")).remove(0);
    for signal in ["cpu", "memory", "demand"] {
        let _ = until(&mut source, signal, Result::is_ok).await;
    }
}

#[tokio::test]
async fn statsd_packets_are_taken_in_as_the_page_says() {
    let port = free_port();
    let mut source = open(&example("statsd", &[("127.0.0.1:8125", &at(port))]), Path::new("/")).remove(0);
    let never = until(&mut source, "rps", |_| true).await;
    assert_eq!(never, Err(Absence::NeverSeen));
    let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.send_to(b"shop.requests:30|c\nshop.depth:4|g\n", at(port)).await.unwrap();
    until_value(&mut source, "depth", 4.0).await;
    let _ = until(&mut source, "rps", Result::is_ok).await;
}

/// A12: the external class: queue lengths.
#[tokio::test]
async fn redis_is_read_as_its_page_says() {
    if skip_real("Redis") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, log) = (free_port(), folder.path().join("log"));
    let text = port.to_string();
    let dir = folder.path().display().to_string();
    let start = || {
        let arguments =
            ["--bind", "127.0.0.1", "--port", &text, "--save", "", "--appendonly", "no", "--dir", &dir];
        Server::start("redis-server", &arguments, &[], &log)
    };
    let mut server = start();
    server.listens(port, &log).await;
    let ask = |words: &[&str]| run("redis-cli", &[&["-p", &text], words].concat());
    let fleet = example("redis", &[("127.0.0.1:6379", &at(port))]);
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "waiting", 0.0).await;
    let missing = until(&mut source, "backlog", |_| true).await;
    assert_eq!(missing, Err(Absence::Empty), "a stream that is not there is no zero");
    ask(&["RPUSH", "jobs", "a", "b", "c"]);
    ask(&["LMOVE", "jobs", "jobs-taken", "LEFT", "RIGHT"]);
    until_value(&mut source, "waiting", 3.0).await;
    for n in ["1", "2", "3", "4"] {
        ask(&["XADD", "events", n, "f", "v"]);
    }
    ask(&["XGROUP", "CREATE", "events", "workers", "0"]);
    ask(&["XREADGROUP", "GROUP", "workers", "me", "COUNT", "1", "STREAMS", "events", ">"]);
    until_value(&mut source, "backlog", 4.0).await;
    // After a deletion Redis does not know the lag; what is behind is counted.
    ask(&["XDEL", "events", "3-0"]);
    until_value(&mut source, "backlog", 3.0).await;
    ask(&["SET", "jobs", "x"]);
    let wrong = until(&mut source, "waiting", |v| v.is_err()).await;
    assert!(format!("{wrong:?}").contains("WRONGTYPE"), "{wrong:?}");
    // It dies and comes back: the source connects anew by itself.
    drop(server);
    let gone = until(&mut source, "backlog", |v| matches!(v, Err(Absence::SourceFailed(_)))).await;
    assert!(format!("{gone:?}").contains("`queues`"), "{gone:?}");
    let mut server = start();
    server.listens(port, &log).await;
    until_value(&mut source, "waiting", 0.0).await;
}

/// A password of an access list over TLS; a wrong one is refused and not said.
#[tokio::test]
async fn redis_is_shown_a_password_over_tls() {
    if skip_real("Redis") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = crate::tls::Authority::new();
    authority.put(folder.path());
    authority.put_server(folder.path());
    let (port, log) = (free_port(), folder.path().join("log"));
    let text = port.to_string();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (dir, pem, private, ca) =
        (folder.path().display().to_string(), path("server.pem"), path("server.key"), path("ca.pem"));
    let arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--tls-port",
        &text,
        "--save",
        "",
        "--dir",
        &dir,
        "--tls-cert-file",
        &pem,
        "--tls-key-file",
        &private,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--user",
        "default",
        "off",
        "--user",
        "scaler",
        "on",
        ">hunter2",
        "~*",
        "+llen",
    ];
    let mut server = Server::start("redis-server", &arguments, &[], &log);
    server.listens(port, &log).await;
    let source = |password: &str, rest: &str| {
        write(&folder.path().join("password"), password);
        let fleet = policy(
            &format!(
                "queues: {{ redis: {{ address: \"localhost:{port}\", user: scaler, password: {{ file: password }}{rest} }} }}"
            ),
            "waiting: { redis: { from: queues, list: jobs }, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    until_value(&mut source("hunter2", ", ca: ca.pem"), "waiting", 0.0).await;
    for (password, rest, words) in [
        ("hunter3", ", ca: ca.pem", "WRONGPASS"),
        ("hunter2", ", tls: true", "certificate"),
        ("hunter2", "", ""),
    ] {
        let told = until(&mut source(password, rest), "waiting", |_| true).await;
        let told = format!("{:?}", told.unwrap_err());
        assert!(told.contains(words) && !told.contains("hunter"), "{rest}: {told}");
    }
}

#[tokio::test]
async fn nats_is_read_as_its_page_says() {
    if skip_real("NATS") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, monitor, log) = (free_port(), free_port(), folder.path().join("log"));
    let store = folder.path().join("js").display().to_string();
    let (p, m) = (port.to_string(), monitor.to_string());
    let arguments = ["-a", "127.0.0.1", "-p", &p, "-m", &m, "-js", "-sd", &store];
    let mut server = Server::start("nats-server", &arguments, &[], &log);
    server.listens(port, &log).await;
    server.listens(monitor, &log).await;
    // The protocol is text: a stream and a consumer are made by requests to `$JS.API`.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let publish = |subject: &str, body: &str| format!("PUB {subject} {}\r\n{body}\r\n", body.len());
    let made = [
        "CONNECT {\"verbose\":false}\r\n".to_owned(),
        publish("$JS.API.STREAM.CREATE.jobs", r#"{"name":"jobs","subjects":["jobs.>"],"storage":"memory"}"#),
        publish(
            "$JS.API.CONSUMER.DURABLE.CREATE.jobs.workers",
            r#"{"stream_name":"jobs","config":{"durable_name":"workers","ack_policy":"explicit"}}"#,
        ),
        "PING\r\n".to_owned(),
    ];
    stream.write_all(made.concat().as_bytes()).await.unwrap();
    let mut source = open(&example("nats", &[("127.0.0.1:8222", &at(monitor))]), folder.path()).remove(0);
    until_value(&mut source, "backlog", 0.0).await;
    let jobs: String = (0..7).map(|i| publish("jobs.x", &i.to_string())).collect();
    stream.write_all(jobs.as_bytes()).await.unwrap();
    until_value(&mut source, "backlog", 7.0).await;
}

#[tokio::test]
async fn rabbitmq_is_read_as_its_page_says() {
    if skip_real("RabbitMQ") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let d = folder.path();
    let (amqp, management, dist, epmd) = (free_port(), free_port(), free_port(), free_port());
    write(&d.join("plugins"), "[rabbitmq_management].\n");
    write(
        &d.join("rabbitmq.conf"),
        &format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n\
             collect_statistics_interval = 1000\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        ),
    );
    let path = |name: &str| d.join(name).display().to_string();
    let (dist, epmd) = (dist.to_string(), epmd.to_string());
    let epmd_log = d.join("epmd.log");
    let _epmd = Server::start("epmd", &["-port", &epmd], &[("ERL_EPMD_ADDRESS", "127.0.0.1")], &epmd_log);
    let (conf, plugins, mnesia, logs, pid, home) = (
        path("rabbitmq.conf"),
        path("plugins"),
        path("mnesia"),
        path("log"),
        path("pid"),
        d.display().to_string(),
    );
    let env = [
        ("HOME", home.as_str()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1"),
        ("ERL_EPMD_PORT", &epmd),
        ("RABBITMQ_NODENAME", "headroom-test@localhost"),
        ("RABBITMQ_CONFIG_FILE", &conf),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins),
        ("RABBITMQ_MNESIA_BASE", &mnesia),
        ("RABBITMQ_LOG_BASE", &logs),
        ("RABBITMQ_DIST_PORT", &dist),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null"),
        ("RABBITMQ_PID_FILE", &pid),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}"),
    ];
    let log = d.join("server.log");
    let mut server = Server::start("/usr/lib/rabbitmq/bin/rabbitmq-server", &[], &env, &log);
    server.listens(management, &log).await;
    let ask = |method: &str, path: &str, body: &str| {
        // guest:guest
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        async move { http(management, &request).await }
    };
    while !ask("GET", "/api/overview", "").await.starts_with("HTTP/1.1 200") {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let made = ask("PUT", "/api/queues/%2f/jobs", "{}").await;
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let message = r#"{"properties":{},"routing_key":"jobs","payload":"x","payload_encoding":"string"}"#;
    for _ in 0..4 {
        let sent = ask("POST", "/api/exchanges/%2f/amq.default/publish", message).await;
        assert!(sent.contains("\"routed\":true"), "{sent}");
    }
    let password = d.join("password");
    write(&password, "guest\n");
    let fleet = example(
        "rabbitmq",
        &[
            ("127.0.0.1:15672", &at(management)),
            ("{ env: RABBITMQ_PASSWORD }", &format!("{{ file: \"{}\" }}", password.display())),
        ],
    );
    let mut source = open(&fleet, d).remove(0);
    until_value(&mut source, "backlog", 4.0).await;
}

#[tokio::test]
async fn haproxy_is_read_as_its_page_says() {
    if skip_real("HAProxy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let replica = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let replica_port = replica.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = replica.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(1..) = stream.read(&mut request).await {
                    let status = if request.starts_with(b"GET /bad") { "500 Oops" } else { "200 OK" };
                    if request.starts_with(b"GET /slow") {
                        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    }
                    let _ = stream
                        .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                        .await;
                }
            });
        }
    });
    let (port, log, socket) = (free_port(), folder.path().join("log"), folder.path().join("admin.sock"));
    // The address of the log is held by a datagram socket's port, which is free when a stream's is.
    let lines = at(free_port());
    let config = folder.path().join("haproxy.cfg");
    write(
        &config,
        &format!(
            "global\n  stats socket {} mode 600 level user\n  maxconn 1000\n  log {lines} local0\ndefaults\n  mode http\n  log global\n  option httplog\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\nfrontend web\n  bind 127.0.0.1:{port}\n  default_backend app\nbackend app\n  server one 127.0.0.1:{replica_port}\n",
            socket.display()
        ),
    );
    let mut server = Server::start("haproxy", &["-db", "-f", &config.display().to_string()], &[], &log);
    server.listens(port, &log).await;
    let replace = [("/run/haproxy/admin.sock", socket.display().to_string()), ("127.0.0.1:5514", lines)];
    let fleet = example("haproxy", &replace.each_ref().map(|(from, to)| (*from, to.as_str())));
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "inFlight", 0.0).await;
    until_value(&mut source, "rps", 0.0).await;
    let idle = until(&mut source, "errors", |v| *v != Err(Absence::Empty)).await;
    assert_eq!(idle, Err(Absence::Idle), "no answer, so no share of errors");
    for i in 0..8 {
        let path = if i % 4 == 0 { "/bad" } else { "/" };
        let _ = http(port, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    }
    until_value(&mut source, "errors", 0.25).await;
    // Nine in ten are quick; the slowest is what the 95th percentile is.
    for i in 0..10 {
        let path = if i == 0 { "/slow" } else { "/" };
        let _ = http(port, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    }
    let slow =
        |v: &Result<headroom_core::reading::Sample, Absence>| v.as_ref().is_ok_and(|s| s.value.get() >= 0.3);
    let _ = until(&mut source, "p95", slow).await;
    let _ = until(&mut source, "rps", |v| v.as_ref().is_ok_and(|s| s.value.get() > 0.0)).await;
}
