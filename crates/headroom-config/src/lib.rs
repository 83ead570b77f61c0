//! Policy files: text in, a checked [`Fleet`] out, or everything that is wrong with it.
//!
//! A person who mends a policy should need one round: all mistakes are reported at once, each with file, line, the
//! text it is about and the nearest valid name. serde stops at the first, so this crate reads YAML into a tree with
//! places, compares the tree with the JSON schema of the config types, and lets the types and the core's own
//! checks judge what is left. Nothing here knows a strategy, a signal or a target by name: a setting is added in
//! the core, and is checked and documented here.
//!
//! Refused: to guess. A file with a mistake loads nothing; a reload with one keeps the fleet that is there.
//!
//! ```
//! let error = headroom_config::parse("fleet.yaml", "kind: Flet\n").unwrap_err();
//! assert!(error.to_string().contains("did you mean `Fleet`?"));
//! ```

mod check;
mod diagnostic;
mod reference;
pub mod reload;
mod rules;
mod say;
mod schema;
mod tree;
mod walk;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use headroom_core::fleet::Fleet;
use sha2::{Digest as _, Sha256};

pub use diagnostic::{ConfigError, Diagnostic, Place, Severity};
pub use reference::policy_reference;
pub use schema::{schema, schema_text};

/// The largest policy file: ten times what a fleet of a thousand workloads takes; beyond, the file is a mistake.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A policy that was read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The fleet.
    pub fleet: Fleet,
    /// What may not mean what its author thinks.
    pub warnings: Vec<Diagnostic>,
    /// The SHA-256 of the text, in hexadecimal: whether two texts are the same policy.
    pub digest: String,
    /// The folder that relative paths of the policy (programs, working directories, certificates) start from:
    /// the policy file's own, as an absolute path if the file was read from disk.
    pub base: PathBuf,
}

/// Reads the policy file at `path`.
///
/// # Errors
/// If the file can't be read (missing, a directory, not permitted, larger than [`MAX_FILE_BYTES`], no UTF-8), or
/// for everything that is wrong with its text.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    let mut loaded = parse(&name, &text)?;
    loaded.base = folder_of(path);
    Ok(loaded)
}

/// Checks the text of a policy; `name` is shown as the file, and its folder is the base of relative paths.
///
/// # Errors
/// For everything that is wrong with the text, at once.
pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigError> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large(name, text.len() as u64));
    }
    let digest = digest(text.as_bytes());
    let checked = check::check(text);
    match checked.fleet {
        Some(fleet) if !check::has_error(&checked.findings) => {
            let (warnings, _) = diagnostic::place(name, text, checked.findings);
            let base = Path::new(name).parent().unwrap_or(Path::new("")).to_path_buf();
            Ok(Loaded { fleet, warnings, digest, base })
        }
        Some(_) | None => Err(ConfigError::new(name, text, checked.findings, Some(digest))),
    }
}

fn read(path: &Path, name: &str) -> Result<String, ConfigError> {
    let refuse = |message: String, help: &str| Err(ConfigError::unreadable(name, message, help));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return refuse(open_failure(&error), open_help(error.kind())),
    };
    match file.metadata() {
        Ok(meta) if meta.is_dir() => {
            return refuse("this is a directory, not a policy file".to_owned(), "name a file in it");
        }
        // A pipe has no length of its own; it is read up to the limit below.
        Ok(meta) if meta.len() > MAX_FILE_BYTES => return Err(too_large(name, meta.len())),
        Ok(_) | Err(_) => {}
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        return refuse(format!("the policy file could not be read: {error}"), "try again");
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large(name, bytes.len() as u64));
    }
    let digest = digest(&bytes);
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // Up to the first bad byte the lossy text is the text.
        let finding = diagnostic::Finding::new("this is no UTF-8 text").at(at..at);
        let finding = finding.help("save the file as UTF-8");
        ConfigError::new(name, &text, vec![finding], Some(digest))
    })
}

fn open_failure(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such policy file".to_owned(),
        ErrorKind::PermissionDenied => "the policy file may not be read".to_owned(),
        _ => format!("the policy file could not be opened: {error}"),
    }
}

fn open_help(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "name it with `-f`; `examples/` has some to start from",
        ErrorKind::PermissionDenied => "give the user that runs headroom leave to read it (chmod, chown)",
        _ => "check the path",
    }
}

fn too_large(name: &str, bytes: u64) -> ConfigError {
    let message =
        format!("the policy file has at least {bytes} bytes, more than the {MAX_FILE_BYTES} allowed");
    ConfigError::unreadable(name, message, "is it the right file? A large fleet can be split into several")
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}
