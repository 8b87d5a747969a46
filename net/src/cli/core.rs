//! `quorate core`: what an operator has the consistent core do.

mod status;

use clap::{Args, Subcommand};

use super::door::Door;
use super::status::ask::{AskError, Reply};
use super::status::failure;
use super::terminal::write_output;
use super::{Exit, Failure};

/// Arguments of `quorate core`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Declare dead the runs that a lost group misses, and have it go on with what is left
    ///
    /// A group is lost when its leader is gone, and too many members with it to know all that was acknowledged; whatever asks
    /// for it is answered UNAVAILABLE with the runs that are missing. A process that hangs or is cut off comes back with its
    /// memory: wait for it if you can. After this, writes that only those runs held are gone for good, the loss generation of
    /// the group grows by one, and the runs end by themselves if they should still live.
    AcceptLoss(AcceptLoss),
    /// Take a node of the consistent core back that has lost its disk and runs again
    ///
    /// Such a node is started with an empty node.data_dir and without --create. It works, but does not vote, until the others agree
    /// that its new store takes the place of the lost one. From then on the lost one counts for nothing: should it be found again,
    /// a node started with it ends by itself.
    Replace(Replace),
    /// Take a node that holds nothing out of the cluster, for good
    ///
    /// Drain it first. If its process still runs, it ends. The number of the node is not given again: a machine that is to take its
    /// place gets another node.id. A node of the consistent core cannot be taken out.
    Remove(Remove),
    /// Print what a node knows of the consistent core and of the nodes of the cluster
    Status(Status),
    /// Print a value that the consistent core keeps on disk, and its version
    Get(Get),
    /// Have the consistent core keep a value on disk; prints its version
    Set(Set),
}

#[derive(Debug, Args)]
struct AcceptLoss {
    /// The group
    #[arg(value_name = "GROUP", required_unless_present = "all", conflicts_with = "all")]
    group: Option<u32>,
    /// All groups that are lost
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, Args)]
struct Replace {
    /// The node
    #[arg(value_name = "NODE")]
    node: u16,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, Args)]
struct Remove {
    /// The node
    #[arg(value_name = "NODE")]
    node: u16,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, Args)]
struct Status {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, Args)]
struct Get {
    /// The key
    key: String,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, Args)]
struct Set {
    /// The key
    key: String,
    /// The value
    value: String,
    /// Only if the key has this version; 0: only if there is no such key
    #[arg(long = "if", value_name = "VERSION")]
    version: Option<u64>,
    #[command(flatten)]
    door: Door,
}

/// Runs the verb.
///
/// # Errors
/// [`Exit::Unreachable`] if the node does not answer, [`Exit::NoQuorum`] if too few of the core do, [`Exit::Conflict`] if somebody
/// else was first, [`Exit::Failed`] if it is refused for another reason.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let text = match &arguments.verb {
        Verb::AcceptLoss(AcceptLoss { group, door, .. }) => {
            let scope = group.map_or("ALL".to_owned(), |group| group.to_string());
            let reply = ask(door, &[b"CORE", b"ACCEPTLOSS", scope.as_bytes()])?;
            losses(&reply)
        }
        Verb::Replace(Replace { node, door }) => {
            ask(door, &[b"CORE", b"REPLACE", node.to_string().as_bytes()])?;
            format!("node {node} votes again, with its new store")
        }
        Verb::Remove(Remove { node, door }) => {
            ask(door, &[b"CORE", b"REMOVE", node.to_string().as_bytes()])?;
            format!("node {node} does not belong to the cluster any more")
        }
        Verb::Status(Status { json, door }) => status::page(&ask(door, &[b"CORE", b"STATUS", b"JSON"])?, *json),
        Verb::Get(Get { key, door }) => match ask(door, &[b"CORE.GET", key.as_bytes()])? {
            Reply::Nil => {
                return Err(Failure::new(Exit::Failed, anyhow::anyhow!("the consistent core has no key {key:?}")));
            }
            reply => {
                let (value, version) = (text_of(&field(&reply, "value")), text_of(&field(&reply, "version")));
                format!("{value}\nversion {version}")
            }
        },
        Verb::Set(Set { key, value, version, door }) => {
            let version = version.map(|version| version.to_string());
            let mut question: Vec<&[u8]> = vec![b"CORE.SET", key.as_bytes(), value.as_bytes()];
            if let Some(version) = &version {
                question.extend([&b"IF"[..], version.as_bytes()]);
            }
            format!("version {}", text_of(&ask(door, &question)?))
        }
    };
    write_output(&text)?;
    Ok(Exit::Done)
}

/// Asks a node to have the core do something.
///
/// # Errors
/// As [`run`].
pub(super) fn ask(door: &Door, question: &[&[u8]]) -> Result<Reply, Failure> {
    let asked = door.open_for(TIMEOUT).and_then(|mut asker| asker.ask(question));
    asked.map_err(|error| {
        let exit = match &error {
            AskError::Refused { text, .. } if text.starts_with("CONFLICT") => Exit::Conflict,
            AskError::Refused { text, .. }
                if ["UNAVAILABLE", "UNKNOWN", "NOQUORUM"].iter().any(|code| text.starts_with(code)) =>
            {
                Exit::NoQuorum
            }
            _ => return failure(error),
        };
        Failure::new(exit, error)
    })
}

/// Says what was given up, a line for each group.
fn losses(reply: &Reply) -> String {
    let Reply::Array(losses) = reply else { return text_of(reply) };
    let line = |loss: &Reply| {
        let missing = match field(loss, "missing") {
            Reply::Array(runs) => runs.iter().map(text_of).collect::<Vec<_>>().join(" "),
            other => text_of(&other),
        };
        let (group, loss_gen) = (text_of(&field(loss, "group")), text_of(&field(loss, "loss_gen")));
        format!("group {group} goes on without {missing}; its loss generation is {loss_gen} from now on")
    };
    losses.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the value behind a name in a map, which is an array of both in turn.
pub(super) fn field(reply: &Reply, name: &str) -> Reply {
    let Reply::Array(items) = reply else { return Reply::Nil };
    let found = items.chunks_exact(2).find(|pair| text_of(&pair[0]) == name);
    found.map_or(Reply::Nil, |pair| pair[1].clone())
}

fn text_of(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Word(text) | Reply::Error(text) => text.clone(),
        Reply::Int(number) => number.to_string(),
        Reply::Nil | Reply::Array(_) => String::new(),
    }
}

/// Longer than a node waits for the core.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
