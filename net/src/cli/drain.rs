//! `quorate drain`: has a node give up all groups, so that it can be stopped.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::core::{ask, field};
use super::door::Door;
use super::status::ask::Reply;
use super::terminal::write_output;
use super::{Exit, Failure};

/// Arguments of `quorate drain`.
///
/// Somebody else leads first what the node leads, then those nodes that are to come copy what it holds, then it is counted no more. Without
/// enough other nodes to hold a write it is refused; with fewer than `replicas` other nodes, groups have fewer replicas from then
/// on. The node goes on serving as a way to the others. Started anew it is a node like any other, and groups that have too few
/// replicas get it back.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node
    #[arg(value_name = "NODE")]
    node: u16,
    /// Return when the node holds nothing
    #[arg(long)]
    wait: bool,
    /// Have it hold groups again
    #[arg(long, conflicts_with = "wait")]
    cancel: bool,
    #[command(flatten)]
    door: Door,
}

/// How often is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Runs the verb.
///
/// # Errors
/// [`Exit::Unreachable`] if the node that is asked does not answer, [`Exit::NoQuorum`] if too few of the core do or too few nodes would
/// be left, [`Exit::Failed`] if there is no such node.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { node, wait, cancel, door } = arguments;
    let number = node.to_string();
    let mut question: Vec<&[u8]> = vec![b"CORE", b"DRAIN", number.as_bytes()];
    if *cancel {
        question.push(b"OFF");
        ask(door, &question)?;
        write_output(&format!("node {node} holds groups like any other"))?;
        return Ok(Exit::Done);
    }
    let mut left = left(&ask(door, &question)?);
    // Shown on a terminal only.
    let progress = ProgressBar::new_spinner();
    while *wait && left != [0, 0] {
        progress.set_message(format!("node {node} leads {} groups and is a member of {}", left[0], left[1]));
        progress.tick();
        std::thread::sleep(ASK_EVERY);
        left = self::left(&ask(door, &question)?);
    }
    progress.finish_and_clear();
    write_output(&match left {
        [0, 0] => {
            format!(
                "node {node} holds nothing: it can be stopped, and, unless it belongs to the consistent core, taken out with \
                 `quorate core remove {node}`"
            )
        }
        [led, held] => format!(
            "node {node} is giving up what it holds: it leads {led} groups and is a member of {held}; --wait returns when it is done"
        ),
    })?;
    Ok(Exit::Done)
}

/// Returns how many groups a node leads, and of how many it is a member.
fn left(reply: &Reply) -> [i64; 2] {
    ["led", "held"].map(|name| match field(reply, name) {
        Reply::Int(number) => number,
        _ => 0,
    })
}
