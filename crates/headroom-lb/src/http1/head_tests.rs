//! Tables for the reading of request and response heads: what is taken, what is refused, and why.

use super::*;
use crate::settings::Forwarded;

fn translate(head: &str) -> Result<(Request, String), BadRequest> {
    let off = Forwarded { x_forwarded: false, ..Forwarded::default() };
    let client = Client::new([10, 0, 0, 9].into(), false, off);
    let mut out = BytesMut::new();
    assert_eq!(head_length(head.as_bytes(), &mut 0)?, Some(head.len()), "{head:?}");
    let shape = Shape { client: &client, sticky_cookie: Some("lb") };
    let request = translate_request(head.as_bytes(), &shape, &mut out)?;
    Ok((request, String::from_utf8(out.to_vec()).unwrap()))
}

#[test]
fn a_request_is_written_anew() {
    let (request, head) = translate(
        "GET /a?b HTTP/1.1\r\nAccept: */*\r\nHost: shop\r\nConnection: keep-alive, X-Secret\r\n\
         X-Secret: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nCookie: lb=00000000000000ff\r\n\r\n",
    )
    .unwrap();
    assert_eq!(head, "GET /a?b HTTP/1.1\r\nhost: shop\r\nAccept: */*\r\nCookie: lb=00000000000000ff\r\n\r\n");
    assert!(request.keep_alive && !request.upgrade && request.http11);
    assert_eq!((request.body, request.sticky), (Length::None, Some(255)));
}

#[test]
fn framing_is_written_from_what_was_understood() {
    let (r, head) = translate("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n").unwrap();
    assert_eq!(
        (r.body, head.as_str()),
        (Length::Exact(7), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n")
    );
    let (r, head) = translate("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert_eq!(r.body, Length::Chunked);
    assert!(head.ends_with("transfer-encoding: chunked\r\n\r\n"), "{head}");
}

/// Every way to smuggle a request that is known to us (RFC 9112 §11.2): refused, not repaired.
#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() {
    use BadRequest::{Connect, Framing, Host, Malformed, TransferCoding, Version};
    let rows = [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", Framing),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", TransferCoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferCoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", TransferCoding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Framing,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Malformed),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", Malformed),
        ("POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", Malformed),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Framing),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Host),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Malformed),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Version),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Connect),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
    ];
    for (head, expected) in rows {
        assert_eq!(translate(head).unwrap_err(), expected, "{head:?}");
    }
}

#[test]
fn the_absolute_form_names_the_host() {
    let (_, head) = translate("GET HTTP://shop:81/a HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
    assert_eq!(head, "GET /a HTTP/1.1\r\nhost: shop:81\r\n\r\n");
    let (_, head) = translate("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head.starts_with("OPTIONS * "), "{head}");
}

#[test]
fn only_websockets_upgrade() {
    let ask = |what: &str| {
        translate(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {what}\r\n\r\n"))
            .unwrap()
    };
    let (r, head) = ask("WebSocket");
    assert!(r.upgrade && head.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
    let (r, head) = ask("h2c");
    assert!(!r.upgrade && !head.to_lowercase().contains("upgrade"), "{head}");
}

#[test]
fn keep_alive_follows_the_version() {
    let rows = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, field, expected) in rows {
        let (r, _) = translate(&format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n")).unwrap();
        assert_eq!(r.keep_alive, expected, "{version} {field}");
    }
}

#[test]
fn a_head_that_trickles_in_is_found_once_it_is_whole() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let mut scanned = 0;
    for n in 0..head.len() {
        let expected = (n >= 27).then_some(27);
        assert_eq!(head_length(&head[..n], &mut scanned), Ok(expected), "{n}");
        if expected.is_some() {
            break;
        }
    }
}

fn get() -> Request {
    Request {
        method: Method::Idempotent,
        body: Length::None,
        http11: true,
        keep_alive: true,
        upgrade: false,
        sticky: None,
    }
}

fn respond(head: &str, request: &Request) -> Result<(Response, Encoding, String), BadResponse> {
    let mut out = BytesMut::new();
    let (response, encoding) =
        translate_response(head.as_bytes(), request, None, request.keep_alive, &mut out)?;
    Ok((response, encoding, String::from_utf8(out.to_vec()).unwrap()))
}

#[test]
fn an_answer_is_written_anew() {
    let (r, encoding, head) = respond(
        "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nX: y\r\n\r\n",
        &get(),
    )
    .unwrap();
    assert_eq!(head, "HTTP/1.1 200 Fine\r\nX: y\r\ncontent-length: 3\r\n\r\n");
    assert_eq!((r.body, r.keep_alive, encoding), (Length::Exact(3), true, Encoding::Plain));
}

#[test]
fn bodies_are_sent_as_each_client_can_read_them() {
    let old = Request { http11: false, ..get() };
    let head_only = Request { method: Method::Head, ..get() };
    let rows = [
        ("200 OK\r\nTransfer-Encoding: chunked", get(), Length::Chunked, Encoding::Chunked),
        ("200 OK", get(), Length::UntilClose, Encoding::Chunked),
        ("200 OK", old, Length::UntilClose, Encoding::UntilClose),
        ("200 OK\r\nTransfer-Encoding: chunked", old, Length::Chunked, Encoding::UntilClose),
        ("200 OK\r\nContent-Length: 9", head_only, Length::None, Encoding::Plain),
        ("304 Not Modified\r\nContent-Length: 9", get(), Length::None, Encoding::Plain),
        ("204 No Content", get(), Length::None, Encoding::Plain),
    ];
    for (head, request, length, encoding) in rows {
        let (r, e, out) = respond(&format!("HTTP/1.1 {head}\r\n\r\n"), &request).unwrap();
        assert_eq!((r.body, e), (length, encoding), "{head}");
        assert_eq!(out.contains("ontent-Length: 9"), head.contains(": 9"), "{out}");
    }
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_refused() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert!(respond(head, &get()).is_err(), "{head:?}");
    }
}
