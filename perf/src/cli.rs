//! The command line: verbs, their options, and what each one runs.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::clock::OsClock;
use crate::floor::{FollowerOptions, LeaderOptions, follow, lead};
use crate::machine::Fingerprint;
use crate::measure::{LoadArgs, measure};
use crate::process::exec_child;
use crate::report::{Report, Style, Subject};
use crate::system::{Setup, Transport, start_floor};

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
        Verb::ExecChild { parent, program, arguments } => exec_child(parent, &program, &arguments).map(|()| true),
        Verb::FloorNode(FloorNode::Lead(options)) => lead(&options).map(|()| true),
        Verb::FloorNode(FloorNode::Follow(options)) => follow(&options).map(|()| true),
    }
}

fn run_floor(output: &OutputArgs, arguments: &FloorArgs) -> Result<bool> {
    let setup = arguments.shape.setup(arguments.load.window())?;
    let mut report = output.begin()?;
    let mut running = start_floor(&setup)?;
    let subject = Subject { system: "floor", protocol: "forward", value_bytes: setup.value_bytes };
    let measured = measure(&mut running, &subject, &arguments.load.plan(output.seed), "");
    report.record(&measured.line, &measured.figures, "")?;
    report.finish()
}

impl OutputArgs {
    fn begin(&self) -> Result<Report> {
        let style = if self.json { Style::Json } else { Style::Table };
        let fingerprint = Fingerprint::take(self.seed, &OsClock::start());
        Report::begin(style, self.out.clone(), fingerprint)
    }
}

impl ShapeArgs {
    fn setup(&self, window: u32) -> Result<Setup> {
        let harness = std::env::current_exe().context("cannot find this program's own path")?;
        Ok(Setup { harness, value_bytes: self.value, window, nodes: self.nodes, transport: self.socket })
    }
}
