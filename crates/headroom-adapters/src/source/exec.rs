//! Figures that a command prints: a number alone, or JSON.
//!
//! The command runs in a process group of its own, which is killed when the deadline is over: a script's children
//! must not pile up behind a figure that nobody waits for any more.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, ExecAsk, ExecSettings};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::json::JsonPath;
use super::poll::{Figure, ReadError, Reader, Want};
use crate::http::{first_words, json};

/// The most that is read of an output.
const LARGEST_OUTPUT: u64 = 1024 * 1024;

/// Runs a command for all that is wanted of it.
pub struct Exec {
    settings: ExecSettings,
    asks: Vec<Option<JsonPath>>,
    base: PathBuf,
}

/// Kills a group unless it is known to have ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Exec {
    /// Runs `settings` in `base`.
    ///
    /// # Errors
    /// Where a path can't be read.
    pub fn new(settings: &ExecSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&ExecAsk> = super::asks(wants, |ask| match ask {
            Ask::Exec(ask) => Some(ask),
            _ => None,
        })?;
        let asks = asks
            .into_iter()
            .map(|ask| ask.path.as_deref().map(JsonPath::parse).transpose())
            .collect::<Result<_, _>>()?;
        Ok(Self { settings: settings.clone(), asks, base: base.to_owned() })
    }
}

#[async_trait]
impl Reader for Exec {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let (program, arguments) = self
            .settings
            .command
            .split_first()
            .ok_or_else(|| ReadError::Setup("no program is named".to_owned()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(&self.base)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| ReadError::Setup(format!("{program} can't be started: {e}")))?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (output, errors) = tokio::join!(read_some(child.stdout.take()), read_some(child.stderr.take()));
        if output.len() as u64 > LARGEST_OUTPUT {
            return Err(ReadError::TooLarge { limit: LARGEST_OUTPUT as usize });
        }
        let status = child.wait().await.map_err(|e| ReadError::Setup(e.to_string()))?;
        group.0 = None;
        let at = now();
        if !status.success() {
            let words = Some(first_words(&errors)).filter(|words| !words.is_empty());
            return Err(ReadError::Refused(
                words.map_or_else(|| status.to_string(), |w| format!("{status}: {w}")),
            ));
        }
        let text = String::from_utf8_lossy(&output);
        // Parsed only where a figure has a path: a number alone is JSON too, but "+Inf" is not.
        let mut document = None;
        let mut figure = |path: &Option<JsonPath>| -> Result<Figure, ReadError> {
            let Some(path) = path else {
                let text = text.trim();
                let number = text.parse().map_err(|_| {
                    ReadError::Garbage(format!("{:?} is no number", first_words(text.as_bytes())))
                });
                return if text.is_empty() { Ok(Err(Absence::Empty)) } else { Ok(Ok((at, number?))) };
            };
            if document.is_none() {
                document = Some(json(text.as_bytes())?);
            }
            let document = document.as_ref().ok_or_else(|| ReadError::Garbage(String::new()))?;
            Ok(path.number(document).map(|value| (at, value)))
        };
        self.asks.iter().map(&mut figure).collect()
    }
}

/// Reads to the end, or to one byte more than is allowed.
async fn read_some(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(pipe) = pipe {
        // A pipe that breaks has ended; the exit code tells why.
        let _ = pipe.take(LARGEST_OUTPUT + 1).read_to_end(&mut read).await;
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_core::units::Span;

    fn exec(script: &str, paths: &[Option<&str>]) -> Exec {
        let settings = ExecSettings { command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()] };
        let want = |path: &Option<&str>| Want {
            ask: Ask::Exec(ExecAsk { from: "x".parse().unwrap(), path: path.map(str::to_owned) }),
            window: Span::seconds(1),
            fresh_for: Span::seconds(1),
        };
        let wants: Vec<_> = paths.iter().map(want).collect();
        Exec::new(&settings, &wants, Path::new("/")).unwrap()
    }

    async fn values(script: &str, paths: &[Option<&str>]) -> Result<Vec<Result<f64, Absence>>, ReadError> {
        let figures = exec(script, paths).read().await?;
        Ok(figures.into_iter().map(|f| f.map(|(_, value)| value)).collect())
    }

    #[tokio::test]
    async fn the_output_is_a_number_or_json_and_silence_is_no_zero() {
        assert_eq!(values("echo 42.5", &[None]).await, Ok(vec![Ok(42.5)]));
        assert_eq!(values("true", &[None]).await, Ok(vec![Err(Absence::Empty)]));
        let json = r#"echo '{"a": 1, "b": [2, 3]}'"#;
        let paths = [Some("$.a"), Some("$.b[*]"), Some("$.c")];
        assert_eq!(values(json, &paths).await, Ok(vec![Ok(1.0), Ok(5.0), Err(Absence::Empty)]));
    }

    #[tokio::test]
    async fn what_fails_says_so_in_its_own_words() {
        let failed = values("echo no such queue >&2; exit 3", &[None]).await.unwrap_err().to_string();
        assert!(failed.contains("no such queue") && failed.contains('3'), "{failed}");
        assert!(matches!(values("echo many", &[None]).await, Err(ReadError::Garbage(_))));
        assert!(matches!(values("yes", &[None]).await, Err(ReadError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let mut hangs = exec(&format!("sleep 600 & echo $! > {}; wait", pid.display()), &[None]);
        let read = tokio::spawn(async move { hangs.read().await });
        let child = loop {
            match std::fs::read_to_string(&pid) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        read.abort();
        let _ = read.await;
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        while alive() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
