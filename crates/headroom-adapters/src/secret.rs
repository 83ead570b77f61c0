//! Secrets: read where they lie, kept out of everything that is shown.

use std::fmt;
use std::path::Path;

use headroom_core::fleet::SecretRef;

/// The largest file that is taken for a secret: tokens are a few kilobytes at the most, and a mistaken path may be
/// of any size.
const LARGEST: u64 = 64 * 1024;

/// Text that is never printed: neither `Debug` nor an error nor a log line shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set; set it for headroom, or name another")]
    NoVariable(String),
    /// The file can't be read.
    #[error("the secret's file {path} can't be read: {why}")]
    NoFile {
        /// Which.
        path: String,
        /// The system's words.
        why: String,
    },
}

impl Secret {
    /// Reads what `place` names. Files are relative to `base`, the policy's folder.
    ///
    /// # Errors
    /// Where there is nothing at that place.
    pub async fn read(place: &SecretRef, base: &Path) -> Result<Self, SecretError> {
        match place {
            SecretRef::Env(name) => {
                std::env::var(name).map(Self).map_err(|_| SecretError::NoVariable(name.clone()))
            }
            SecretRef::File(file) => {
                let path = base.join(file);
                let no_file = |why: String| SecretError::NoFile { path: path.display().to_string(), why };
                let size = tokio::fs::metadata(&path).await.map_err(|e| no_file(e.to_string()))?.len();
                if size > LARGEST {
                    return Err(no_file(format!("it has {size} bytes, which is no secret")));
                }
                let text = tokio::fs::read_to_string(&path).await.map_err(|e| no_file(e.to_string()))?;
                Ok(Self(text.trim_end().to_owned()))
            }
        }
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_without_its_last_line_end_and_nothing_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hunter2\n").unwrap();
        let secret = Secret::read(&SecretRef::File("token".into()), folder.path()).await.unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let base = Path::new("/nowhere");
        let missing = Secret::read(&SecretRef::Env("HEADROOM_TEST_NO_SUCH".to_owned()), base).await;
        assert!(missing.unwrap_err().to_string().contains("HEADROOM_TEST_NO_SUCH"));
        let missing = Secret::read(&SecretRef::File("token".into()), base).await;
        assert!(missing.unwrap_err().to_string().contains("/nowhere/token"));
    }
}
