//! `quorate replay`: sends the rows of a file to a cluster, as fast as they were recorded or faster.

pub mod progress;
pub mod sender;
pub mod tally;

mod order;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::dev::stop_flag;
use super::replay_options::{Replay, ReplayOptions};
use super::terminal::{Paint, Stream, Tone, write_output};
use super::{Exit, Failure};
use crate::client::polling::Client;
use crate::client::{ClientOptions, ConnectError, WINDOW_MAX};
use crate::clock;
use crate::feed::Speed;
use crate::wire::{DecodeError, RejectCode};
use progress::{Progress, ReplayWatcher};
use sender::{Finished, Sender};
use tally::{PROBLEMS_MAX, Tally};

/// Arguments of `quorate replay`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The file: CSV, NDJSON or ITCH 5.0; - is standard input
    file: PathBuf,
    /// Native doors of the cluster, tried in turn
    #[arg(long, value_name = "HOST:PORT[,..]", value_delimiter = ',', default_value = "127.0.0.1:7500")]
    connect: Vec<String>,
    /// The password, if the nodes have one
    #[arg(long, env = "QUORATE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    #[command(flatten)]
    options: ReplayOptions,
    /// Most writes that may be under way at a time
    #[arg(long, value_name = "WRITES", default_value_t = WINDOW_DEFAULT, value_parser = window)]
    window: usize,
    /// Print one JSON object for each second and one for the summary
    #[arg(long)]
    json: bool,
}

/// Most writes under way unless something else is said: enough to keep a local cluster busy, and far below what its
/// nodes let wait.
pub const WINDOW_DEFAULT: usize = 1024;

/// Reads the size of a window.
///
/// # Errors
/// It is none.
pub fn window(text: &str) -> Result<usize, String> {
    let window = text.parse().ok().filter(|window| (1..=WINDOW_MAX).contains(window));
    window.ok_or_else(|| format!("expected a number from 1 to {WINDOW_MAX}"))
}

/// Runs the verb.
///
/// # Errors
/// What is wrong with the file or its mapping; [`Exit::Unreachable`] if there is no cluster.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Replay { mut reader, speed } = arguments.options.open(&arguments.file, SPEED_DEFAULT)?;
    let client = connect(ClientOptions {
        addresses: arguments.connect.clone(),
        password: arguments.password.clone().unwrap_or_default(),
        window: arguments.window,
        ..ClientOptions::default()
    })?;
    let is_interrupted = stop_flag()?;
    if !arguments.json {
        write_output(&introduction(&arguments.file.display().to_string(), &client, reader.mapping(), speed))?;
    }
    let mut sender = Sender::new(client, speed);
    let mut watcher = ReplayWatcher::new(Progress::new(arguments.json), clock::now(), Arc::clone(&is_interrupted));
    let finished = sender.run(&mut reader, &mut watcher);
    watcher.progress().finish();
    let (finished, tally) = (finished?, sender.tally());
    if arguments.json {
        write_output(&tally.summary_json().to_string())?;
    } else {
        write_output(&format!("\n{}", tally.summary()))?;
        eprint!("{}", problem_lines(tally, Paint::of(Stream::Error)));
    }
    match finished {
        Finished::Unreachable(error) => {
            let error = anyhow::anyhow!("the cluster cannot be reached any more, after {} rows: {error}", tally.rows);
            Err(Failure::new(Exit::Unreachable, error))
        }
        Finished::Stopped => Err(Failure::new(Exit::Failed, anyhow::anyhow!("interrupted after {} rows", tally.rows))),
        Finished::AllRows => Ok(if tally.is_clean() { Exit::Done } else { Exit::Failed }),
    }
}

/// Connects to a cluster.
///
/// # Errors
/// Each with the exit code it means, and with what to do.
pub fn connect(options: ClientOptions) -> Result<Client, Failure> {
    Client::connect(options).map_err(|error| {
        let (exit, advice) = match &error {
            ConnectError::Unreachable { .. } => {
                (Exit::Unreachable, "; is the node running, and is this its listen.native?")
            }
            ConnectError::Silent { .. } => (Exit::Unreachable, "; the node hangs or is stopped"),
            ConnectError::Wire { source: DecodeError::Magic { .. }, .. } => {
                (Exit::Unreachable, "; the door to send to is listen.native, by default port 7500")
            }
            ConnectError::Wire { .. } => (Exit::Unreachable, ""),
            ConnectError::Rejected { code: RejectCode::WrongPassword, .. } => {
                (Exit::Failed, "; give the password with --password or QUORATE_PASSWORD")
            }
            ConnectError::Resolve { .. } => (Exit::Usage, "; expected HOST:PORT or unix:/PATH, like 127.0.0.1:7500"),
            ConnectError::NoAddress | ConnectError::TooLong { .. } | ConnectError::Window { .. } => (Exit::Usage, ""),
            _ => (Exit::Failed, ""),
        };
        Failure::new(exit, anyhow::anyhow!("{error}{advice}"))
    })
}

/// Writes what went wrong, one line each.
#[must_use]
pub fn problem_lines(tally: &Tally, paint: Paint) -> String {
    let mut out = String::new();
    for problem in tally.problems() {
        out.push_str(&format!("{} {problem}\n", paint.text(Tone::Bad, "error:")));
    }
    let count = tally.errors + tally.unknown;
    if count > PROBLEMS_MAX as u64 {
        out.push_str(&format!("and {} more\n", count - PROBLEMS_MAX as u64));
    }
    out
}

fn introduction(file: &str, client: &Client, mapping: &crate::feed::Mapping, speed: Speed) -> String {
    let cluster = client.cluster().map_or_else(String::new, |cluster| {
        format!("cluster {}, {} of {} replicas a write", cluster.name, cluster.write_quorum, cluster.replicas)
    });
    format!("{file} -> {cluster}\n{mapping}; speed {speed}\n\n")
}

/// As recorded.
const SPEED_DEFAULT: Speed = Speed::Thousandths(1000);
