//! Names that travel over the control socket, into log lines, cookies and metric labels.
//!
//! They are checked once, when they are made, so nothing downstream has to escape or bound them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name in bytes: that of a DNS name, the longest name Kubernetes hands out (RFC 1035).
pub const MAX_NAME: usize = 253;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot be a name: 1 to {MAX_NAME} characters of a-z, A-Z, 0-9, '.', '_' and '-' are allowed"
)]
pub struct BadName {
    name: String,
}

fn check(name: &str) -> Result<(), BadName> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME;
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Ok(());
    }
    // A refused name may be huge; the message is for people.
    Err(BadName { name: name.chars().take(64).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`BadName`] if it is empty, longer than [`MAX_NAME`] or has a character that is not allowed.
            pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(name: String) -> Result<Self, BadName> {
                Self::new(name)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(name: &str) -> Result<Self, BadName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Name of a service: one listen address and the backends behind it.
    ServiceName
}

name! {
    /// Identity of a backend, chosen by the controller. It survives a change of address, so figures of
    /// a replica that was restarted under the same id continue.
    BackendId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        for good in ["a", "web", "web-1", "shop.web_2", &"x".repeat(MAX_NAME)] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "ü", "a/b", "a;b", &"x".repeat(MAX_NAME + 1)] {
            assert!(BackendId::new(bad).is_err(), "{bad}");
        }
    }
}
