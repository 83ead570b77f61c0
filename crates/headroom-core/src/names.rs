//! Names that people give to things.
//!
//! A name is an identifier in files, URLs, metrics and Kubernetes alike, so one rule fits all: a DNS label
//! ([RFC 1123](https://www.rfc-editor.org/rfc/rfc1123), 63 characters) for workloads and fleets, and the same
//! with capitals and underscores for signals. Cloning a name is a reference count, not an allocation: names
//! stand in every decision.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Text that can't be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} can't be the name of a {kind}: use 1 to 63 letters, digits or hyphens, starting with a letter"
)]
pub struct NotAName {
    text: String,
    kind: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $allowed:expr, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NotAName;
            fn from_str(text: &str) -> Result<Self, NotAName> {
                let allowed: fn(char) -> bool = $allowed;
                let fine = (1..=63).contains(&text.len())
                    && text.starts_with(|c: char| c.is_ascii_alphabetic())
                    && !text.ends_with('-')
                    && text.chars().all(allowed);
                if fine { Ok(Self(text.into())) } else { Err(NotAName { text: text.to_owned(), kind: $kind }) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NotAName;
            fn try_from(text: String) -> Result<Self, NotAName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": 63 })
            }
        }
    };
}

name!(
    /// The name of a workload: a thing that is scaled. Lower-case letters, digits, hyphens.
    WorkloadName, "workload",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "^[a-z]([-a-z0-9]*[a-z0-9])?$"
);
name!(
    /// The name of a signal of a workload: letters, digits, hyphens, underscores.
    SignalName, "signal",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "^[A-Za-z]([-_A-Za-z0-9]*[_A-Za-z0-9])?$"
);
name!(
    /// The name of a fleet: the workloads of one policy file.
    FleetName, "fleet",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "^[a-z]([-a-z0-9]*[a-z0-9])?$"
);
name!(
    /// The name of a limit that workloads share: letters, digits, hyphens, underscores.
    LimitName, "limit",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "^[A-Za-z]([-_A-Za-z0-9]*[_A-Za-z0-9])?$"
);

/// What a target calls one of its replicas. Opaque: any text the target chooses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReplicaId(pub Arc<str>);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web", "web-2", "a".repeat(63).as_str()] {
            assert!(good.parse::<WorkloadName>().is_ok(), "{good}");
        }
        for bad in ["", "2web", "-web", "web-", "Web", "we b", "wéb", "a".repeat(64).as_str(), "web/../x"] {
            assert!(bad.parse::<WorkloadName>().is_err(), "{bad}");
        }
        assert!("requestsPerSecond".parse::<SignalName>().is_ok());
        assert!("p95_ms".parse::<SignalName>().is_ok());
    }
}
