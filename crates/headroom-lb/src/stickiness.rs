//! Cookie stickiness: off unless asked for (A14).
//!
//! The cookie holds a hash of the backend's id. It is a hint, not a right: if that backend is not
//! ready, another is chosen and the cookie set anew, so stickiness never keeps a replica from draining.

use crate::{names::BackendId, settings::Stickiness};

/// FNV-1a, 64 bit: spreads ids well, needs no key and no state. It hides nothing of worth.
pub(crate) fn hash(id: &BackendId) -> u64 {
    id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The backend's hash in a `Cookie` field's value, if the cookie is there and well formed.
pub(crate) fn read(value: &[u8], cookie: &str) -> Option<u64> {
    value.split(|b| *b == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(cookie.as_bytes())?.strip_prefix(b"=")?;
        if value.len() != 16 {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
    })
}

/// The value of the `Set-Cookie` field that names a backend.
pub(crate) fn set(settings: &Stickiness, hash: u64, tls: bool) -> String {
    let mut cookie = format!("{}={hash:016x}; Path=/; HttpOnly; SameSite=Lax", settings.cookie);
    if let Some(seconds) = settings.max_age_seconds {
        cookie.push_str(&format!("; Max-Age={seconds}"));
    }
    if tls {
        cookie.push_str("; Secure");
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_cookie_reads_back() {
        let s = Stickiness { cookie: "lb".into(), max_age_seconds: Some(60) };
        let h = hash(&"web-1".parse().unwrap());
        let set = set(&s, h, true);
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"), "{set}");
        let sent = format!("a=b; {}; c=d", set.split(';').next().unwrap());
        assert_eq!(read(sent.as_bytes(), "lb"), Some(h));
    }

    #[test]
    fn anything_else_is_no_cookie_of_ours() {
        for value in ["", "lb", "lb=", "lb=1", "xlb=0000000000000001", "lb=zzzzzzzzzzzzzzzz"] {
            assert_eq!(read(value.as_bytes(), "lb"), None, "{value}");
        }
    }
}
