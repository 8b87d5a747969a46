//! `quorate demo trading`: market data through a cluster of three, checked against its input at the end.
//!
//! Each tick makes two writes: the tick itself under its own number, and the latest price of its symbol. A model keeps
//! what was acknowledged; at the end each node must hold exactly that, and all nodes must have the same digests.

mod check;
mod model;
mod monitor;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use quorate_engine::slots::{SlotMap, slot_of};
use quorate_engine::time::Instant;
use serde_json::{Value, json};

use crate::cli::dev::{self, LocalArguments, stop_flag};
use crate::cli::replay::progress::{Beat, Progress, Rhythm};
use crate::cli::replay::sender::{Finished, Flow, Sender, Watcher, shown};
use crate::cli::replay::tally::Tally;
use crate::cli::replay::{WINDOW_DEFAULT, connect, problem_lines, window};
use crate::cli::replay_options::{Replay, ReplayOptions};
use crate::cli::terminal::{Paint, Stream, Tone, write_output};
use crate::cli::{Exit, Failure};
use crate::client::{ClientOptions, Token};
use crate::clock;
use crate::feed::generated::GeneratedOptions;
use crate::feed::{Feed, Generated, Speed};
use crate::local_cluster::{LocalCluster, LocalError, LocalOptions, random_number};
use check::{Verdict, Witness};
use model::Model;
use monitor::Monitor;

/// Arguments of `quorate demo trading`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A recording to play instead of generated ticks: CSV, NDJSON or ITCH 5.0
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    options: ReplayOptions,
    /// How long, in seconds [default: 10 for generated ticks, the whole file with --file]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// The seed of the generated ticks: the same seed and --seconds give the same ticks [default: drawn and printed]
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    seed: Option<u64>,
    /// Most writes that may be under way at a time
    #[arg(long, value_name = "WRITES", default_value_t = WINDOW_DEFAULT, value_parser = window)]
    window: usize,
    #[command(flatten)]
    local: LocalArguments,
    /// A self-test of the check: damage one value on one node before it, which must make it fail
    #[arg(long)]
    corrupt: bool,
    /// Print one JSON object for each second, one for the summary and one for the verdict
    #[arg(long)]
    json: bool,
}

/// Runs the story.
///
/// # Errors
/// What is wrong with the file; see [`LocalError`] for what may be in the way of the nodes.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let is_interrupted = stop_flag()?;
    let story = Story::open(arguments)?;
    let options = LocalOptions {
        has_debug_commands: arguments.corrupt,
        is_interrupted: Arc::clone(&is_interrupted),
        ..arguments.local.options()
    };
    let cluster = match LocalCluster::start(&options) {
        Ok(cluster) => cluster,
        Err(LocalError::Interrupted) => return Ok(Exit::Failed),
        Err(error) => return Err(dev::failure(error)),
    };
    let text = if arguments.json { start_json(&cluster, &story).to_string() } else { introduction(&cluster, &story) };
    let shown = write_output(&text).map_err(Failure::from);
    let exit = shown.and_then(|()| play(arguments, story, &cluster, is_interrupted));
    cluster.stop();
    exit
}

/// What is sent.
struct Story {
    feed: Box<dyn Feed>,
    speed: Speed,
    /// For people.
    title: String,
    /// The seed, if the rows are generated.
    seed: Option<u64>,
    /// Rows, if they are known.
    rows: Option<u64>,
    /// When to stop reading.
    time_max: Option<Duration>,
}

