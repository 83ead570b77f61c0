//! Troubles that go on: said once, then how often they came again.
//!
//! A full disk fails every round, and a taken port every retry: as many lines as there are failures would fill the
//! disk that is full and hide everything else. What is said is unchanged; only how often is bounded.

use std::time::{Duration, Instant};

/// A trouble that goes on is said again this often: often enough for someone who has just begun to read the log.
const EVERY: Duration = Duration::from_secs(60);

/// One trouble and how often it came since it was last said.
#[derive(Debug, Default)]
pub struct Repeated {
    going_on: Option<GoingOn>,
}

#[derive(Debug)]
struct GoingOn {
    words: String,
    said: Instant,
    /// Since it was last said.
    unsaid: u64,
    /// In all.
    times: u64,
}

impl Repeated {
    /// Takes in that it came (again). `Some` where it is to be said: with how often it came without being said.
    pub fn came(&mut self, words: &str, now: Instant) -> Option<u64> {
        match &mut self.going_on {
            Some(going_on) if going_on.words == words => {
                going_on.times += 1;
                if now.duration_since(going_on.said) < EVERY {
                    going_on.unsaid += 1;
                    return None;
                }
                going_on.said = now;
                Some(std::mem::take(&mut going_on.unsaid))
            }
            Some(_) | None => {
                self.going_on = Some(GoingOn { words: words.to_owned(), said: now, unsaid: 0, times: 1 });
                Some(0)
            }
        }
    }

    /// Takes in that all is well. `Some` where it was not: with how often the trouble came in all.
    pub fn is_over(&mut self) -> Option<u64> {
        self.going_on.take().map(|going_on| going_on.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, then once a minute with the count, then that it is over.
    #[test]
    fn a_trouble_is_said_once_and_then_counted() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trouble = Repeated::default();
        assert_eq!(trouble.is_over(), None);
        assert_eq!(trouble.came("full", at(0)), Some(0));
        assert_eq!((1..60).filter_map(|s| trouble.came("full", at(s))).count(), 0);
        assert_eq!(trouble.came("full", at(60)), Some(59));
        assert_eq!(trouble.came("full", at(61)), None);
        assert_eq!(trouble.came("read-only", at(62)), Some(0), "another trouble is news");
        assert_eq!(trouble.came("read-only", at(63)), None);
        assert_eq!(trouble.is_over(), Some(2));
        assert_eq!(trouble.came("full", at(64)), Some(0), "a new beginning is news");
    }
}
