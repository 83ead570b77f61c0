//! Kafka: a consumer group's lag, against librdkafka's mock cluster (which `kcat` starts, with a real producer and a real
//! consumer group), and against brokers that fail in every way.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use headroom_core::reading::Absence;
use headroom_testkit::source::{Behaviour, Faulty, Good};

use crate::server::skip_real;
use crate::support::{example, open, policy, until, until_value};

/// A cluster of two brokers within a `kcat`, which ends with it.
struct Cluster(Child, String);

impl Cluster {
    fn start(log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        // It waits for lines to send, which never come.
        let process = Command::new("kcat")
            .args(["-P", "-b", "127.0.0.1:9", "-t", "none"])
            .args(["-X", "test.mock.num.brokers=2", "-X", "debug=mock"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| {
                panic!("kcat can't be started ({e}): install it, or set HEADROOM_SKIP_REAL=1")
            });
        let mut cluster = Self(process, String::new());
        for _ in 0..3000 {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let found = said.split_once("bootstrap.servers=").and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((servers, _)) = found {
                cluster.1 = servers.split(',').next().unwrap().trim().to_owned();
                return cluster;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no cluster: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    fn kcat(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kcat");
        command.args(["-b", &self.1]).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Sends so many messages to a partition.
    fn produce(&self, topic: &str, partition: u32, count: usize) {
        let mut child = self
            .kcat(&["-P", "-t", topic, "-p", &partition.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all("message\n".repeat(count).as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// A member of the group takes so many messages, commits, and leaves.
    fn consume(&self, group: &str, topic: &str, count: usize) {
        let taken = self
            .kcat(&["-G", group, "-c", &count.to_string(), "-X", "auto.offset.reset=earliest", topic])
            .output()
            .unwrap();
        assert_eq!(taken.stdout.iter().filter(|byte| **byte == b'\n').count(), count);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A12: the external class: a group's lag over the partitions of two brokers, by a group that really consumes.
#[tokio::test]
async fn kafka_is_read_as_its_page_says() {
    if skip_real("Kafka (kcat)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&folder.path().join("log"));
    for partition in 0..4 {
        cluster.produce("orders", partition, 10);
    }
    let mut source = open(&example("kafka", &[("127.0.0.1:9092", &cluster.1)]), folder.path()).remove(0);
    until_value(&mut source, "behind", 40.0).await;
    cluster.consume("shop", "orders", 15);
    until_value(&mut source, "behind", 25.0).await;
    cluster.produce("orders", 2, 7);
    until_value(&mut source, "behind", 32.0).await;

    let fleet = policy(
        // The first broker is not there; the second says where all are.
        &format!("events: {{ kafka: {{ brokers: [\"127.0.0.1:1\", \"{}\"] }} }}", cluster.1),
        "shop: { kafka: { from: events, topic: orders, group: shop }, every: 100ms }
        latest: { kafka: { from: events, topic: orders, group: late, uncommitted: none }, every: 100ms }
        earliest: { kafka: { from: events, topic: orders, group: late }, every: 100ms }",
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "shop", 32.0).await;
    until_value(&mut source, "latest", 0.0).await;
    until_value(&mut source, "earliest", 47.0).await;
    drop(cluster);
    let gone = until(&mut source, "shop", Result::is_err).await;
    assert!(matches!(&gone, Err(Absence::SourceFailed(why)) if why.contains("`events`")), "{gone:?}");
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// One broker that leads the only partition, which ends at 100; the group has committed 58 of it.
pub(crate) fn broker() -> Good {
    Arc::new(|request: &[u8]| {
        let (key, number) =
            (request.get(5).copied().unwrap_or_default(), request.get(8..12).unwrap_or_default());
        let one = &[0, 0, 0, 1][..];
        let none = &[0, 0, 0, 0][..];
        // Whoever answers the question of where brokers are is the one that is asked: the port is in the group's name.
        let port = || {
            let text = String::from_utf8_lossy(request);
            let digits: String =
                text.rsplit("port-").next().unwrap().chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().unwrap_or_default().to_be_bytes()
        };
        let body = match key {
            18 => [&[0, 0][..], one, &[0, 3, 0, 0, 0, 1]].concat(),
            3 => [
                one,
                none,
                &string("127.0.0.1"),
                &port(),
                &[0xff, 0xff],
                none,
                one,
                &[0, 0],
                &string(&topic(port())),
                &[0],
                one,
                &[0, 0],
                none,
                none,
                none,
                none,
            ]
            .concat(),
            10 => [none, &[0, 0], &[0xff, 0xff], none, &string("127.0.0.1"), &port()].concat(),
            9 => [
                one,
                &string(&topic(port())),
                one,
                none,
                &58_i64.to_be_bytes(),
                &[0xff, 0xff],
                &[0, 0],
                &[0, 0],
            ]
            .concat(),
            _ => [
                one,
                &string(&topic(port())),
                one,
                none,
                &[0, 0],
                &(-1_i64).to_be_bytes(),
                &100_i64.to_be_bytes(),
            ]
            .concat(),
        };
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        ([&length[..], number, &body].concat(), false)
    })
}

fn topic(port: [u8; 4]) -> String {
    format!("port-{}", u32::from_be_bytes(port))
}

/// Credentials are asked for, sent, and never said.
#[tokio::test]
async fn a_refused_password_is_said_without_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = Arc::clone(&seen);
    let server = Faulty::start(Behaviour::Good(Arc::new(move |request: &[u8]| {
        asked.lock().unwrap().extend_from_slice(request);
        let number = request.get(8..12).unwrap_or_default();
        let body = match request.get(5) {
            Some(18) => vec![0, 0, 0, 0, 0, 0],
            Some(17) => [&[0, 0][..], &[0, 0, 0, 1], &string("PLAIN")].concat(),
            _ => [&[0, 58][..], &string("no such user or password")].concat(),
        };
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        ([&length[..], number, &body].concat(), false)
    })))
    .await;
    let fleet = policy(
        &format!(
            "events: {{ kafka: {{ brokers: [\"{}\"], auth: {{ user: me, password: {{ file: secret }} }} }} }}",
            server.address()
        ),
        "value: { kafka: { from: events, topic: t, group: g } }",
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    let told = format!("{:?}", until(&mut source, "value", |_| true).await);
    assert!(told.contains("no such user or password") && !told.contains("hunter2"), "{told}");
    let sent = seen.lock().unwrap().clone();
    assert!(sent.windows(11).any(|w| w == b"\0me\0hunter2"), "the password is sent");
}

/// A broker's side of SCRAM, by what the RFC has it store: a hash of the client's key, and its own.
struct Login {
    long: bool,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
    /// All that was said up to the client's last message, and the number in it.
    said: String,
    nonce: String,
}

const SALT: &str = "QSXCR+Q6sek8bf92";
/// Few, since a test's build is slow at it.
const ROUNDS: usize = 50;

fn mac(long: bool, key: &[u8], text: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    match long {
        true => Hmac::<sha2::Sha512>::new_from_slice(key)
            .unwrap()
            .chain_update(text)
            .finalize()
            .into_bytes()
            .to_vec(),
        false => Hmac::<sha2::Sha256>::new_from_slice(key)
            .unwrap()
            .chain_update(text)
            .finalize()
            .into_bytes()
            .to_vec(),
    }
}

fn digest(long: bool, text: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    if long { sha2::Sha512::digest(text).to_vec() } else { sha2::Sha256::digest(text).to_vec() }
}

impl Login {
    fn new(long: bool, password: &str) -> Self {
        use base64::Engine as _;
        let salt = base64::engine::general_purpose::STANDARD.decode(SALT).unwrap();
        let mut last = mac(long, password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
        let mut salted = last.clone();
        for _ in 1..ROUNDS {
            last = mac(long, password.as_bytes(), &last);
            salted.iter_mut().zip(&last).for_each(|(a, b)| *a ^= b);
        }
        let stored_key = digest(long, &mac(long, &salted, b"Client Key"));
        let server_key = mac(long, &salted, b"Server Key");
        Self { long, stored_key, server_key, said: String::new(), nonce: String::new() }
    }

    /// What is answered to a message, or why the client is sent away.
    fn answer(&mut self, message: &str) -> Result<String, &'static str> {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD;
        if let Some(bare) = message.strip_prefix("n,,") {
            let nonce = bare.strip_prefix("n=me,r=").ok_or("no such user")?;
            self.nonce = format!("{nonce}andours");
            let first = format!("r={},s={SALT},i={ROUNDS}", self.nonce);
            self.said = format!("{bare},{first}");
            return Ok(first);
        }
        let (rest, proof) = message.split_once(",p=").ok_or("no proof")?;
        assert_eq!(rest, format!("c=biws,r={}", self.nonce));
        let said = format!("{},{rest}", self.said);
        let signature = mac(self.long, &self.stored_key, said.as_bytes());
        let key: Vec<u8> = base64.decode(proof).unwrap().iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if digest(self.long, &key) != self.stored_key {
            return Err("authentication failed");
        }
        Ok(format!("v={}", base64.encode(mac(self.long, &self.server_key, said.as_bytes()))))
    }
}

/// A broker that answers once it has been shown a password by `mechanism`.
fn guarded(mechanism: &'static str, login: Login) -> Good {
    let (login, answers) = (std::sync::Mutex::new(login), broker());
    Arc::new(move |request: &[u8]| {
        let body = match request.get(5) {
            Some(17) => {
                let asked = request.windows(mechanism.len()).any(|w| w == mechanism.as_bytes());
                [&[0, if asked { 0 } else { 33 }][..], &[0, 0, 0, 1], &string(mechanism)].concat()
            }
            Some(36) => {
                let message = String::from_utf8_lossy(request.get(26..).unwrap_or_default()).into_owned();
                match login.lock().unwrap().answer(&message) {
                    Ok(answer) => {
                        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
                        [&[0, 0, 0xff, 0xff][..], &length, answer.as_bytes()].concat()
                    }
                    Err(why) => [&[0, 58][..], &string(why), &[0, 0, 0, 0]].concat(),
                }
            }
            _ => return answers(request),
        };
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        ([&length[..], request.get(8..12).unwrap_or_default(), &body].concat(), false)
    })
}

/// A password is proved to a broker and never sent, over TLS with a certificate of our own; and the broker proves that it
/// knows it.
#[tokio::test]
async fn a_password_is_proved_over_tls() {
    let authority = crate::tls::Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.put(folder.path());
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    for (long, mechanism, word) in
        [(false, "SCRAM-SHA-256", "scramSha256"), (true, "SCRAM-SHA-512", "scramSha512")]
    {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let server = |login| {
            let (asked, good) = (Arc::clone(&seen), guarded(mechanism, login));
            Faulty::start(Behaviour::Good(Arc::new(move |request: &[u8]| {
                asked.lock().unwrap().extend_from_slice(request);
                good(request)
            })))
        };
        let source = |port: u16, auth: &str| {
            let name = format!("port-{port}");
            let tls = "ca: ca.pem, client: { certificate: client.pem, key: client.key }";
            let fleet = policy(
                &format!(
                    "events: {{ kafka: {{ brokers: [\"localhost:{port}\"], auth: {{ user: me, password: {{ file: secret }}{auth} }}, {tls} }}, deadline: 20s }}"
                ),
                &format!("value: {{ kafka: {{ from: events, topic: {name}, group: {name} }} }}"),
            );
            open(&fleet, folder.path()).remove(0)
        };
        let auth = format!(", mechanism: {word}");
        let right = server(Login::new(long, "hunter2")).await;
        let port = authority.front(right.address()).await;
        until_value(&mut source(port, &auth), "value", 42.0).await;
        let plain = format!("{:?}", until(&mut source(port, ""), "value", |_| true).await);
        assert!(plain.contains("knows no PLAIN") && plain.contains(mechanism), "{plain}");

        let wrong = server(Login::new(long, "hunter3")).await;
        let port = authority.front(wrong.address()).await;
        let refused = format!("{:?}", until(&mut source(port, &auth), "value", |_| true).await);
        assert!(refused.contains("authentication failed"), "{refused}");

        // One that takes every proof, and can't give its own.
        let cheats = Login { server_key: vec![0; 32], ..Login::new(long, "hunter2") };
        let cheats = server(cheats).await;
        let port = authority.front(cheats.address()).await;
        let cheated = format!("{:?}", until(&mut source(port, &auth), "value", |_| true).await);
        assert!(cheated.contains("does not know the password"), "{cheated}");
        let sent = seen.lock().unwrap().clone();
        assert!(!sent.windows(7).any(|w| w == b"hunter2"), "the password is never sent");
    }
}

/// A broker that answers once it has been shown the password `hunter2` as it is, and tells what it was asked.
async fn plain_broker(seen: &Arc<std::sync::Mutex<Vec<u8>>>) -> Faulty {
    let (asked, answers) = (Arc::clone(seen), broker());
    Faulty::start(Behaviour::Good(Arc::new(move |request: &[u8]| {
        asked.lock().unwrap().extend_from_slice(request);
        let right = request.windows(11).any(|w| w == b"\0me\0hunter2");
        let body = match (request.get(5), right) {
            (Some(17), _) => [&[0, 0][..], &[0, 0, 0, 1], &string("PLAIN")].concat(),
            (Some(36), true) => vec![0, 0, 0xff, 0xff, 0, 0, 0, 0],
            (Some(36), false) => [&[0, 58][..], &string("authentication failed"), &[0, 0, 0, 0]].concat(),
            _ => return answers(request),
        };
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        ([&length[..], request.get(8..12).unwrap_or_default(), &body].concat(), false)
    })))
    .await
}

/// PLAIN is spoken within TLS: a broker whose certificate is not believed never hears the password, nor does one that
/// speaks no TLS.
#[tokio::test]
async fn a_password_is_shown_within_tls_alone() {
    let (authority, stranger) = (crate::tls::Authority::new(), crate::tls::Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.put(folder.path());
    let secret = folder.path().join("secret");
    let source = |port: u16| {
        let name = format!("port-{port}");
        let tls = "ca: ca.pem, client: { certificate: client.pem, key: client.key }";
        let fleet = policy(
            &format!(
                "events: {{ kafka: {{ brokers: [\"localhost:{port}\"], auth: {{ user: me, password: {{ file: secret }} }}, {tls} }}, deadline: 20s }}"
            ),
            &format!("value: {{ kafka: {{ from: events, topic: {name}, group: {name} }} }}"),
        );
        open(&fleet, folder.path()).remove(0)
    };
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let is_told = || seen.lock().unwrap().windows(7).any(|w| w == b"hunter2");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let plain = plain_broker(&seen).await;
    for port in [stranger.front(plain.address()).await, plain.address().port()] {
        let refused = format!("{:?}", until(&mut source(port), "value", |_| true).await);
        assert!(refused.contains("`events`") && refused.contains("TLS"), "{refused}");
        assert!(!is_told(), "the password was sent to whoever asked");
    }
    let port = authority.front(plain.address()).await;
    until_value(&mut source(port), "value", 42.0).await;
    assert!(is_told());
    std::fs::write(&secret, "hunter3\n").unwrap();
    let wrong = format!("{:?}", until(&mut source(port), "value", |_| true).await);
    assert!(wrong.contains("authentication failed") && !wrong.contains("hunter"), "{wrong}");
}
