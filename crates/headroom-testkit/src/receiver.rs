//! Servers that are told things: one that takes HTTP requests, one that takes mail. They remember what they got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// So long a test waits for what must come.
const NEVER: Duration = Duration::from_secs(60);

/// A request that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST /path`.
    pub line: String,
    /// Names in lower case, with values.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: String,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What was received so far; whoever waits for more is woken.
#[derive(Clone, Debug)]
struct Log<T>(watch::Sender<Vec<T>>);

impl<T: Clone> Log<T> {
    fn new() -> Self {
        Self(watch::channel(Vec::new()).0)
    }

    fn push(&self, one: T) {
        self.0.send_modify(|all| all.push(one));
    }

    async fn until(&self, what: &str, enough: impl FnMut(&Vec<T>) -> bool) -> Vec<T> {
        let mut log = self.0.subscribe();
        let waited = tokio::time::timeout(NEVER, log.wait_for(enough)).await;
        waited.unwrap_or_else(|_| panic!("{what} never came")).expect("the sender is here").clone()
    }
}

/// A server that takes HTTP requests and answers each as it is told to.
pub struct HttpReceiver {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    log: Log<Request>,
}

impl HttpReceiver {
    /// Starts one on a free port of the loopback; it answers 200 and nothing else.
    ///
    /// # Panics
    /// Where there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let answer = Arc::new(Mutex::new((200, String::new())));
        let log = Log::new();
        let receiver = Self { address, answer: Arc::clone(&answer), log: log.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_http(stream, Arc::clone(&answer), log.clone()));
            }
        });
        receiver
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with this status and content from now on.
    pub fn answer(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = (status, body.to_owned());
    }

    /// Waits until what was received is enough; gives all of it.
    ///
    /// # Panics
    /// Where that never comes.
    pub async fn until(&self, enough: impl FnMut(&Vec<Request>) -> bool) -> Vec<Request> {
        self.log.until("the request", enough).await
    }
}

async fn serve_http(stream: TcpStream, answer: Arc<Mutex<(u16, String)>>, log: Log<Request>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let (status, body) = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        log.push(request);
        let answer = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let headers: Vec<(String, String)> = head
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, n)| n.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let line = head.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, headers, body: String::from_utf8(body).ok()? })
}

/// A mail that was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Who sent it, as the envelope says.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// Header and content.
    pub text: String,
    /// Whether the connection was secret.
    pub secret: bool,
    /// What it logged in with, as it came over the wire.
    pub login: Option<String>,
}

/// A mail server that takes everything.
pub struct SmtpSink {
    address: SocketAddr,
    log: Log<Mail>,
}

impl SmtpSink {
    /// Starts one on a free port of the loopback. With `tls` it offers STARTTLS.
    ///
    /// # Panics
    /// Where there is no port.
    pub async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let log = Log::new();
        let sink = Self { address, log: log.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log) = (tls.clone(), log.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    if stream.get_mut().write_all(b"220 sink\r\n").await.is_err() {
                        return;
                    }
                    let offers = tls.is_some();
                    if serve_smtp(&mut stream, offers, Mail::default(), &log).await != Some(Next::Tls) {
                        return;
                    }
                    let Some(config) = tls else { return };
                    let acceptor = tokio_rustls::TlsAcceptor::from(config);
                    if let Ok(secret) = acceptor.accept(stream.into_inner()).await {
                        let mail = Mail { secret: true, ..Mail::default() };
                        let _ = serve_smtp(&mut BufReader::new(secret), false, mail, &log).await;
                    }
                });
            }
        });
        sink
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until what was received is enough; gives all of it.
    ///
    /// # Panics
    /// Where that never comes.
    pub async fn until(&self, enough: impl FnMut(&Vec<Mail>) -> bool) -> Vec<Mail> {
        self.log.until("the mail", enough).await
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Tls,
}

/// Speaks SMTP until the connection ends (`None`) or TLS is asked for.
async fn serve_smtp<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    offers_tls: bool,
    mut mail: Mail,
    log: &Log<Mail>,
) -> Option<Next> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let address =
            || line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(a, _)| a.to_owned());
        let answer = match verb.as_str() {
            "EHLO" if offers_tls => "250-sink\r\n250 STARTTLS\r\n",
            "EHLO" => "250-sink\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" if offers_tls => {
                stream.get_mut().write_all(b"220 go on\r\n").await.ok()?;
                return Some(Next::Tls);
            }
            "AUTH" => {
                mail.login = Some(line.to_owned());
                "235 welcome\r\n"
            }
            "MAIL" => {
                mail.from = address().unwrap_or_default();
                "250 ok\r\n"
            }
            "RCPT" => {
                mail.to.extend(address());
                "250 ok\r\n"
            }
            "DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n").await.ok()?;
                mail.text = read_data(stream).await?;
                log.push(mail.clone());
                (mail.to, mail.text) = (Vec::new(), String::new());
                "250 taken\r\n"
            }
            "QUIT" => {
                let _ = stream.get_mut().write_all(b"221 bye\r\n").await;
                return None;
            }
            _ => "250 ok\r\n",
        };
        stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read_data<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim_end() == "." {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
