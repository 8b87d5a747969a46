//! The simulator as a program: runs seeds, or judges a recorded history.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use quorate_engine::testing::history::parse;
use quorate_engine::testing::sim::{Mode, Report, run, sometimes};
use serde_json::json;

/// Steps of the search for an order of one key's operations.
const STEPS_MAX: u64 = 1_000_000_000;

/// Of so many seeds one may have a history that is too hard to judge: many appends without an answer between two reads.
const SEEDS_PER_UNDECIDED: u64 = 500;

/// Simulates clusters of the real engine, one for each seed, with faults that the seed decides.
///
/// Exit code: 0 all is well, 1 a seed failed (with --strict also if something was missed; or a history is not linearizable), 2 wrong usage or an unreadable file,
/// 3 no verdict.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How many seeds to run
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; `--first N --seeds 1` runs seed N again, in the same way
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u64,
    /// Without a consistent core: leaders are fixed, as in a cluster that is embedded
    #[arg(long)]
    fixed_leaders: bool,
    /// Switch on one of the planted bugs, to see that a seed finds it (needs a build with RUSTFLAGS='--cfg planted')
    #[arg(long, value_name = "BUG")]
    planted: Option<u32>,
    /// Begin no more seeds after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Fail as well if something that should happen sometimes never did, or more than one history in 500 seeds was too hard to judge
    #[arg(long)]
    strict: bool,
    /// Print one JSON object in the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says whether a recorded history is linearizable
    ///
    /// Reads Jepsen's log of a register, or a file with one map a line: `{:process 0, :type :invoke, :f :append, :key "7",
    /// :value "x"}`.
    Check {
        /// The history
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.verb {
        Some(Verb::Check { file }) => check(&file),
        None => {
            if let Err(error) = arguments.planted.map_or(Ok(()), plant) {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
            simulate(&arguments)
        }
    }
}

/// Switches a planted bug on.
#[cfg(planted)]
fn plant(bug: u32) -> Result<(), String> {
    use quorate_engine::planted::{ALL, choose};
    if !ALL.contains(&bug) {
        return Err(format!("no bug {bug} is planted; there are {ALL:?}"));
    }
    choose(bug);
    Ok(())
}

#[cfg(not(planted))]
fn plant(bug: u32) -> Result<(), String> {
    Err(format!(
        "bug {bug} is not in this build: build it with RUSTFLAGS='--cfg planted', in a target folder of its own"
    ))
}

fn check(file: &PathBuf) -> ExitCode {
    let history = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let history = history.and_then(|text| parse(&text).map_err(|error| error.to_string()));
    let history = match history {
        Ok(history) => history,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    match history.check(STEPS_MAX) {
        Ok(true) => {
            println!("linearizable: {} operations", history.len());
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("not linearizable: {} operations", history.len());
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

/// What was run until now.
#[derive(Debug)]
struct Tally {
    mode: Mode,
    first: u64,
    began: Instant,
    /// Seeds that are over; the one behind them is running.
    seeds: u64,
    sum: Report,
}

impl Tally {
    fn add(&mut self, report: Report) {
        let sum = &mut self.sum;
        self.seeds += 1;
        sum.events += report.events;
        sum.faults += report.faults;
        sum.operations += report.operations;
        sum.simulated_ns += report.simulated_ns;
        sum.undecided += report.undecided;
        sum.sometimes.extend(report.sometimes);
        sum.trace = (sum.trace ^ report.trace).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn real(&self) -> Duration {
        self.began.elapsed()
    }

    fn missed(&self) -> BTreeSet<&'static str> {
        sometimes(self.mode).into_iter().filter(|what| !self.sum.sometimes.contains(what)).collect()
    }

    /// Says what there is to say. Nobody may listen any more, as when the output goes to `head`.
    fn print(&self, is_json: bool, failing: Option<u64>) {
        let _ = self.print_to(&mut std::io::stdout().lock(), is_json, failing);
    }

    fn print_to(&self, out: &mut impl Write, is_json: bool, failing: Option<u64>) -> std::io::Result<()> {
        let Report { events, faults, operations, simulated_ns, undecided, trace, .. } = &self.sum;
        let (real, simulated) = (self.real().as_secs_f64(), Duration::from_nanos(*simulated_ns).as_secs_f64());
        if is_json {
            let summary = json!({
                "first_seed": self.first, "seeds": self.seeds, "simulated_seconds": simulated, "real_seconds": real,
                "events": events, "faults": faults, "operations": operations, "undecided": undecided,
                "violations": u64::from(failing.is_some()), "sometimes_missed": self.missed(),
                "first_failing_seed": failing, "trace": format!("{trace:016x}"),
            });
            return writeln!(out, "{summary}");
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
        let rate = *events as f64 / real.max(1e-9);
        writeln!(
            out,
            "{} seeds from {}: {simulated:.0} s simulated in {real:.1} s, {events} events ({rate:.0}/s), {faults} faults, {operations} operations, trace {trace:016x}",
            self.seeds, self.first
        )?;
        if *undecided > 0 {
            writeln!(out, "{undecided} keys had histories too hard to judge")?;
        }
        for what in self.missed() {
            writeln!(out, "never reached: {what}")?;
        }
        if let Some(seed) = failing {
            let mode = if self.mode == Mode::Static { " --fixed-leaders" } else { "" };
            writeln!(out, "seed {seed} failed; see above. Again: quorate-sim --first {seed} --seeds 1{mode}")?;
        }
        Ok(())
    }
}

fn simulate(arguments: &Arguments) -> ExitCode {
    let (first, is_json) = (arguments.first, arguments.json);
    #[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides only when to stop")]
    let began = Instant::now();
    let mode = if arguments.fixed_leaders { Mode::Static } else { Mode::Core };
    let tally = Tally { mode, first, began, seeds: 0, sum: Report::default() };
    let tally = Arc::new(Mutex::new(tally));
    // A failed invariant is a panic: say which seed it was, and what had been run before.
    let before = std::panic::take_hook();
    let in_hook = Arc::clone(&tally);
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let tally = in_hook.lock().expect("the lock is not held while a seed runs");
        tally.print(is_json, Some(first + tally.seeds));
        std::process::exit(1);
    }));
    let show_progress = !is_json && std::io::stderr().is_terminal();
    for seed in first..first.saturating_add(arguments.seeds) {
        let report = run(seed, mode);
        let mut tally = tally.lock().expect("the lock is not held while a seed runs");
        tally.add(report);
        if show_progress && tally.seeds.is_multiple_of(10) {
            eprint!("\r{} seeds", tally.seeds);
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
        if arguments.seconds.is_some_and(|seconds| tally.real().as_secs() >= seconds) {
            break;
        }
    }
    if show_progress {
        eprint!("\r");
    }
    let tally = tally.lock().expect("the lock is not held while a seed runs");
    tally.print(is_json, None);
    let is_vague = tally.sum.undecided.saturating_mul(SEEDS_PER_UNDECIDED) > tally.seeds;
    ExitCode::from(u8::from(arguments.strict && (is_vague || !tally.missed().is_empty())))
}
