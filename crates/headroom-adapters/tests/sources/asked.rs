//! Every kind of source that asks a server: how it stands in a policy, and what its server says, well and ill.

use std::net::SocketAddr;
use std::sync::Arc;

use headroom_testkit::source::{Answers, Good};

use crate::support::http_answer;

/// A kind of source with one signal.
pub(crate) struct Asked {
    source: String,
    signal: &'static str,
    pub(crate) answers: Answers,
    /// The signal's value in the good answers.
    pub(crate) value: f64,
}

impl Asked {
    /// The source as it stands in a policy, for a server at `address`.
    pub(crate) fn source(&self, address: SocketAddr) -> String {
        self.source.replace("ADDR", &address.to_string())
    }

    /// The signal as it stands in a policy.
    pub(crate) fn signal(&self, address: SocketAddr) -> String {
        self.signal.replace("PORT", &address.port().to_string())
    }
}

/// What must never be said.
pub(crate) const SECRET: &str = "hunter2";

fn secret_file() -> String {
    let path = std::env::temp_dir().join(format!("headroom-test-secret-{}", std::process::id()));
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    path.display().to_string()
}

/// A kind that speaks HTTP and gets `body`.
fn over_http(source: &str, signal: &'static str, body: &'static str, value: f64) -> Asked {
    let answers = Answers {
        good: Arc::new(move |_: &[u8]| (http_answer("200 OK", body), false)),
        fails: http_answer("500 Internal Server Error", "no luck"),
        endless: b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec(),
        cut: b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"status\":".to_vec(),
    };
    Asked { source: source.to_owned(), signal, answers, value }
}

pub(crate) fn prometheus() -> Asked {
    let auth = format!("auth: {{ bearer: {{ file: \"{}\" }} }}", secret_file());
    let source = format!("prometheus: {{ url: \"http://ADDR\", {auth} }}");
    let mut asked = over_http(&source, "prometheus: { from: subject, query: x }, unit: count", "", 42.0);
    // Its answers say of which moment they are.
    asked.answers.good = Arc::new(|_: &[u8]| {
        let at = headroom_engine::driver::now().as_millis() / 1000;
        let vector = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{at},"42"]}}]}}}}"#
        );
        (http_answer("200 OK", &vector), false)
    });
    asked
}

pub(crate) fn http() -> Asked {
    let auth = format!("auth: {{ basic: {{ user: u, password: {{ file: \"{}\" }} }} }}", secret_file());
    let source = format!("http: {{ url: \"http://ADDR/f\", {auth} }}");
    over_http(&source, "http: { from: subject, path: $.a }, unit: count", r#"{"a": 7}"#, 7.0)
}

pub(crate) fn scrape() -> Asked {
    let signal = "scrape: { from: subject, metric: depth }, unit: count";
    over_http("scrape: { targets: [\"ADDR\"] }", signal, "depth 3\n", 3.0)
}

pub(crate) fn rabbitmq() -> Asked {
    let body = r#"[{"name":"jobs","messages":5,"messages_ready":2,"messages_unacknowledged":3}]"#;
    over_http("rabbitmq: { url: \"http://ADDR\" }", "rabbitmq: { from: subject, queue: jobs }", body, 5.0)
}

pub(crate) fn nats() -> Asked {
    let body = r#"{"account_details":[{"name":"$G","stream_detail":[{"name":"jobs",
        "consumer_detail":[{"name":"work","num_pending":4,"num_ack_pending":2}]}]}]}"#;
    let signal = "nats: { from: subject, stream: jobs, consumer: work }";
    over_http("nats: { url: \"http://ADDR\" }", signal, body, 6.0)
}

