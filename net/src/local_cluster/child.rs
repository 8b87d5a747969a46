//! One node as a child process.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LocalError;
use crate::node::Birth;

/// A process that runs `quorate start`. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    log: PathBuf,
    has_ended: bool,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        // Without a code it was a signal.
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or(0)), Self::Exit)
    }
}

impl Child {
    pub(super) fn spawn(binary: &Path, config: &Path, log: PathBuf, birth: Birth) -> Result<Self, LocalError> {
        let folder_error = |error| LocalError::Folder { path: log.clone(), error };
        let output = File::create(&log).map_err(folder_error)?;
        let errors = output.try_clone().map_err(folder_error)?;
        let mut command = Command::new(binary);
        // Settings in our environment are meant for a node that somebody starts by hand.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_setting) {
                command.env_remove(&name);
            }
        }
        let spawned = command
            .arg("start")
            .args((birth == Birth::Create).then_some("--create"))
            .arg("--config")
            .arg(config)
            .env(END_WITH, process::id().to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Keys pressed at the terminal are for us: we ask the nodes to end.
            .process_group(0)
            .spawn();
        match spawned {
            Ok(process) => Ok(Self { process, log, has_ended: false }),
            Err(error) => Err(LocalError::Spawn { binary: binary.to_owned(), error }),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn is_running(&self) -> bool {
        !self.has_ended
    }

    /// Returns how it ended, once.
    pub(super) fn try_ended(&mut self) -> Option<Ended> {
        if self.has_ended {
            return None;
        }
        // An error means that nobody knows the process any more.
        let status = self.process.try_wait().unwrap_or_else(|_| Some(ExitStatus::default()))?;
        self.has_ended = true;
        Some(status.into())
    }

    /// Ends the process at once.
    pub(super) fn kill(&mut self) {
        // Both fail only if it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.has_ended = true;
    }

    /// Sends SIGTERM.
    pub(super) fn ask_to_end(&mut self) {
        if self.try_ended().is_none() && !self.has_ended {
            let pid = i32::try_from(self.process.id()).expect("the system numbers processes in 31 bits");
            // It may end at this very moment; it was not waited for, so the number is still its own.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Returns the last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            file.take(TAIL_BYTES).read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("  ({}: cannot be read: {error})\n", self.log.display());
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        if tail.is_empty() {
            return "  (empty)\n".to_owned();
        }
        tail.iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.has_ended {
            self.kill();
        }
    }
}

/// Whether a variable configures a node.
fn is_setting(name: &str) -> bool {
    name.strip_prefix("QUORATE_").is_some_and(|rest| rest.contains("__") || matches!(rest, "PEERS" | "CONFIG"))
}

/// Makes this process end when the process that started it does, if that one asked for it, as a local cluster does.
///
/// Called before a node starts. The kernel's own notice is used where there is one (Linux); elsewhere the nodes outlive a
/// parent that is killed, and end with one that ends by itself.
pub fn follow_parent() {
    let Some(parent) = std::env::var(END_WITH).ok().and_then(|text| text.parse::<i32>().ok()) else { return };
    #[cfg(target_os = "linux")]
    {
        // Fails for signals that do not exist only.
        let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    }
    // It may have ended before the kernel knew that we care.
    if nix::unistd::getppid().as_raw() != parent {
        process::exit(1);
    }
}

/// The variable with the number of the process that a node is to end with.
const END_WITH: &str = "QUORATE_END_WITH";

/// How much of a log is shown.
const TAIL_BYTES: u64 = 8 << 10;
const TAIL_LINES: usize = 12;
