//! `quorate demo`: stories that run by themselves on this machine, and check themselves at the end.

pub mod failover;
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
    /// Leaders are killed, one after another, while somebody writes: who takes over, how fast, and that nothing is lost
    Failover(failover::Arguments),
    /// Market data: every tick held by a quorum before it counts, and checked on every node at the end
    Trading(trading::Arguments),
}

/// Runs the verb.
///
/// # Errors
/// As the story.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.story {
        Story::Failover(arguments) => failover::run(arguments),
        Story::Trading(arguments) => trading::run(arguments),
    }
}
