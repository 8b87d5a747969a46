//! Child processes that never outlive the harness, the folder they live in, and free ports for them.
//!
//! A program is started through the harness's own hidden verb `exec-child`, which asks the kernel to kill it with its
//! parent and then becomes the program: also a harness that is killed itself leaves nothing running. A normal end kills
//! by process id when [`Process`] is dropped.
//!
//! # Bounds
//! Readiness is awaited at most [`READY_WITHIN`].
//!
//! # Threads
//! Start processes on a thread that lives as long as they should: the kernel counts the starting thread as the parent.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// A program to start: its path or name, and its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// A program without arguments.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: Vec::new() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Has `runner` run it: its path and arguments behind those of the runner.
    #[must_use]
    pub fn through(self, mut runner: Self) -> Self {
        runner.arguments.push(self.path.into_os_string());
        runner.arguments.extend(self.arguments);
        runner
    }

    /// Adds arguments, separated by white space.
    #[must_use]
    pub fn words(mut self, words: &str) -> Self {
        self.arguments.extend(words.split_whitespace().map(OsString::from));
        self
    }
}

/// A running child; dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with both outputs in `folder/name.log`. `harness` is the path of this program.
    ///
    /// # Errors
    /// The log cannot be created or the process not started.
    pub fn start(harness: &Path, name: &str, program: &Program, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let output = file.try_clone()?;
        Self::spawn(harness, name, program, log, (output.into(), file.into()))
    }

    /// Starts a program that says where it listens in its first line, and returns that line.
    ///
    /// # Errors
    /// As [`Process::start`]; or the program ended without a line.
    pub fn start_announcing(harness: &Path, name: &str, program: &Program, folder: &Path) -> Result<(Self, String)> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut process = Self::spawn(harness, name, program, log, (Stdio::piped(), file.into()))?;
        let output = process.child.stdout.take().expect("the output was asked for as a pipe");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "{name} ended before it listened: {}", process.log_tail());
        Ok((process, line.trim_end().to_owned()))
    }

    fn spawn(harness: &Path, name: &str, program: &Program, log: PathBuf, out: (Stdio, Stdio)) -> Result<Self> {
        let child = Command::new(harness)
            .arg("exec-child")
            .arg(std::process::id().to_string())
            .arg(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::null())
            .stdout(out.0)
            .stderr(out.1)
            .spawn()
            .with_context(|| format!("cannot start {name} through {}", harness.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, with the end of its log.
    ///
    /// # Errors
    /// It has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}): {}", self.name, self.log_tail());
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        if tail.is_empty() { "it said nothing".to_owned() } else { tail.join(" | ") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes `program`, to be killed when the process `parent` ends. Returns only on failure.
///
/// # Errors
/// The parent has ended already, or the program cannot be started.
pub fn exec_child(parent: u32, program: &Path, arguments: &[OsString]) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the child to its parent")?;
    // A parent that ended before the line above sends no signal any more.
    ensure!(parent_id() == parent, "the parent has ended");
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot run {}", program.display()))
}

/// Asks `ready` until it answers, all processes running, at most [`READY_WITHIN`].
///
/// # Errors
/// A process ended, or the time is over; the last reason `ready` gave.
pub fn await_ready<T>(what: &str, processes: &mut [Process], mut ready: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        for process in processes.iter_mut() {
            process.ensure_running()?;
        }
        match ready() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                let log = processes.first().map(Process::log_tail).unwrap_or_default();
                return Err(error.context(format!("{what} is not ready after {READY_WITHIN:?}; log: {log}")));
            }
            Err(_) => std::thread::sleep(READY_POLL),
        }
    }
}

/// Finds a program in the search path.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    // Servers are often outside an ordinary user's path.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A folder that is removed when dropped.
#[derive(Debug)]
pub struct TempFolder {
    path: PathBuf,
}

impl TempFolder {
    /// Makes a new folder in the system's temporary folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    /// Makes a new folder in memory (`/dev/shm`).
    ///
    /// # Errors
    /// It cannot be made.
    pub fn in_memory() -> Result<Self> {
        Self::new_in(Path::new("/dev/shm"))
    }

    fn new_in(base: &Path) -> Result<Self> {
        remove_abandoned(base);
        let number = FOLDER_NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{FOLDER_PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What cannot be removed is removed by a later run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes folders of harnesses that were killed.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)) else { continue };
        let Some(Ok(pid)) = rest.split('-').next().map(str::parse::<u32>) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns `count` loopback ports that are free now, `step` apart, each with `span` free ports from it on.
///
/// They lie below the range from which the kernel picks ports of outgoing connections, so none is taken by chance
/// before the program that gets it listens.
///
/// # Errors
/// No such row of ports is free.
pub fn free_ports(count: u16, step: u16, span: u16) -> Result<Vec<u16>> {
    assert!(span <= step || count == 1, "rows of {span} ports {step} apart overlap");
    let width = (count - 1) * step + span;
    let places = (PORT_LAST - PORT_FIRST) / width;
    let own = u16::try_from(std::process::id() % u32::from(places)).expect("less than the number of places");
    for _ in 0..places {
        let turn = u16::try_from(PORT_TURN.fetch_add(1, Ordering::Relaxed) % u32::from(places));
        let place = (own + turn.expect("less than the number of places")) % places;
        let first = PORT_FIRST + place * width;
        let ports: Vec<u16> = (0..count).map(|index| first + index * step).collect();
        if ports.iter().flat_map(|port| *port..port + span).all(is_free) {
            return Ok(ports);
        }
    }
    bail!("no {count} rows of {span} free loopback ports between {PORT_FIRST} and {PORT_LAST}")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// How long a system may take to become ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(10);
const LOG_TAIL_LINES: usize = 4;
const FOLDER_PREFIX: &str = "quorate-perf-";
const PORT_FIRST: u16 = 20_000;
const PORT_LAST: u16 = 32_000;
// Counters only: any order of the increments is right.
static FOLDER_NUMBER: AtomicU32 = AtomicU32::new(0);
static PORT_TURN: AtomicU32 = AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_ports_do_not_meet() {
        let first = free_ports(3, 20, 4).unwrap();
        let second = free_ports(3, 20, 4).unwrap();
        assert_eq!(first.len(), 3);
        assert_eq!(first[1] - first[0], 20);
        assert!(first.iter().all(|port| !second.contains(port)));
    }

    #[test]
    fn folder_goes_with_its_owner() {
        let folder = TempFolder::new().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
