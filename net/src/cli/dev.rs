//! `quorate dev`: a cluster on this machine until it is told to stop.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::events;
use super::happenings::{Happenings, Line};
use super::status::TIMEOUT;
use super::status::ask::Asker;
use super::terminal::{Paint, Stream, Tone, write_output};
use super::{Exit, Failure};
use crate::local_cluster::{CPUS_MAX, LocalCluster, LocalError, LocalNode, LocalOptions, NODES_MAX, PortBase};

/// Arguments of `quorate dev`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    local: LocalArguments,
}

/// What every verb that starts nodes on this machine takes.
#[derive(Debug, Args)]
pub struct LocalArguments {
    /// How many nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Threads of each node that serve data
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(CPUS_MAX)))]
    cpus: u16,
    /// What moves data
    #[arg(long, value_enum, value_name = "WORD", default_value = "auto")]
    io: IoName,
    /// The RESP port of the first node, or any: the others follow 20 apart, native doors 100, peer doors 200, admin doors 300 above
    /// [default: 7400 if it is free, else any]
    #[arg(long, value_name = "PORT")]
    port_base: Option<PortBase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IoName {
    /// io_uring if the system has it, else mio
    Auto,
    /// io_uring
    Uring,
    /// Readiness: epoll, kqueue
    Mio,
}

impl LocalArguments {
    /// Returns how many nodes were asked for.
    #[must_use]
    pub fn node_count(&self) -> u16 {
        self.nodes
    }

    /// Returns the cluster to be started.
    #[must_use]
    pub fn options(&self) -> LocalOptions {
        let io = match self.io {
            IoName::Auto => "auto",
            IoName::Uring => "uring",
            IoName::Mio => "mio",
        };
        LocalOptions {
            nodes: self.nodes,
            cpus: self.cpus,
            io: io.to_owned(),
            port_base: self.port_base.unwrap_or_default(),
            ..LocalOptions::default()
        }
    }
}

/// Runs the verb. Returns when it was stopped by a signal: nodes that have ended may be started again by hand, all of them too.
///
/// # Errors
/// See [`LocalError`].
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let is_interrupted = stop_flag()?;
    let options = LocalOptions { is_interrupted: Arc::clone(&is_interrupted), ..arguments.local.options() };
    let mut cluster = match LocalCluster::start(&options) {
        Ok(cluster) => cluster,
        Err(LocalError::Interrupted) => return Ok(Exit::Done),
        Err(error) => return Err(failure(error)),
    };
    write_output(&introduction(&cluster, Paint::of(Stream::Output)))?;
    let mut happenings = Happenings::default();
    let mut teller = Teller::default();
    // How it began is known.
    teller.take(&cluster);
    while !is_interrupted.load(Ordering::Relaxed) {
        for line in teller.take(&cluster).iter().filter_map(|event| happenings.take(event)) {
            write_output(&told(&line, Paint::of(Stream::Output)))?;
        }
        if let Some((id, ended)) = cluster.try_ended() {
            let node = cluster.nodes().iter().find(|node| node.id() == id).expect("it is one of ours");
            write_output(&obituary(node, &ended.to_string(), Paint::of(Stream::Output)))?;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    let folder = cluster.folder().display().to_string();
    let left = cluster.stop();
    if !left.is_empty() {
        let nodes: Vec<String> = left.iter().map(u16::to_string).collect();
        let nodes = nodes.join(", ");
        write_output(&format!("started by hand, and still running: {nodes}; their files stay in {folder}\n"))?;
    }
    write_output("stopped\n")?;
    Ok(Exit::Done)
}

/// Returns a flag that the first of the usual signals sets; the second one ends the process at once.
///
/// # Errors
/// The system does not let us.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the signal that sets the flag does not yet find it set.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(|error| Failure::new(Exit::Failed, error))?;
    }
    Ok(flag)
}

/// Gives an error of a local cluster the exit code it means.
#[must_use]
pub fn failure(error: LocalError) -> Failure {
    let exit = if matches!(error, LocalError::PortRange { .. }) { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}

/// Returns how this binary was called, to show commands that can be copied.
#[must_use]
pub fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "quorate".to_owned())
}

/// Writes what runs: one line for each node.
#[must_use]
pub fn node_lines(cluster: &LocalCluster) -> String {
    let line = |node: &LocalNode| {
        format!(
            "  node {}  pid {:<7}  resp {}  native {}  peer {}  admin {}\n",
            node.id(),
            node.pid(),
            node.resp_address(),
            node.native_address(),
            node.peer_address(),
            node.admin_address()
        )
    };
    cluster.nodes().iter().map(line).collect()
}

fn introduction(cluster: &LocalCluster, paint: Paint) -> String {
    let nodes = cluster.nodes();
    let first = &nodes[0];
    let (port, own) = (first.resp_address().rsplit(':').next().unwrap_or_default().to_owned(), own_name());
    let mut out = format!(
        "cluster {}: {} nodes on this machine, each write held by {} of them before it is acknowledged\n\n",
        cluster.name(),
        nodes.len(),
        nodes.len() / 2 + 1
    );
    out.push_str(&node_lines(cluster));
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\n  transport  {}\n  files      {}  (configuration and logs; removed at the end)\n\n\
         {} after {} ms; all this ends with Ctrl-C. Try next:\n\n  \
         redis-cli -p {port} set greeting hello\n  \
         {own} status --connect {}\n  \
         kill -9 {}   # and see the status again\n",
        cluster.io(),
        cluster.folder().display(),
        paint.text(Tone::Good, "ready"),
        cluster.ready_after().as_millis(),
        first.resp_address(),
        nodes[nodes.len() - 1].pid(),
    );
    out
}

/// Reads the events of a cluster from whichever of its nodes answers.
#[derive(Debug, Default)]
struct Teller {
    asker: Option<Asker>,
    next: u64,
}

impl Teller {
    /// Returns the events since the last time; none if nobody answers.
    fn take(&mut self, cluster: &LocalCluster) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let connect = |node: &LocalNode| Asker::connect(&node.resp_address(), None, TIMEOUT).ok();
            let Some(mut asker) = self.asker.take().or_else(|| cluster.nodes().iter().find_map(connect)) else {
                return all;
            };
            let Ok(page) = events::page(&mut asker, self.next.max(1)) else { return all };
            self.asker = Some(asker);
            let Some(last) = page.last().and_then(|event| event["index"].as_u64()) else { return all };
            self.next = last + 1;
            all.extend(page);
        }
    }
}

fn told(line: &Line, paint: Paint) -> String {
    match line {
        Line::Trouble(text) => format!("{} {text}\n", paint.text(Tone::Note, "note:")),
        Line::TakenOver { text, .. } | Line::Whole(text) => format!("{} {text}\n", paint.text(Tone::Good, "good:")),
    }
}

fn obituary(node: &LocalNode, ended: &str, paint: Paint) -> String {
    format!(
        "{} node {} has ended ({ended}); its log ends with:\n{}to start it again: {} start --config {}\n",
        paint.text(Tone::Note, "note:"),
        node.id(),
        node.log_tail(),
        own_name(),
        node.config().display()
    )
}

/// How often to look after the nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
