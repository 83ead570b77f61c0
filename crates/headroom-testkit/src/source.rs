//! The conformance suite of the [`Source`] seam: what every source that asks a server owes, whatever it asks.
//!
//! A server that fails in every way is put in front of it ([`Faulty`]). Under each fault the source must answer in
//! bounded time that its signals are absent, naming itself, and never with a number; when the server is well again it
//! must read it again, without being started anew; and no secret may stand in anything it says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::reading::Absence;
use headroom_engine::ports::{News, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// So long a test waits for what must come: far longer than any deadline, so that only what never comes fails.
const NEVER: Duration = Duration::from_secs(60);
/// What a source may take in of an endless answer before it gives up, buffers of the sockets included.
const TAKEN_AT_MOST: u64 = 64 * 1024 * 1024;

/// How a server answers.
#[derive(Clone)]
pub enum Behaviour {
    /// As it should: the answer to a request, and whether the connection ends with it.
    Good(Good),
    /// It takes the connection and says nothing.
    Hangs,
    /// It says one byte now and then, for ever.
    Dribbles,
    /// It breaks the connection as soon as it is asked.
    Resets,
    /// It says something else.
    Garbage,
    /// It says that it failed, in the words of its protocol.
    Fails(Vec<u8>),
    /// Its answer does not end.
    Endless(Vec<u8>),
    /// It breaks off in the middle of its answer.
    Cut(Vec<u8>),
}

/// The answer to a request, and whether the connection ends with it.
pub type Good = Arc<dyn Fn(&[u8]) -> (Vec<u8>, bool) + Send + Sync>;

/// A server whose behaviour can be changed at any moment; connections that are open change with it.
pub struct Faulty {
    address: SocketAddr,
    behaviour: Arc<Mutex<(u64, Behaviour)>>,
    sent: Arc<AtomicU64>,
}

impl Faulty {
    /// Starts one on a free port of the loopback.
    ///
    /// # Panics
    /// Where there is no port.
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let behaviour = Arc::new(Mutex::new((0, behaviour)));
        let sent = Arc::new(AtomicU64::new(0));
        let (shared, counted) = (Arc::clone(&behaviour), Arc::clone(&sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), Arc::clone(&counted)));
            }
        });
        Self { address, behaviour, sent }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it answers.
    pub fn become_(&self, behaviour: Behaviour) {
        let mut now = self.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (now.0 + 1, behaviour);
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, behaviour: Arc<Mutex<(u64, Behaviour)>>, sent: Arc<AtomicU64>) {
    let mut request = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        let (version, how) = behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let changed = || behaviour.lock().unwrap_or_else(PoisonError::into_inner).0 != version;
        let done = match how {
            Behaviour::Good(answer) => {
                let (answer, ends) = answer(&request[..length]);
                stream.write_all(&answer).await.is_err() || ends
            }
            Behaviour::Hangs => {
                while !changed() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                true
            }
            Behaviour::Dribbles => {
                while !changed() && stream.write_all(b"0").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                true
            }
            Behaviour::Resets => {
                // Unread input and no lingering: the peer sees a reset.
                let _ = stream.set_zero_linger();
                true
            }
            Behaviour::Garbage => {
                let _ = stream.write_all(&[0xff; 3000]).await;
                let _ = stream.write_all(b"\r\n\r\n").await;
                true
            }
            Behaviour::Fails(text) | Behaviour::Cut(text) => {
                let _ = stream.write_all(&text).await;
                true
            }
            Behaviour::Endless(head) => {
                let _ = stream.write_all(&head).await;
                let filling = vec![b'1'; 64 * 1024];
                while !changed() && stream.write_all(&filling).await.is_ok() {
                    sent.fetch_add(filling.len() as u64, Ordering::Relaxed);
                }
                true
            }
        };
        if done {
            return;
        }
    }
}

/// What goes wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It says nothing.
    Hangs,
    /// It says one byte now and then, for ever.
    Dribbles,
    /// It breaks off as soon as it is asked.
    Resets,
    /// It says something else.
    Garbage,
    /// It says that it failed.
    Fails,
    /// What it says does not end.
    Endless,
    /// It breaks off in the middle.
    Cut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Hangs, Self::Dribbles, Self::Resets, Self::Garbage, Self::Fails, Self::Endless, Self::Cut];
}

