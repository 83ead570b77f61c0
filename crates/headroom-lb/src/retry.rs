//! Whether a request may go to another backend after one failed it.

use crate::settings::Retry;

/// How far a request got before its attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// No byte of it was written: no connection, or a pooled one that was closed already.
    Nothing,
    /// Some of it was written; whether the backend acted on it is not known.
    Perhaps,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) reached: Reached,
    pub(crate) idempotent: bool,
    /// Bytes of the body were sent and are gone.
    pub(crate) body_sent: bool,
    /// Further attempts made so far.
    pub(crate) retries: u32,
}

/// Whether to try again.
///
/// What never reached a backend may always be tried again, whatever its method. What perhaps did may
/// only if doing it twice is doing it once (RFC 9110 §9.2.2), and only if it is still whole.
pub(crate) fn may_retry(settings: &Retry, attempt: &Attempt) -> bool {
    let safe = match attempt.reached {
        Reached::Nothing => true,
        Reached::Perhaps => settings.idempotent && attempt.idempotent && !attempt.body_sent,
    };
    safe && attempt.retries < settings.attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_happen_twice_is_tried_again() {
        use Reached::{Nothing, Perhaps};
        let on = Retry { attempts: 2, idempotent: true };
        let off = Retry { attempts: 2, idempotent: false };
        let rows = [
            (on, Nothing, false, false, 0, true),
            (on, Nothing, false, false, 1, true),
            (on, Nothing, false, false, 2, false),
            (off, Nothing, false, false, 0, true),
            (on, Perhaps, true, false, 0, true),
            (on, Perhaps, true, true, 0, false),
            (on, Perhaps, false, false, 0, false),
            (off, Perhaps, true, false, 0, false),
            (Retry { attempts: 0, idempotent: true }, Nothing, true, false, 0, false),
        ];
        for (settings, reached, idempotent, body_sent, retries, expected) in rows {
            let attempt = Attempt { reached, idempotent, body_sent, retries };
            assert_eq!(may_retry(&settings, &attempt), expected, "{settings:?} {attempt:?}");
        }
    }
}
