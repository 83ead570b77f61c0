//! HTTP/2 by prior knowledge and ALPN, TLS termination, certificates that change.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering::SeqCst};

use crate::common::{Backend, Lb, read_answer, serve, service, soon, until};
use bytes::Bytes;
use headroom_lb::settings::{ServiceConfig, TlsFiles};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer},
};

type H2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> H2 {
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn ask(send: &mut H2, method: &str, body: &'static str) -> (u16, String) {
    let request = hyper::Request::builder()
        .method(method)
        .uri("http://shop/x?y")
        .header("x-kept", "1")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    let answer = soon("an answer", send.send_request(request)).await.unwrap();
    let status = answer.status().as_u16();
    let body = soon("a body", answer.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http2_by_prior_knowledge_reaches_a_backend_of_http_1() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let mut send = h2(TcpStream::connect(at).await.unwrap()).await;
    assert_eq!(ask(&mut send, "GET", "").await, (200, "a".into()));
    assert_eq!(ask(&mut send, "POST", "body").await, (200, "a".into()));
    let heads = a.seen.heads.lock().unwrap().clone();
    assert_eq!(
        heads[0],
        "GET /x?y HTTP/1.1\r\nhost: shop\r\nx-kept: 1\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: shop\r\n\r\n"
    );
    assert!(heads[1].contains("content-length: 4\r\n"), "{}", heads[1]);
    assert_eq!(a.seen.bodies.lock().unwrap()[1], b"body");
    assert_eq!(ask(&mut send, "HEAD", "").await, (200, String::new()));
    a.seen.status.store(304, SeqCst);
    assert_eq!(ask(&mut send, "GET", "").await, (304, String::new()));
    a.seen.status.store(0, SeqCst);
    let many = (0..50).map(|_| {
        let mut send = send.clone();
        tokio::spawn(async move { ask(&mut send, "GET", "").await })
    });
    for answer in many.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), (200, "a".into()));
    }
}

/// A stream that is reset takes its request with it.
#[tokio::test]
async fn a_cancelled_stream_counts_as_a_client_that_left() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    client.subscribe().await.unwrap();
    a.seen.stuck.store(true, SeqCst);
    let mut send = h2(TcpStream::connect(at).await.unwrap()).await;
    let waiting = tokio::spawn(async move { ask(&mut send, "GET", "").await });
    until("the request", || async { a.requests() == 1 }).await;
    waiting.abort();
    crate::common::event(&mut events, |e| match e {
        headroom_lb::control::protocol::Event::Figures(f) => {
            let t = f.service_traffic;
            (t.totals.client_gone == 1 && t.in_flight == 0).then_some(())
        }
        _ => None,
    })
    .await;
    a.seen.stuck.store(false, SeqCst);
}

/// Certificate and key on disk, and the certificate a client must trust.
struct Pem {
    dir: tempfile::TempDir,
}

impl Pem {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") }
    }

    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(self.files().cert, made.cert.pem()).unwrap();
        std::fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }
}

async fn connect(
    at: SocketAddr,
    trusted: CertificateDer<'static>,
    alpn: &[&[u8]],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let stream = TcpStream::connect(at).await.unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream);
    soon("a handshake", connected).await.ok()
}

fn with_tls(backend: &Backend, pem: &Pem) -> ServiceConfig {
    let mut s = service(&[backend]);
    s.tls = Some(pem.files());
    s
}

/// A14: TLS termination.
#[tokio::test]
async fn tls_ends_here_and_alpn_chooses_the_version() {
    let (lb, a, pem) = (Lb::start().await, Backend::start("a").await, Pem::new());
    let cert = pem.renew();
    let (client, _events) = lb.controller().await;
    let at = serve(&client, with_tls(&a, &pem)).await;
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut s = connect(at, cert.clone(), alpn).await.unwrap();
        for _ in 0..3 {
            s.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await.unwrap();
            assert_eq!(soon("an answer", read_answer(&mut s, false)).await.unwrap().text(), "a");
        }
    }
    let s = connect(at, cert, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(s.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(ask(&mut h2(s).await, "GET", "").await, (200, "a".into()));
    let heads = a.seen.heads.lock().unwrap();
    assert!(heads.iter().all(|h| h.contains("x-forwarded-proto: https\r\n")), "{heads:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_read_when_the_service_is_put_again() {
    let (lb, a, pem) = (Lb::start().await, Backend::start("a").await, Pem::new());
    let old = pem.renew();
    let (client, _events) = lb.controller().await;
    let at = serve(&client, with_tls(&a, &pem)).await;
    let mut kept = connect(at, old.clone(), &[]).await.unwrap();
    let new = pem.renew();
    assert!(connect(at, new.clone(), &[]).await.is_none(), "not read yet");
    client.put(with_tls(&a, &pem)).await.unwrap();
    until("the new certificate", || async { connect(at, new.clone(), &[]).await.is_some() }).await;
    assert!(connect(at, old, &[]).await.is_none());
    kept.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await.unwrap();
    assert_eq!(soon("an answer", read_answer(&mut kept, false)).await.unwrap().text(), "a");
    // A certificate that cannot be read leaves the old one in use.
    std::fs::write(pem.files().cert, "nonsense").unwrap();
    assert!(client.put(with_tls(&a, &pem)).await.is_err());
    assert!(connect(at, new, &[]).await.is_some());
}

/// An HTTP/2 client sees the first piece of an answer before the backend has made the last.
#[tokio::test]
async fn http2_answers_are_streamed_with_trailers() {
    let (go, went) = tokio::sync::mpsc::channel::<()>(1);
    let went = Arc::new(tokio::sync::Mutex::new(went));
    let backend = Backend::raw("a", move |mut s| {
        let went = Arc::clone(&went);
        async move {
            crate::common::read_head(&mut s).await;
            s.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await
                .unwrap();
            went.lock().await.recv().await;
            s.write_all(b"4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let (mut send, connection) = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(TcpStream::connect(at).await.unwrap()),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("http://shop/").body(Empty::new()).unwrap();
    let mut answer = soon("an answer", send.send_request(request)).await.unwrap();
    let first = soon("the first piece", answer.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    go.send(()).await.unwrap();
    let last = soon("the last piece", answer.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(last, "last");
    let trailers = soon("trailers", answer.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-sum"], "9");
}
