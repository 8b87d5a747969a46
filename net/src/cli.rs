//! The command line: one binary, one file per verb.
//!
//! A verb takes its parsed arguments, writes what it was asked for to standard output and everything else to standard
//! error, and returns `Ok(Exit)` or a [`Failure`]. Nothing here ends the process: [`run`] returns the exit code and
//! `main` passes it on.
//!
//! A verb that is not built is not here, and so not in `--help`.

pub mod config;
pub mod core;
pub mod demo;
pub mod dev;
pub mod door;
pub mod drain;
pub mod events;
pub mod happenings;
pub mod replay;
pub mod replay_options;
pub mod start;
pub mod start_flags;
pub mod status;
pub mod terminal;
pub mod version;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::config::ConfigErrors;
use terminal::{Paint, Stream, Tone};

/// An in-memory engine for state that must be agreed on before anyone acts on it.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, propagate_version = false, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node until SIGTERM or SIGINT
    Start(start::Arguments),
    /// Run a cluster of three nodes on this machine, to try things out
    Dev(dev::Arguments),
    /// Run a story on a cluster on this machine, and check it at the end
    Demo(demo::Arguments),
    /// Show the state of a cluster: nodes, groups, what is replicated where
    Status(status::Arguments),
    /// Show what has happened in the cluster: nodes, takeovers, members, losses
    Events(events::Arguments),
    /// Have a node give up all groups, the ones that it leads first
    Drain(drain::Arguments),
    /// Have the consistent core do something: accept a loss, take a node out, keep a value
    Core(core::Arguments),
    /// Send the rows of a recorded file to a cluster, paced as recorded or faster
    Replay(replay::Arguments),
    /// Check, print or describe the configuration
    Config(config::Arguments),
    /// Print the version and what this build contains
    Version(version::Arguments),
}

/// How a run ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Done,
    /// It was tried and did not work, or a check found something.
    Failed,
    /// The call itself is wrong: arguments or flags.
    Usage,
    /// Nobody answered at the address.
    Unreachable,
    /// Too few nodes answered each other to decide.
    NoQuorum,
    /// Somebody else has changed or holds what was to be changed.
    Conflict,
}

impl Exit {
    /// Returns the exit code of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NoQuorum => 4,
            Self::Conflict => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// An error of a verb, with the exit code that it means.
    #[error("{}", with_causes(.error))]
    Verb {
        /// How the process ends.
        exit: Exit,
        /// What went wrong.
        error: anyhow::Error,
    },
}

impl Failure {
    /// Wraps an error of a verb.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self::Verb { exit, error: error.into() }
    }

    /// Returns how the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(errors) if errors.is_usage() => Exit::Usage,
            // Whoever read our output has seen enough, as in `quorate config print | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Config(_) | Self::Output(_) => Exit::Failed,
            Self::Verb { exit, .. } => *exit,
        }
    }

    /// Says on standard error what went wrong.
    fn report(&self) {
        let paint = Paint::of(Stream::Error);
        match self {
            Self::Config(errors) => eprint!("{}", config::render_errors(errors, paint)),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Output(_) | Self::Verb { .. } => eprintln!("{} {self}", paint.text(Tone::Bad, "error:")),
        }
    }
}

/// Writes an error and its causes, less those whose words it has already used.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Runs the command line and returns how it ended. The first argument is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that was asked for goes to standard output and is no error. A closed pipe is no reason to complain.
            let is_usage = error.use_stderr();
            return match error.print() {
                Ok(()) if is_usage => Exit::Usage,
                Ok(()) => Exit::Done,
                Err(error) => Failure::Output(error).exit(),
            };
        }
    };
    let ended = match cli.verb {
        Verb::Start(arguments) => {
            crate::local_cluster::follow_parent();
            start::run(&arguments)
        }
        Verb::Dev(arguments) => dev::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::Events(arguments) => events::run(&arguments),
        Verb::Drain(arguments) => drain::run(&arguments),
        Verb::Core(arguments) => core::run(&arguments),
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Config(arguments) => config::run(&arguments),
        Verb::Version(arguments) => version::run(&arguments),
    };
    ended.unwrap_or_else(|failure| {
        failure.report();
        failure.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_said_once() {
        let cause = || anyhow::anyhow!("no such file");
        assert_eq!(with_causes(&cause().context("cannot read it")), "cannot read it: no such file");
        assert_eq!(
            with_causes(&cause().context("cannot read it: no such file; why?")),
            "cannot read it: no such file; why?"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(Failure::Output(io::ErrorKind::BrokenPipe.into()).exit(), Exit::Done);
        assert_eq!(Failure::Output(io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
        assert_eq!(Failure::new(Exit::NoQuorum, anyhow::anyhow!("2 of 3")).exit().code(), 4);
    }
}