pub(crate) fn redis() -> Asked {
    let good: Good = Arc::new(|request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let mut answer = String::new();
        if text.contains("AUTH") {
            answer.push_str("+OK\r\n");
        }
        if text.contains("LLEN") {
            answer.push_str(":9\r\n");
        }
        (answer.into_bytes(), false)
    });
    Asked {
        source: format!("redis: {{ address: \"ADDR\", password: {{ file: \"{}\" }} }}", secret_file()),
        signal: "redis: { from: subject, list: jobs }",
        answers: Answers {
            good,
            fails: b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
            endless: b"$999999999\r\n".to_vec(),
            cut: b"$100\r\nabc".to_vec(),
        },
        value: 9.0,
    }
}

pub(crate) fn haproxy() -> Asked {
    let good: Good = Arc::new(|_: &[u8]| {
        (b"# pxname,svname,qcur,scur,\nweb,FRONTEND,,1,\napp,BACKEND,4,2,\n\n".to_vec(), true)
    });
    Asked {
        source: "haproxy: { socket: \"ADDR\" }".to_owned(),
        signal: "haproxy: { from: subject, proxy: app, figure: inFlight }",
        answers: Answers {
            good,
            fails: b"Permission denied\n".to_vec(),
            endless: b"# pxname,svname\n".to_vec(),
            cut: b"# pxna".to_vec(),
        },
        value: 6.0,
    }
}

pub(crate) fn postgres() -> Asked {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    let ready = message(b'Z', b"I");
    // A start-up message has no kind: its first byte is that of its length.
    let good: Good = Arc::new(move |request: &[u8]| match request.first() {
        Some(0) => ([message(b'R', &[0, 0, 0, 0]), ready.clone()].concat(), false),
        Some(b'Q') => {
            let column = [&[0, 1][..], b"n\0", &[0; 18]].concat();
            let row = [&[0, 1, 0, 0, 0, 2][..], b"11"].concat();
            let answer =
                [message(b'T', &column), message(b'D', &row), message(b'C', b"SELECT 1\0"), ready.clone()];
            (answer.concat(), false)
        }
        _ => (Vec::new(), true),
    });
    Asked {
        source: "postgres: { address: \"ADDR\", database: d, user: u }".to_owned(),
        signal: "postgres: { from: subject, query: select 11 }, unit: count",
        answers: Answers {
            good,
            fails: [&[b'E', 0, 0, 0, 25][..], b"SFATAL\0C53300\0Mfull\0\0"].concat(),
            endless: vec![b'D', 0x7f, 0xff, 0xff, 0xf0],
            cut: vec![b'R', 0, 0, 0],
        },
        value: 11.0,
    }
}

pub(crate) fn kafka() -> Asked {
    Asked {
        source: "kafka: { brokers: [\"ADDR\"] }".to_owned(),
        signal: "kafka: { from: subject, topic: port-PORT, group: port-PORT }",
        answers: Answers {
            good: crate::kafka::broker(),
            // The answer to the first question of a connection: error 35.
            fails: vec![0, 0, 0, 10, 0, 0, 0, 1, 0, 35, 0, 0, 0, 0],
            endless: vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1],
            cut: vec![0, 0, 0, 100, 0, 0, 0, 1, 0, 0],
        },
        value: 42.0,
    }
}

#[cfg(feature = "keda")]
pub(crate) fn keda() -> Asked {
    Asked {
        source: "keda: { address: \"ADDR\" }".to_owned(),
        signal: "keda: { from: subject, metric: backlog }, unit: count",
        answers: crate::keda::answers(7.0),
        value: 7.0,
    }
}

/// All of them, by their words in a policy.
pub(crate) fn all() -> Vec<(&'static str, Asked)> {
    vec![
        ("prometheus", prometheus()),
        ("scrape", scrape()),
        ("http", http()),
        ("postgres", postgres()),
        ("redis", redis()),
        ("rabbitmq", rabbitmq()),
        ("nats", nats()),
        ("haproxy", haproxy()),
        #[cfg(feature = "keda")]
        ("keda", keda()),
        ("kafka", kafka()),
    ]
}
