//! The token that every change needs.
//!
//! The API listens on loopback, but loopback is shared: other users of the machine and every web page in the
//! browser can reach it. So whoever changes something shows a secret that only the owner of the data directory can
//! read. A token that others could have read is not used: it is refused with what to do about it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;

/// Bytes of randomness in a token: 256 bits, beyond any guessing.
const BYTES: usize = 32;
/// The largest token file that is read; a token is 65 bytes.
const LARGEST_FILE: u64 = 1024;
/// The mode of the file: its owner alone.
const MODE: u32 = 0o600;

/// A secret of 256 bits, as 64 hexadecimal digits. It is never logged or printed by accident: [`fmt::Debug`] hides
/// it, and only [`Token::reveal`] gives it away.
#[derive(Clone)]
pub struct Token(String);

/// Why a token can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others could have read it.
    #[error(
        "the token file {path} may be read by others (mode {mode:o}). Delete it, and a new one is made at the next \
         start; or, if nobody else has been on this machine, `chmod 600 {path}`", path = path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Someone else put it there.
    #[error(
        "the token file {path} belongs to another user (uid {owner}), who knows what is in it. Delete it, or name \
         another --data", path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// What is in the file is no token.
    #[error(
        "what is in {path} is no token of 64 hexadecimal digits. Delete the file, and a new one is made at the next \
         start", path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers to make a token of: {0}")]
    Random(getrandom::Error),
    /// The system refuses.
    #[error("can't {doing} the token file {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Token {
    /// Reads the token at `path`, or makes one there with mode 0600.
    ///
    /// # Errors
    /// The file belongs to or may be read by someone else, holds no token, or can't be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        let failed = |doing| move |source| TokenError::Io { doing, path: path.to_owned(), source };
        let fresh = Self::random()?;
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
            Ok(mut file) => {
                writeln!(file, "{}", fresh.0).and_then(|()| file.sync_all()).map_err(failed("write"))?;
                Ok(fresh)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = File::open(path).map_err(failed("open"))?;
                Self::read(file, path)
            }
            Err(error) => Err(failed("create")(error)),
        }
    }

    /// A token that nobody knows yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0_u8; BYTES];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    fn read(file: File, path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Io { doing: "read", path: path.to_owned(), source };
        // What was opened is asked, not the name: the name may point elsewhere by now.
        let about = file.metadata().map_err(failed)?;
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Readable { path: path.to_owned(), mode });
        }
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(TokenError::Foreign { path: path.to_owned(), owner: about.uid() });
        }
        let mut text = String::new();
        let malformed = || TokenError::Malformed { path: path.to_owned() };
        file.take(LARGEST_FILE).read_to_string(&mut text).map_err(|_| malformed())?;
        let token = text.trim();
        if token.len() == BYTES * 2 && token.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(token.to_owned()))
        } else {
            Err(malformed())
        }
    }

    /// Whether `offered` is this token. Takes the same time wherever the two differ.
    #[must_use]
    pub fn matches(&self, offered: &str) -> bool {
        self.0.as_bytes().ct_eq(offered.as_bytes()).into()
    }

    /// The secret itself: for the link that `headroom run` prints to its owner's terminal, and for clients.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone_and_then_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let made = Token::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = Token::load_or_create(&path).unwrap();
        assert!(read.matches(made.reveal()));
        assert_eq!(made.reveal().len(), 64);
        assert!(!format!("{made:?}").contains(made.reveal()));
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        Token::load_or_create(&path).unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = Token::load_or_create(&path);
            assert_eq!(loaded.is_ok(), fine, "mode {mode:o}");
            if let Err(error) = loaded {
                assert!(matches!(error, TokenError::Readable { .. }), "{error}");
            }
        }
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for content in ["", "\n", "secret", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Token::load_or_create(&path), Err(TokenError::Malformed { .. })), "{content:?}");
        }
    }

    #[test]
    fn only_the_same_text_matches() {
        let token = Token::random().unwrap();
        let secret = token.reveal().to_owned();
        assert!(token.matches(&secret));
        for other in ["", &secret[1..], &secret[..63], &format!("{secret}0"), &secret.to_uppercase()] {
            assert!(!token.matches(other) || other == secret, "{other}");
        }
        assert!(!token.matches(Token::random().unwrap().reveal()));
    }
}
