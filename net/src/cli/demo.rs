//! `quorate demo`: stories that run by themselves on this machine, and check themselves at the end.

pub mod trading;

use clap::{Args, Subcommand};

use super::{Exit, Failure};

/// Arguments of `quorate demo`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    story: Story,
}

#[derive(Debug, Subcommand)]
enum Story {
    /// Market data: every tick held by a quorum before it counts, and checked on every node at the end
    Trading(trading::Arguments),
}

/// Runs the verb.
///
/// # Errors
/// As the story.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.story {
        Story::Trading(arguments) => trading::run(arguments),
    }
}