impl Story {
    fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let Some(path) = &arguments.file else {
            if arguments.options.is_about_a_file() {
                let error =
                    anyhow::anyhow!("--key, --value, --time and --format are about a file; name it with --file");
                return Err(Failure::new(Exit::Usage, error));
            }
            return Ok(Self::generate(arguments));
        };
        let Replay { reader, speed } = arguments.options.open(path, SPEED_DEFAULT)?;
        let title = format!("{}\n             {}; speed {speed}", path.display(), reader.mapping());
        let time_max = arguments.seconds.map(Duration::from_secs);
        Ok(Self { feed: Box::new(reader), speed, title, seed: None, rows: None, time_max })
    }

    /// Makes as many ticks as the time needs, so that a seed means the same ticks; without a pace, as many as the time
    /// allows.
    fn generate(arguments: &Arguments) -> Self {
        let seconds = arguments.seconds.unwrap_or(SECONDS_DEFAULT);
        let speed = arguments.options.speed().unwrap_or(SPEED_DEFAULT);
        let rows = match speed {
            Speed::Thousandths(speed) => Some((seconds * ROWS_PER_SECOND).saturating_mul(speed) / 1_000),
            Speed::Max => None,
        };
        let seed = arguments.seed.unwrap_or_else(|| random_number() % SEED_LIMIT);
        let feed = Generated::new(GeneratedOptions {
            seed,
            rows: rows.unwrap_or(u64::MAX),
            rows_per_second: ROWS_PER_SECOND,
            ..GeneratedOptions::default()
        });
        let title = format!(
            "generated ticks, speed {speed}; the same again with --seed {seed}\n             \
             tick:<number> and px:<symbol> = bid,quantity,ask,quantity"
        );
        let time_max = rows.is_none().then(|| Duration::from_secs(seconds));
        Self { feed: Box::new(feed), speed, title, seed: Some(seed), rows, time_max }
    }
}

/// Sends the rows, then checks.
fn play(
    arguments: &Arguments,
    mut story: Story,
    cluster: &LocalCluster,
    is_interrupted: Arc<AtomicBool>,
) -> Result<Exit, Failure> {
    let client = connect(ClientOptions {
        addresses: cluster.native_addresses(),
        cluster: cluster.name().to_owned(),
        window: arguments.window,
        ..ClientOptions::default()
    })?;
    // Checked by the client: 1 to 16384 partitions.
    let slots = client.cluster().and_then(|cluster| SlotMap::new(cluster.partitions)).expect("it is connected");
    let witnesses: Vec<Witness> =
        cluster.nodes().iter().map(|node| Witness { node: node.id(), address: node.resp_address() }).collect();
    let mut sender = Sender::new(client, story.speed);
    let mut watcher = TradingWatcher {
        model: Model::default(),
        monitor: Monitor::start(witnesses.clone()),
        progress: Progress::with_rows(arguments.json, story.rows),
        rhythm: Rhythm::new(clock::now()),
        rate: "   0 s".to_owned(),
        stop_at: story.time_max.map(|time| clock::now().saturating_add(time)),
        is_interrupted,
    };
    let finished = sender.run(story.feed.as_mut(), &mut watcher);
    watcher.progress.finish();
    let TradingWatcher { model, monitor, .. } = watcher;
    drop(monitor);
    let (finished, tally) = (finished?, sender.tally());
    if arguments.json {
        write_output(&tally.summary_json().to_string())?;
    } else {
        write_output(&format!("{}{}\n", tally.summary(), endings(&finished, &model)))?;
        eprint!("{}", problem_lines(tally, Paint::of(Stream::Error)));
    }
    let verdict = judge(arguments, cluster, &finished, (&witnesses, &model, slots))?;
    let text =
        if arguments.json { verdict.json(tally).to_string() } else { verdict.render(tally, Paint::of(Stream::Output)) };
    write_output(&text)?;
    Ok(if verdict.is_passed(tally) { Exit::Done } else { Exit::Failed })
}

/// Waits until all nodes have applied everything, damages one if that was asked for, and checks.
fn judge(
    arguments: &Arguments,
    cluster: &LocalCluster,
    finished: &Finished,
    (witnesses, model, slots): (&[Witness], &Model, SlotMap),
) -> Result<Verdict, Failure> {
    if !arguments.json {
        write_output("checking every node against what was sent:\n")?;
    }
    let settled = check::settle(witnesses);
    if arguments.corrupt {
        damage(cluster, model, slots, arguments.json)?;
    }
    let mut verdict = check::check(witnesses, model, slots);
    if let Err(problem) = settled {
        verdict.add_problem(problem);
    }
    if let Finished::Unreachable(error) = finished {
        verdict.add_problem(format!("the cluster could not be reached any more: {error}"));
        eprint!("{}", cluster.log_tails());
    }
    Ok(verdict)
}

