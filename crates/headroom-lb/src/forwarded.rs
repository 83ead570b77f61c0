//! Header fields that tell a backend who asked: `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded`.
//!
//! By default what a client sends in them is thrown away, since at the edge anyone can write them. A
//! service behind another proxy may trust them; then the balancer adds itself to the lists.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use crate::settings::Forwarded;

/// Most bytes of a trusted incoming list that are passed on: some hundred hops.
const MAX_INCOMING: usize = 4 * 1024;

/// What the client sent in these fields.
#[derive(Debug, Default)]
pub(crate) struct Incoming<'a> {
    pub(crate) x_for: Vec<&'a [u8]>,
    pub(crate) x_proto: Option<&'a [u8]>,
    pub(crate) x_host: Option<&'a [u8]>,
    pub(crate) forwarded: Vec<&'a [u8]>,
}

/// One client connection, as backends are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    ip: String,
    /// The ip as RFC 7239 writes it: IPv6 in brackets and quotes.
    node: String,
    proto: &'static str,
    settings: Forwarded,
}

impl Client {
    pub(crate) fn new(ip: IpAddr, tls: bool, settings: Forwarded) -> Self {
        let ip = ip.to_canonical();
        let node = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        Self { ip: ip.to_string(), node, proto: if tls { "https" } else { "http" }, settings }
    }

    /// Writes the fields for a request to `host`, which is a valid host or empty.
    pub(crate) fn write(&self, out: &mut BytesMut, host: &[u8], incoming: &Incoming<'_>) {
        let trust = self.settings.trust_incoming;
        if self.settings.x_forwarded {
            out.put_slice(b"x-forwarded-for: ");
            if trust {
                put_list(out, &incoming.x_for);
            }
            out.put_slice(self.ip.as_bytes());
            out.put_slice(b"\r\nx-forwarded-proto: ");
            out.put_slice(incoming.x_proto.filter(|_| trust).unwrap_or(self.proto.as_bytes()));
            let host = incoming.x_host.filter(|_| trust).unwrap_or(host);
            if !host.is_empty() {
                out.put_slice(b"\r\nx-forwarded-host: ");
                out.put_slice(host);
            }
            out.put_slice(b"\r\n");
        }
        if self.settings.rfc7239 {
            out.put_slice(b"forwarded: ");
            if trust {
                put_list(out, &incoming.forwarded);
            }
            out.put_slice(b"for=");
            out.put_slice(self.node.as_bytes());
            out.put_slice(b";proto=");
            out.put_slice(self.proto.as_bytes());
            if !host.is_empty() {
                // Quoted always: a port's colon is no token character.
                out.put_slice(b";host=\"");
                out.put_slice(host);
                out.put_u8(b'"');
            }
            out.put_slice(b"\r\n");
        }
    }
}

fn put_list(out: &mut BytesMut, values: &[&[u8]]) {
    let mut room = MAX_INCOMING;
    for value in values.iter().filter(|v| !v.is_empty()) {
        let Some(left) = room.checked_sub(value.len() + 2) else { return };
        room = left;
        out.put_slice(value);
        out.put_slice(b", ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ip: &str, tls: bool, settings: Forwarded, host: &str, incoming: &Incoming<'_>) -> String {
        let mut out = BytesMut::new();
        Client::new(ip.parse().unwrap(), tls, settings).write(&mut out, host.as_bytes(), incoming);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn spoofed() -> Incoming<'static> {
        Incoming {
            x_for: vec![b"1.1.1.1", b"2.2.2.2"],
            x_proto: Some(b"https"),
            x_host: Some(b"evil"),
            forwarded: vec![b"for=1.1.1.1"],
        }
    }

    #[test]
    fn what_a_client_claims_is_replaced() {
        assert_eq!(
            written("::ffff:10.0.0.9", false, Forwarded::default(), "shop:80", &spoofed()),
            "x-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop:80\r\n"
        );
    }

    #[test]
    fn a_trusted_proxy_is_added_to() {
        let all = Forwarded { x_forwarded: true, rfc7239: true, trust_incoming: true };
        assert_eq!(
            written("2001:db8::1", true, all, "shop", &spoofed()),
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 2001:db8::1\r\nx-forwarded-proto: https\r\n\
             x-forwarded-host: evil\r\nforwarded: for=1.1.1.1, for=\"[2001:db8::1]\";proto=https;host=\"shop\"\r\n"
        );
    }

    #[test]
    fn switched_off_nothing_is_written() {
        let off = Forwarded { x_forwarded: false, rfc7239: false, trust_incoming: false };
        assert_eq!(written("10.0.0.9", false, off, "shop", &spoofed()), "");
    }
}
