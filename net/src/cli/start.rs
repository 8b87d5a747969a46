//! `quorate start`: runs one node until it is told to stop.

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use tracing_subscriber::EnvFilter;

use super::config::render_notes;
use super::start_flags::StartFlags;
use super::terminal::{Paint, Stream};
use super::{Exit, Failure};
use crate::config::Settings;
use crate::node::Node;

/// What `start` takes.
#[derive(Debug, Args)]
pub struct Arguments {
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
    let node = Node::start(settings.clone()).map_err(|error| Failure::new(Exit::Failed, error))?;
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
    tracing::info!(
        cluster = settings.cluster().id,
        node = facts.me.node.0,
        incarnation = facts.me.incarnation.0,
        cpus = facts.cpu_count,
        %io,
        "started"
    );
    tracing::info!(resp = %listen.resp, native = %listen.native, peer = %listen.peer, "listening");
    let peers = settings.peers().len();
    if peers > 0 {
        let need = facts.placement.replicas() - facts.placement.write_quorum();
        tracing::info!(
            peers,
            "groups serve once their leader has heard {} other replicas; see `quorate status --connect {}`",
            (need + 1).min(facts.placement.replicas() - 1),
            listen.resp
        );
    }
}