fn damage(cluster: &LocalCluster, model: &Model, slots: SlotMap, is_json: bool) -> Result<(), Failure> {
    let nothing = || Failure::new(Exit::Failed, anyhow::anyhow!("--corrupt: there is no key to damage"));
    let (key, _) = *model.sorted().first().ok_or_else(nothing)?;
    let node = cluster.nodes().last().ok_or_else(nothing)?;
    let group = slots.group_of(slot_of(key));
    check::corrupt(&node.resp_address_of(group.0), key).map_err(|error| Failure::new(Exit::Failed, error))?;
    if !is_json {
        let text = format!("damaged one byte of {} on node {}, group {group}", shown(key), node.id());
        write_output(&format!("  {}\n", Paint::of(Stream::Output).text(Tone::Note, &text)))?;
    }
    Ok(())
}

/// Watches the rows go by.
struct TradingWatcher {
    model: Model,
    monitor: Monitor,
    progress: Progress,
    rhythm: Rhythm,
    /// The line of the last whole second.
    rate: String,
    stop_at: Option<Instant>,
    is_interrupted: Arc<AtomicBool>,
}

impl Watcher for TradingWatcher {
    fn acknowledged(&mut self, key: &[u8], value: &[u8], token: &Token) {
        self.model.record(key, value, token.index);
    }

    fn tick(&mut self, now: Instant, tally: &mut Tally, outstanding: usize) -> Result<Flow, Failure> {
        match self.rhythm.beat(now) {
            Beat::None => {}
            Beat::Update => {
                self.progress.advance(tally.rows_acknowledged);
                self.progress.update(|| format!("{}\n        {}", self.rate, self.monitor.seen().line()));
            }
            Beat::Line => {
                let interval = tally.take_interval(now);
                self.rate = interval.line();
                match self.progress {
                    Progress::Live(_) => {}
                    Progress::Lines => {
                        self.progress.line(&format!("{}   {}", self.rate, self.monitor.seen().line()))?
                    }
                    Progress::Json => self.progress.line(&interval.json(tally, outstanding).to_string())?,
                }
            }
        }
        let is_over = self.stop_at.is_some_and(|stop_at| now >= stop_at)
            || self.is_interrupted.load(Ordering::Relaxed)
            || self.model.is_full();
        Ok(if is_over { Flow::Finish } else { Flow::Continue })
    }
}

fn introduction(cluster: &LocalCluster, story: &Story) -> String {
    let nodes = cluster.nodes().len();
    format!(
        "Quorate demo: trading\n\n{}\
         \x20 transport  {}\n\
         \x20 quorum     a write is acknowledged once {} of {nodes} nodes hold it; ready after {} ms\n\
         \x20 input      {}\n\
         \x20 shown      commit and applied are sums of the log indexes of all groups, applied for each node\n\n",
        dev::node_lines(cluster),
        cluster.io(),
        nodes / 2 + 1,
        cluster.ready_after().as_millis(),
        story.title,
    )
}

fn start_json(cluster: &LocalCluster, story: &Story) -> Value {
    json!({
        "kind": "start",
        "cluster": cluster.name(),
        "nodes": cluster.nodes().len(),
        "transport": cluster.io(),
        "ready_ms": cluster.ready_after().as_secs_f64() * 1e3,
        "seed": story.seed,
        "speed": story.speed.to_string(),
    })
}

/// Says why no more rows were read, if there is something to say.
fn endings(finished: &Finished, model: &Model) -> &'static str {
    match finished {
        Finished::Stopped if model.is_full() => "stopped early: the model of what was sent has grown to 1 GiB\n",
        Finished::AllRows | Finished::Stopped | Finished::Unreachable(_) => "",
    }
}

const _: () = assert!(model::BYTES_MAX == 1 << 30, "the text above says so");

/// Rows a second at 1x. At 10x three nodes and their client on two CPUs have time left.
const ROWS_PER_SECOND: u64 = 500;
const SECONDS_DEFAULT: u64 = 10;
const SPEED_DEFAULT: Speed = Speed::Thousandths(10_000);
/// Seeds that are drawn are short enough to be typed.
const SEED_LIMIT: u64 = 1_000_000;
