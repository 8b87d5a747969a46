//! The command line: verbs, their options, and what each one runs.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::clock::OsClock;
use crate::core_commits::Trial;
use crate::core_commits::nodes::{CORE_NODES, NODES_MAX};
use crate::embed::EmbedRun;
use crate::faults::nodes::Shape;
use crate::faults::plan::Selection;
use crate::faults::{Limit, Run};
use crate::floor::{FollowerOptions, LeaderOptions, follow, lead};
use crate::load::{Arrival, Spacing};
use crate::machine::Fingerprint;
use crate::measure::{LimitArgs, LoadArgs, measure};
use crate::peers::{self, Contest};
use crate::plot::Chart;
use crate::process::exec_child;
use crate::quorum::{DaemonArgs, Protocol, find_daemon};
use crate::report::{Report, Style};
use crate::sweep::{self, Sweep};
use crate::system::{Setup, System, Transport};

/// Measures quorate and its peers end to end: real processes, real sockets, every reply checked
#[derive(Debug, Parser)]
#[command(name = "quorate-perf", version, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    verb: Verb,
}

/// How results are shown and kept.
#[derive(Clone, Debug, Args)]
struct OutputArgs {
    /// Print one JSON object per result instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Keep every histogram as .hgrm and .json in this folder
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of random arrivals
    #[arg(long, global = true, default_value_t = 24_301)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The price of the kernel: the same processes and sockets, forwarding only
    Floor(FloorArgs),
    /// Quorate: real daemons, writes acknowledged by a quorum
    Quorum(QuorumArgs),
    /// Quorate embedded: three replicas in one process, append to commit without a network
    Embed(EmbedArgs),
    /// Quorate, the floor and every installed peer in interleaved rounds, with ratios
    Peers(PeersArgs),
    /// One system at rising rates up to its knee, then its latency at 50, 70 and 90 % of it
    Sweep(SweepArgs),
    /// Faults against real processes on machines of their own: clients are told nothing that is not true (needs root)
    Faults(FaultsArgs),
    /// The consistent core: what a commit takes with 3 nodes, and with many
    ///
    /// Starts two clusters of daemons side by side, one of the three nodes of a core and one with further nodes that hold data, and
    /// sends CORE.SET to the node that leads the core of each in turn, one after the other: what is measured goes from the request to
    /// its acknowledgement, so to the agreement of two nodes of the core. What the core writes lies in memory (/dev/shm), no disk is
    /// measured. Beside the times it is told how many entries and messages a commit takes, which no machine changes.
    ///
    /// On a machine with fewer CPUs than nodes, processes wait for each other. All of them run all the time and idle ones sleep, so
    /// that lengthens both alike: read the ratio, which says what a commit costs the core more when there are more nodes, and take
    /// many rounds, since whoever waits for a CPU waits longer than a commit takes.
    Core(CoreArgs),
    /// Draw percentile curves of kept histograms as SVG
    Plot(PlotArgs),
    #[command(hide = true)]
    ExecChild {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    #[command(hide = true, subcommand)]
    FloorNode(FloorNode),
}

#[derive(Debug, Args)]
struct FloorArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    shape: ShapeArgs,
}

#[derive(Debug, Args)]
struct QuorumArgs {
    /// What the client speaks
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    protocol: Protocol,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct EmbedArgs {
    /// Requests in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    value: usize,
    /// Pin the leader's thread and the followers' to these processors
    #[arg(long, value_name = "CPU", num_args = 2, value_names = ["LEADER", "FOLLOWERS"])]
    pin: Option<Vec<usize>>,
    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Args)]
