//! Programs that are not ours: finding them, and running them to their end.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Long enough for a machine that has a lot else to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Finds a program. `None`: it is not installed, and that was said.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Says that a test is not run, past the test harness, which swallows what is printed by tests that pass.
///
/// # Panics
/// Under `CI`, where nothing may be skipped.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and in CI it must be");
    let note = format!("\nSKIPPED: {reason}\n");
    std::io::stderr().write_all(note.as_bytes()).expect("standard error is open");
}

/// Runs a program to its end, with `input` at its standard input.
pub(crate) fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A], input: &str) -> Finished {
    let mut child = Command::new(program)
        .args(arguments)
        // What a user has configured for their own client is not for this test.
        .env_remove("REDISCLI_AUTH")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let output = read_all(child.stdout.take().expect("it is piped"));
    let errors = read_all(child.stderr.take().expect("it is piped"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that does not read its input may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Ok(output) = output.recv_timeout(DEADLINE) else {
        // Fails if it has ended.
        let _ = child.kill();
        panic!("{} still runs after {DEADLINE:?}", program.display());
    };
    let errors = errors.recv_timeout(DEADLINE).expect("it has ended");
    let code = child.wait().expect("it is ours").code();
    Finished { code, output, errors }
}

/// Reads to the end, on a thread of its own.
fn read_all(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, text) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}
