//! Which header fields a proxy passes on, drops or writes itself.
//!
//! Fields that speak of one connection only (RFC 9110 §7.6.1) never pass, nor those a `Connection`
//! field names.

/// What a proxy does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes unchanged.
    EndToEnd,
    /// Is dropped: it speaks of one connection.
    HopByHop,
    Connection,
    ContentLength,
    TransferEncoding,
    Host,
    Upgrade,
    Cookie,
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded`.
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    Forwarded,
}

/// Tells a field by its name, in any case.
pub(crate) fn kind(name: &[u8]) -> Kind {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    // By length first: most names differ from all of these in it.
    match name.len() {
        2 if is(b"te") => Kind::HopByHop,
        4 if is(b"host") => Kind::Host,
        6 if is(b"cookie") => Kind::Cookie,
        7 if is(b"upgrade") => Kind::Upgrade,
        7 if is(b"trailer") => Kind::HopByHop,
        9 if is(b"forwarded") => Kind::Forwarded,
        10 if is(b"connection") => Kind::Connection,
        10 if is(b"keep-alive") => Kind::HopByHop,
        14 if is(b"content-length") => Kind::ContentLength,
        14 if is(b"http2-settings") => Kind::HopByHop,
        15 if is(b"x-forwarded-for") => Kind::XForwardedFor,
        16 if is(b"x-forwarded-host") => Kind::XForwardedHost,
        16 if is(b"proxy-connection") => Kind::HopByHop,
        17 if is(b"transfer-encoding") => Kind::TransferEncoding,
        17 if is(b"x-forwarded-proto") => Kind::XForwardedProto,
        18 if is(b"proxy-authenticate") => Kind::HopByHop,
        19 if is(b"proxy-authorization") => Kind::HopByHop,
        _ => Kind::EndToEnd,
    }
}

/// Whether a field may stand in a trailer: none that frames, routes or authenticates (RFC 9110 §6.5.1).
pub(crate) fn may_trail(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 9] = [
        b"authorization",
        b"set-cookie",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"expect",
        b"max-forwards",
        b"range",
    ];
    kind(name) == Kind::EndToEnd && !NEVER.iter().any(|n| name.eq_ignore_ascii_case(n))
}

/// Tokens of a comma separated field value, without white space around them.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// Whether a comma separated field value has this token, in any case.
pub(crate) fn has_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|t| t.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_connection_are_told_from_end_to_end_ones() {
        for name in
            ["TE", "Trailer", "Keep-Alive", "Proxy-Connection", "proxy-authorization", "HTTP2-Settings"]
        {
            assert_eq!(kind(name.as_bytes()), Kind::HopByHop, "{name}");
        }
        for name in ["", "accept", "x-te", "hostx", "Content-Type", "Sec-WebSocket-Key", "Expect"] {
            assert_eq!(kind(name.as_bytes()), Kind::EndToEnd, "{name}");
        }
        assert_eq!(kind(b"CONTENT-length"), Kind::ContentLength);
    }

    #[test]
    fn tokens_ignore_case_and_white_space() {
        assert!(has_token(b" keep-alive ,\tUPGRADE", b"upgrade"));
        assert!(!has_token(b"upgrades", b"upgrade"));
        assert!(!has_token(b",,", b""));
    }

    #[test]
    fn framing_and_credentials_never_trail() {
        assert!(may_trail(b"grpc-status") && may_trail(b"Server-Timing"));
        for name in ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Connection"] {
            assert!(!may_trail(name.as_bytes()), "{name}");
        }
    }
}