struct PeersArgs {
    /// Requests in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    value: usize,
    /// Only these systems
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<System>,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct SweepArgs {
    /// The system
    #[arg(long, value_enum, default_value_t = System::Floor)]
    system: System,
    /// Requests per second to start with
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    first_rate: u64,
    /// Spread requests as a Poisson process
    #[arg(long)]
    poisson: bool,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").required(true))]
struct FaultsArgs {
    /// Nodes: 3 or 5
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Begin no round after so many minutes
    #[arg(long, group = "limit", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// End after so many rounds
    #[arg(long, group = "limit", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rounds: Option<u32>,
    /// Only these faults; with kill-leader the time without an acknowledgement is told
    #[arg(long, value_enum, default_value_t = Selection::All)]
    only: Selection,
    /// Clients, each with one request at a time
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Partitions [default: as many as the daemon makes by itself]
    #[arg(long, value_parser = clap::value_parser!(u32).range(4..=16_384))]
    partitions: Option<u32>,
    /// The daemon's binary [default: quorate beside this program]
    #[arg(long, value_name = "PATH")]
    quorate: Option<PathBuf>,
    /// Where to keep the history and the logs if something is wrong
    #[arg(long, value_name = "DIR", default_value = "faults-found")]
    keep: PathBuf,
}

#[derive(Debug, Args)]
struct CoreArgs {
    /// Nodes of the large cluster; the small one has 3
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(i64::from(CORE_NODES) + 1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Interleaved rounds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Writes to each cluster in a round
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    writes: u32,
    /// The daemon's binary [default: quorate beside this program]
    #[arg(long, value_name = "PATH")]
    quorate: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PlotArgs {
    /// Kept .json or .hgrm files, or a folder of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
    /// Title of the chart
    #[arg(long)]
    title: Option<String>,
}

/// Size and sockets of the system.
#[derive(Clone, Debug, Args)]
struct ShapeArgs {
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    value: usize,
    /// Nodes: 3 or 5
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Sockets between the processes
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    socket: Transport,
}

#[derive(Debug, Subcommand)]
enum FloorNode {
    Lead(LeaderOptions),
    Follow(FollowerOptions),
}

/// Runs what was asked for; says whether every result is valid.
///
/// # Errors
/// What stopped it, for the user.
pub fn run(cli: Cli) -> Result<bool> {
    let output = cli.output;
    match cli.verb {
        Verb::Floor(arguments) => run_floor(&output, &arguments),
        Verb::Quorum(arguments) => run_quorum(&output, &arguments),
        Verb::Embed(arguments) => run_embed(&output, &arguments),
        Verb::Peers(arguments) => run_peers(&output, &arguments),
        Verb::Sweep(arguments) => run_sweep(&output, &arguments),
        Verb::Faults(arguments) => run_faults(&output, &arguments),
        Verb::Core(arguments) => run_core(&output, &arguments),
        Verb::Plot(arguments) => run_plot(&arguments),
        Verb::ExecChild { parent, program, arguments } => exec_child(parent, &program, &arguments).map(|()| true),
        Verb::FloorNode(FloorNode::Lead(options)) => lead(&options).map(|()| true),
        Verb::FloorNode(FloorNode::Follow(options)) => follow(&options).map(|()| true),
    }
}

fn run_floor(output: &OutputArgs, arguments: &FloorArgs) -> Result<bool> {
    let setup = arguments.shape.setup(arguments.load.window(), DaemonArgs::default())?;
    run_one(output, System::Floor, &setup, &arguments.load)
}

fn run_quorum(output: &OutputArgs, arguments: &QuorumArgs) -> Result<bool> {
    let setup = arguments.shape.setup(arguments.load.window(), arguments.daemon.clone())?;
    let system = match arguments.protocol {
        Protocol::Native => System::QuorateNative,
        Protocol::Resp => System::QuorateResp,
    };
    run_one(output, system, &setup, &arguments.load)
}

fn run_one(output: &OutputArgs, system: System, setup: &Setup, load: &LoadArgs) -> Result<bool> {
    let mut report = output.begin()?;
    let mut running = system.start(setup)?;
    let measured = measure(&mut running, &system.subject(setup), &load.plan(output.seed), "");
    report.record(&measured.line, &measured.figures, "")?;
    report.finish()
}

fn run_embed(output: &OutputArgs, arguments: &EmbedArgs) -> Result<bool> {
    let pin = arguments.pin.as_deref().and_then(|cpus| cpus.first_chunk().copied());
    let run = EmbedRun { window: arguments.window, value_bytes: arguments.value, pin };
    let mut report = output.begin()?;
    let measured = run.measure(&arguments.limit.plan(Arrival::Window(arguments.window)))?;
    report.record(&measured.line, &measured.figures, "")?;
    report.finish()
}

fn run_peers(output: &OutputArgs, arguments: &PeersArgs) -> Result<bool> {
    let shape = ShapeArgs { value: arguments.value, nodes: 3, socket: Transport::Tcp };
    let setup = shape.setup(Some(arguments.window), arguments.daemon.clone())?;
    let plan = arguments.limit.plan(Arrival::Window(arguments.window));
    let systems = if arguments.only.is_empty() { System::ALL.to_vec() } else { arguments.only.clone() };
    let contest = Contest { systems, rounds: arguments.rounds, setup, plan };
    let mut report = output.begin()?;
    peers::run(&contest, &mut report)?;
    report.finish()
}

fn run_sweep(output: &OutputArgs, arguments: &SweepArgs) -> Result<bool> {
    let spacing = if arguments.poisson { Spacing::Poisson { seed: output.seed } } else { Spacing::Even };
    let sweep = Sweep {
        system: arguments.system,
        setup: arguments.shape.setup(None, arguments.daemon.clone())?,
        first_rate: arguments.first_rate,
        spacing,
        limit: arguments.limit.clone(),
    };
    let mut report = output.begin()?;
    sweep::run(&sweep, &mut report)?;
    report.finish()
}

fn run_faults(output: &OutputArgs, arguments: &FaultsArgs) -> Result<bool> {
    let harness = std::env::current_exe().context("cannot find this program's own path")?;
    let daemon = find_daemon(&harness, arguments.quorate.as_ref())?;
    let limit = match (arguments.minutes, arguments.rounds) {
        (Some(minutes), _) => Limit::Time(Duration::from_secs(60 * minutes)),
        (None, rounds) => Limit::Rounds(rounds.unwrap_or(1)),
    };
    let run = Run {
        shape: Shape {
            nodes: arguments.nodes,
            partitions: arguments.partitions,
            request_timeout: None,
            suspicion: None,
            harness,
            daemon,
        },
        seed: output.seed,
        selection: arguments.only,
        limit,
        clients: usize::from(arguments.clients),
        keep: arguments.keep.clone(),
    };
    eprintln!("seed {}, {} nodes", run.seed, run.shape.nodes);
    let summary = run.run(|round, outcome| match outcome {
        None => eprintln!("{round}"),
        Some(outcome) if output.json => print_json(outcome),
        Some(outcome) => println!("{}", outcome.told()),
    })?;
    if output.json {
        print_json(&summary)
    } else {
        println!("{}", summary.told())
    }
    Ok(summary.violations == 0)
}

fn run_core(output: &OutputArgs, arguments: &CoreArgs) -> Result<bool> {
    let harness = std::env::current_exe().context("cannot find this program's own path")?;
    let daemon = find_daemon(&harness, arguments.quorate.as_ref())?;
    let CoreArgs { nodes, rounds, writes, .. } = *arguments;
    let trial = Trial { nodes, rounds, writes, suspicion: None, harness, daemon };
    let mut report = output.begin()?;
    trial.run(&mut report)?;
    report.finish()
}

fn print_json(value: &impl serde::Serialize) {
    println!("{}", serde_json::to_string(value).expect("names and numbers have a form in JSON"));
}

fn run_plot(arguments: &PlotArgs) -> Result<bool> {
    let chart = Chart::read(&arguments.paths, arguments.title.clone())?;
    fs::write(&arguments.svg, chart.to_svg()).with_context(|| format!("cannot write {}", arguments.svg.display()))?;
    Ok(true)
}

impl OutputArgs {
    fn begin(&self) -> Result<Report> {
        let style = if self.json { Style::Json } else { Style::Table };
        let fingerprint = Fingerprint::take(self.seed, &OsClock::start());
        Report::begin(style, self.out.clone(), fingerprint)
    }
}

impl ShapeArgs {
    fn setup(&self, window: Option<u32>, daemon: DaemonArgs) -> Result<Setup> {
        let harness = std::env::current_exe().context("cannot find this program's own path")?;
        Ok(Setup { harness, value_bytes: self.value, window, nodes: self.nodes, transport: self.socket, daemon })
    }
}
