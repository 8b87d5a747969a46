//! `quorate status`: the state of a cluster, asked of all its nodes.

pub mod ask;
pub mod report;

mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::door::Door;
use super::terminal::{Paint, Stream, write_output};
use super::{Exit, Failure};
use ask::{AskError, Asker};
use report::{Answer, Report};

/// Arguments of `quorate status`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    door: Door,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// [`Exit::Unreachable`] if the node does not answer, [`Exit::Failed`] if it refuses.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = ask_cluster(arguments.door.address(), arguments.door.password()).map_err(failure)?;
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(|error| Failure::new(Exit::Failed, error))?
    } else {
        table::render(&report, Paint::of(Stream::Output))
    };
    write_output(&text)?;
    Ok(if report.is_serving() { Exit::Done } else { Exit::NoQuorum })
}

/// Gives an error of asking the exit code it means.
#[must_use]
pub fn failure(error: AskError) -> Failure {
    let exit = match error {
        AskError::Resolve { .. } => Exit::Usage,
        AskError::Refused { .. } => Exit::Failed,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, error)
}

/// Asks one node for its state.
///
/// # Errors
/// See [`AskError`]; [`AskError::NotResp`] for a state that is none.
pub fn ask_node(asker: &mut Asker) -> Result<Report, AskError> {
    let text = asker.ask_text(&[b"NODE", b"STATUS"])?;
    Report::parse(&text).map_err(|error| AskError::NotResp {
        address: asker.address().to_owned(),
        found: format!("a state that this release cannot read: {error}"),
    })
}

/// Asks the node at `address`, then at the same time all the nodes it knows, and puts the answers together.
fn ask_cluster(address: &str, password: Option<&str>) -> Result<Report, AskError> {
    let mut report = ask_node(&mut Asker::connect(address, password, TIMEOUT)?)?;
    let own = report.node;
    for node in &mut report.nodes {
        if node.id == own && !is_reachable(&node.address) {
            address.clone_into(&mut node.address);
        }
    }
    let others: Vec<(u16, String)> =
        report.nodes.iter().filter(|node| node.id != own).map(|node| (node.id, node.address.clone())).collect();
    let answers: BTreeMap<u16, Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            others.iter().map(|(id, address)| (*id, scope.spawn(move || ask_other(*id, address, password)))).collect();
        let joined = asked.into_iter().map(|(id, thread)| {
            (id, thread.join().unwrap_or_else(|_| Err("asking it failed; this is a defect".to_owned())))
        });
        joined.collect()
    });
    Ok(report.join(&answers))
}

fn ask_other(id: u16, address: &str, password: Option<&str>) -> Answer {
    let asked = Asker::connect(address, password, TIMEOUT).and_then(|mut asker| ask_node(&mut asker));
    match asked {
        Ok(report) if report.node == id => Ok(report),
        Ok(report) => Err(format!("{address}: node {} of cluster {} answers there", report.node, report.cluster)),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether others can connect to an address: a node that listens everywhere tells no address of its own.
fn is_reachable(address: &str) -> bool {
    let ip = address.parse::<SocketAddr>().map(|address| address.ip());
    ip.is_ok_and(|ip| !IpAddr::is_unspecified(&ip))
}

/// How long to wait for one node; all but the first are asked at the same time.
pub const TIMEOUT: Duration = Duration::from_secs(1);