/// What a server says in the words of its protocol, well and ill.
#[derive(Clone)]
pub struct Answers {
    /// Its good answers.
    pub good: Good,
    /// How a failure is said.
    pub fails: Vec<u8>,
    /// How an answer that does not end begins.
    pub endless: Vec<u8>,
    /// The beginning of a good answer, and no more.
    pub cut: Vec<u8>,
}

impl Answers {
    /// How a server behaves that is well.
    #[must_use]
    pub fn well(&self) -> Behaviour {
        Behaviour::Good(Arc::clone(&self.good))
    }

    /// How a server behaves that has this fault.
    #[must_use]
    pub fn ill(&self, fault: Fault) -> Behaviour {
        match fault {
            Fault::Hangs => Behaviour::Hangs,
            Fault::Dribbles => Behaviour::Dribbles,
            Fault::Resets => Behaviour::Resets,
            Fault::Garbage => Behaviour::Garbage,
            Fault::Fails => Behaviour::Fails(self.fails.clone()),
            Fault::Endless => Behaviour::Endless(self.endless.clone()),
            Fault::Cut => Behaviour::Cut(self.cut.clone()),
        }
    }
}

/// What the suite needs to know of a source.
pub struct Case {
    /// Opens the source, with one signal, on a server. Its deadline should be short.
    pub open: Box<dyn Fn(SocketAddr) -> Box<dyn Source>>,
    /// What stands in what it says when it fails: its name.
    pub name: &'static str,
    /// What its server says.
    pub answers: Answers,
    /// The value of the signal in its good answers.
    pub value: f64,
    /// What must never be said.
    pub secret: Option<&'static str>,
}

/// Holds a source against all that a server can do.
///
/// # Panics
/// Where it does not hold.
pub async fn suite(case: Case) {
    let server = Faulty::start(case.answers.well()).await;
    let mut source = (case.open)(server.address());
    assert_eq!(source.name(), case.name);
    until_well(source.as_mut(), &case).await;
    for fault in Fault::ALL {
        server.become_(case.answers.ill(fault));
        // A round that was under way may still end well.
        let mut told = next(source.as_mut(), &case).await;
        if told.is_ok() {
            told = next(source.as_mut(), &case).await;
        }
        match told {
            Err(Absence::SourceFailed(why)) => {
                assert!(why.contains(case.name), "{fault:?}: {why:?} does not name `{}`", case.name);
            }
            other => panic!("{fault:?}: a fault became {other:?}"),
        }
        assert!(server.sent() < TAKEN_AT_MOST, "{fault:?}: it took in {} bytes", server.sent());
        server.become_(case.answers.well());
        until_well(source.as_mut(), &case).await;
    }
    // Nobody listens at all.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback is free");
    let address = gone.local_addr().expect("a bound socket has an address");
    drop(gone);
    let mut source = (case.open)(address);
    match next(source.as_mut(), &case).await {
        Err(Absence::SourceFailed(why)) => assert!(why.contains(case.name), "{why:?}"),
        other => panic!("nobody listens, and it said {other:?}"),
    }
}

/// Reads until the good value comes; what comes before is absent, never another number.
async fn until_well(source: &mut dyn Source, case: &Case) {
    let good = async {
        loop {
            match next(source, case).await {
                Ok(value) => return value,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let value = tokio::time::timeout(NEVER, good).await.expect("a source that is well again says so");
    assert!((value - case.value).abs() < 1e-9, "{value} instead of {}", case.value);
}

/// The next news of the signal.
async fn next(source: &mut dyn Source, case: &Case) -> Result<f64, Absence> {
    let news = tokio::time::timeout(NEVER, source.next()).await.expect("a source answers in bounded time");
    let Some(News::Samples(samples)) = news else { panic!("a source goes on, and tells samples") };
    if let Some(secret) = case.secret {
        assert!(!format!("{samples:?}").contains(secret), "a secret was said: {samples:?}");
    }
    assert_eq!(samples.len(), 1, "one signal was asked for, and is told of in each round");
    samples[0].value.clone().map(|sample| sample.value.get())
}
