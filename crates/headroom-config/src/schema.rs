//! The JSON schema of a policy file, generated from the config types of the core.

use headroom_core::fleet::FleetDocument;
use serde_json::Value;

/// The schema of a policy file (JSON Schema, draft 2020-12), as committed at `schemas/fleet.v1alpha1.json`.
///
/// Beside the standard keywords it uses two formats of its own: `span` (a length of time such as `1h30m`) and
/// `quantity` (a number with its unit such as `70%`).
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(FleetDocument).to_value()
}

/// The committed text of [`schema`].
#[must_use]
pub fn schema_text() -> String {
    // Alternate display is serde_json's pretty printing.
    format!("{:#}\n", schema())
}
