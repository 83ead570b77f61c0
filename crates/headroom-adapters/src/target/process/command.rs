//! From a spec to a running process.
//!
//! The program is looked up here and not by the operating system, since its answer to a missing program,
//! a missing interpreter and a missing directory is one and the same "No such file or directory".

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::fault::Fault;
use super::logs;
use super::spec::ReplicaSpec;
use super::token::{self, Token};

/// The variables a replica finds itself by, beside its token.
pub(crate) const PORT: &str = "PORT";
pub(crate) const WORKLOAD: &str = "HEADROOM_WORKLOAD";
pub(crate) const REPLICA: &str = "HEADROOM_REPLICA";

/// What makes one start different from another.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) workload: &'a str,
    pub(crate) replica: &'a str,
    pub(crate) token: &'a Token,
    pub(crate) port: Option<u16>,
    pub(crate) log: &'a Path,
}

/// Starts a replica: in a process group of its own, reading nothing, writing to its log.
///
/// A process group is what keeps a terminal's Ctrl-C to the controller from the replicas. (A session
/// of its own would need `pre_exec`, which is `unsafe`, and adds only protection from a hang-up that
/// background groups don't get.)
pub(crate) fn start(spec: &ReplicaSpec, start: &Start<'_>) -> Result<Child, Fault> {
    let program = find(spec)?;
    let log = |error: io::Error| Fault::Unprepared {
        what: format!("opening the log {}", start.log.display()),
        error: error.to_string(),
    };
    let out = logs::open(start.log).map_err(log)?;
    let err = out.try_clone().map_err(log)?;
    let [name, arguments @ ..] = spec.command() else {
        return Err(Fault::CommandNotFound { command: String::new(), looked_in: vec![] });
    };

    let mut command = Command::new(program);
    command.arg0(name).args(arguments.iter().map(|word| with_port(word, start.port)));
    // What configures the controller (its token, its data directory) is none of the replicas' business.
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(b"HEADROOM_") {
            command.env_remove(variable);
        }
    }
    command
        .envs(spec.env.iter().map(|(name, value)| (name, with_port(value, start.port))))
        .env(WORKLOAD, start.workload)
        .env(REPLICA, start.replica)
        .env(token::VARIABLE, start.token.as_str())
        .current_dir(&spec.working_dir)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .kill_on_drop(false);
    match start.port {
        Some(port) => command.env(PORT, port.to_string()),
        None => command.env_remove(PORT),
    };
    command.spawn().map_err(|error| Fault::Spawn { command: name.clone(), error: error.to_string() })
}

/// Replaces `$PORT` and `${PORT}`; a longer name such as `$PORTAL` is left alone.
pub(crate) fn with_port(text: &str, port: Option<u16>) -> String {
    let Some(port) = port else {
        return text.to_owned();
    };
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at..];
        let after = rest.strip_prefix("${PORT}").or_else(|| {
            let after = rest.strip_prefix("$PORT")?;
            (!after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')).then_some(after)
        });
        match after {
            Some(after) => {
                replaced.push_str(&port.to_string());
                rest = after;
            }
            None => {
                replaced.push('$');
                rest = &rest[1..];
            }
        }
    }
    replaced.push_str(rest);
    replaced
}

/// The file that is run: relative to the working directory if the name has a slash, else the first in
/// `PATH` (the spec's, or the controller's).
fn find(spec: &ReplicaSpec) -> Result<PathBuf, Fault> {
    if !spec.working_dir.is_dir() {
        return Err(Fault::NoWorkingDir { dir: spec.working_dir.clone() });
    }
    let name = &spec.command()[0];
    if name.contains('/') {
        // Components drop the "./", so that the message shows a path as people write it.
        let path: PathBuf = spec.working_dir.join(name).components().collect();
        return match executable(&path) {
            Some(true) => Ok(path),
            Some(false) => Err(Fault::NotExecutable { path }),
            None => Err(Fault::CommandNotFound { command: name.clone(), looked_in: vec![path] }),
        };
    }
    let search =
        spec.env.get("PATH").map(|path| OsStr::new(path).to_owned()).or_else(|| std::env::var_os("PATH"));
    let directories: Vec<PathBuf> =
        std::env::split_paths(&search.unwrap_or_default()).filter(|dir| dir.is_absolute()).collect();
    let found = directories.iter().map(|dir| dir.join(name)).find(|path| executable(path) == Some(true));
    found.ok_or_else(|| Fault::CommandNotFound { command: name.clone(), looked_in: directories })
}

/// Whether there is a file, and if so whether anyone may execute it.
fn executable(path: &Path) -> Option<bool> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_is_substituted() {
        for (text, expected) in [
            ("", ""),
            ("$PORT", "80"),
            ("--port=${PORT}", "--port=80"),
            ("127.0.0.1:$PORT/x$PORT", "127.0.0.1:80/x80"),
            ("$PORTAL ${PORTAL} $PORT_2", "$PORTAL ${PORTAL} $PORT_2"),
            ("$HOME $$PORT $", "$HOME $80 $"),
            ("${PORT", "${PORT"),
            ("é$PORTé", "é80é"),
        ] {
            assert_eq!(with_port(text, Some(80)), expected, "{text:?}");
            assert_eq!(with_port(text, None), text, "a worker has no port to put in");
        }
    }

    fn find_in(dir: &Path, command: &str) -> Result<PathBuf, Fault> {
        find(&ReplicaSpec::new(vec![command.to_owned()], dir).unwrap())
    }

    #[test]
    fn a_program_is_looked_up_where_people_expect_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop-web");
        assert_eq!(
            find_in(dir.path(), "./shop-web"),
            Err(Fault::CommandNotFound { command: "./shop-web".to_owned(), looked_in: vec![file.clone()] })
        );
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_in(dir.path(), "./shop-web"), Err(Fault::NotExecutable { path: file.clone() }));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in(dir.path(), "./shop-web"), Ok(file));
        assert!(matches!(find_in(dir.path(), "shop-web"), Err(Fault::CommandNotFound { .. })));
        assert!(find_in(dir.path(), "sh").unwrap().is_absolute());
        assert!(matches!(find_in(&dir.path().join("none"), "sh"), Err(Fault::NoWorkingDir { .. })));
    }
}
