//! The mark a replica and all its children carry in their environment.
//!
//! `HEADROOM_REPLICA_TOKEN` is `<home>.<nonce>`: the home is a hash of the supervisor's directory, so
//! that a supervisor knows its own even when its record is lost and leaves those of another directory
//! alone; the nonce is 128 random bits for each start, so that no other process carries it by chance.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The environment variable that carries the token.
pub(crate) const VARIABLE: &str = "HEADROOM_REPLICA_TOKEN";

/// Whose replicas they are: 64 bits of a hash of the supervisor's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home(String);

impl Home {
    /// `directory` should be canonical, or one directory has two names.
    pub(crate) fn of(directory: &Path) -> Self {
        Self(hex(&Sha256::digest(directory.as_os_str().as_encoded_bytes())[..8]))
    }

    /// A new token, from the operating system's random numbers.
    pub(crate) fn token(&self) -> io::Result<Token> {
        let mut nonce = [0_u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
        Ok(Token(format!("{}.{}", self.0, hex(&nonce))))
    }

    pub(crate) fn owns(&self, token: &Token) -> bool {
        token.0.split_once('.').is_some_and(|(home, nonce)| home == self.0 && !nonce.is_empty())
    }
}

/// The mark of one start of one replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl Token {
    /// What a process says its token is; whether it is ours is [`Home::owns`]'s to tell.
    pub(crate) fn claimed(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string never fails");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_knows_its_own_tokens_and_no_others() {
        let (ours, theirs) = (Home::of(Path::new("/a")), Home::of(Path::new("/b")));
        let token = ours.token().unwrap();
        assert!(ours.owns(&token));
        assert!(!theirs.owns(&token));
        for forged in ["", ".", "abc", &format!("{}.", ours.0), &format!("x{token}")] {
            assert!(!ours.owns(&Token::claimed(forged.to_owned())), "{forged:?}");
        }
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let home = Home::of(Path::new("/a"));
        assert_ne!(home.token().unwrap(), home.token().unwrap());
    }
}
