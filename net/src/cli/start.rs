//! `quorate start`: runs one node until it is told to stop.

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use tracing_subscriber::EnvFilter;

use super::config::render_notes;
use super::start_flags::StartFlags;
use super::terminal::{Paint, Stream};
use super::{Exit, Failure};
use crate::config::Settings;
use crate::node::{Birth, Node};

/// What `start` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Creates the cluster: say it once on each node of the consistent core, at its first start, and never again
    #[arg(long)]
    create: bool,
    /// Restores the consistent core from what this node knows, when most of its nodes have lost their disks for good. All others
    /// must run, those that lost theirs with an empty node.data_dir. What was decided behind what this node knows is lost, and
    /// every group waits for `quorate core accept-loss`. Say it on one node, for one start
    #[arg(long, conflicts_with = "create")]
    restore: bool,
    #[command(flatten)]
    flags: StartFlags,
}

/// Runs the node. Returns when it was stopped by SIGTERM or SIGINT and has finished what was under way.
///
/// # Errors
/// What is wrong with the configuration, or what is in the way of the node.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let settings = arguments.flags.load().build()?;
    start_logging();
    let notes = render_notes(settings.notes(), Paint::of(Stream::Error));
    if !notes.is_empty() {
        eprint!("{notes}");
    }
    // Before any thread is started, so that all of them inherit it: the signals come to `wait` alone.
    let signals = stop_signals();
    signals.thread_block().map_err(|error| Failure::new(Exit::Failed, error))?;
    let birth = match (arguments.create, arguments.restore) {
        (true, _) => Birth::Create,
        (false, true) => Birth::Restore,
        (false, false) => Birth::Join,
    };
    let node = Node::start(settings.clone(), birth).map_err(|error| Failure::new(Exit::Failed, error))?;
    announce(&node, &settings);
    let signal = signals.wait().map_err(|error| Failure::new(Exit::Failed, error))?;
    tracing::info!(%signal, "stopping: finishing what is under way");
    node.stop();
    tracing::info!("stopped");
    Ok(Exit::Done)
}

fn stop_signals() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals
}

fn start_logging() {
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Fails only if there is a logger already.
    let _ = log.with_ansi(Paint::of(Stream::Error).is_coloured()).try_init();
}

fn announce(node: &Node, settings: &Settings) {
    let listen = settings.listen();
    let facts = node.facts();
    let io = node.io().map_or(String::new(), |choice| format!("{} ({})", choice.driver, choice.reason));
    let core: Vec<u16> = settings.core_nodes().iter().map(|node| node.0).collect();
    tracing::info!(
        cluster = settings.cluster().id,
        node = facts.node.0,
        ?core,
        cpus = facts.cpu_count,
        %io,
        "started"
    );
    tracing::info!(resp = %listen.resp, native = %listen.native, peer = %listen.peer, admin = %listen.admin, "listening");
    if !settings.peers().is_empty() {
        tracing::info!(
            "waiting for the consistent core: a majority of nodes {core:?}; a new cluster serves once all its nodes were there; \
             see `quorate status --connect {}`",
            listen.resp
        );
    }
}
