//! Commits of the consistent core in a small cluster and in a large one: the nodes beside the core are not to cost it anything.
//!
//! Both clusters run side by side all the time, with a core of the same size, and rounds are interleaved (A B, B A, ..): what
//! disturbs the machine, the idle processes of the large cluster among it, disturbs both. In a round one client sends
//! `CORE.SET` to the node that leads the core, one after the other, and waits for each answer. What is compared is the
//! ratio of the rounds. It tells what the core does more for a commit when there are more nodes, not what a large cluster of
//! as many machines would do.
//!
//! That ratio depends on the clock. What does not is counted beside it: how many entries the log of the core has grown by, and
//! how many messages the nodes of the core have said about it, to each other and to nodes ([`standing`]).
//!
//! # Time and units
//! The machine's monotonic clock; from before a request is sent until its answer is read.
//!
//! # Bounds
//! A round in which the core was led anew tells nothing about commits; it is measured again, [`ATTEMPTS_MAX`] times at most.

mod http;
pub mod nodes;
pub mod standing;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quorate::cli::status::ask::{AskError, Asker, Reply};
use serde::Serialize;

use crate::clock::{Clock, OsClock};
use crate::histogram::Latencies;
use crate::load::{Arrival, Figures, Plan};
use crate::measure::warm_up;
use crate::peers::ratios::{Ratios, Sample};
use crate::report::{Report, ResultLine, Subject};
use nodes::{CORE_NODES, Nodes, Shape};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Nodes of the large cluster; the small one has those of the core only.
    pub nodes: u16,
    /// Interleaved rounds, at least 1.
    pub rounds: u32,
    /// Writes to each cluster in a round, at least 1.
    pub writes: u32,
    /// How long a node may be silent, in whole milliseconds; none: as long as the daemon lets it by itself.
    pub suspicion: Option<Duration>,
    /// Path of this program.
    pub harness: PathBuf,
    /// Path of the daemon.
    pub daemon: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Interleaved rounds.
    pub rounds: u32,
    /// The small cluster.
    pub small: Side,
    /// The large cluster.
    pub large: Side,
    /// The large cluster divided by the small one, round by round.
    pub large_to_small: Ratios,
    /// Rounds that were measured again because the core was led anew meanwhile.
    pub repeated: u32,
}

/// What came of all rounds of one cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Its nodes.
    pub nodes: u16,
    /// Writes that were acknowledged.
    pub count: u64,
    /// Writes that were answered with an error.
    pub errors: u64,
    /// Median latency of all rounds together in microseconds.
    pub p50_us: f64,
    /// 99th percentile of all rounds together in microseconds.
    pub p99_us: f64,
    /// Largest latency in microseconds.
    pub max_us: f64,
    /// By how many entries the log of the core has grown.
    pub entries: u64,
    /// Messages that the nodes of the core have said to each other about the log.
    pub log_messages: u64,
    /// Messages that the nodes of the core have said to nodes about what was decided.
    pub news_messages: u64,
    /// Messages that the nodes of the core have said to nodes about what has happened: many events at once, by the clock.
    pub event_messages: u64,
    /// How long all of that was counted.
    pub seconds: f64,
}

impl Trial {
    /// Starts both clusters, runs all rounds, reports lines and the comparison, and returns that.
    ///
    /// # Errors
    /// A cluster does not start, a node ends, the core is led anew all the time, or the output is closed.
    pub fn run(&self, report: &mut Report) -> Result<Comparison> {
        let mut contenders = [self.contender(CORE_NODES)?, self.contender(self.nodes)?];
        for contender in &mut contenders {
            contender.nodes.wait_ready()?;
        }
        for round in 1..=self.rounds {
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            for index in order {
                contenders[index].run_round(self, round, report)?;
            }
        }
        let [small, large] = contenders;
        let comparison = Comparison {
            rounds: self.rounds,
            large_to_small: Ratios::new(&large.samples, &small.samples),
            repeated: small.repeated + large.repeated,
            small: small.side(),
            large: large.side(),
        };
        report.show_object(&comparison, &comparison.to_string())?;
        Ok(comparison)
    }

    fn contender(&self, count: u16) -> Result<Contender> {
        let (harness, daemon) = (self.harness.clone(), self.daemon.clone());
        let nodes = Nodes::start(Shape { nodes: count, suspicion: self.suspicion, harness, daemon })
            .with_context(|| format!("cannot start a cluster of {count} nodes"))?;
        let total = Total { nodes: count, ..Total::default() };
        Ok(Contender { nodes, samples: Vec::new(), total, repeated: 0 })
    }

    fn plan(&self) -> Plan {
        Plan { arrival: Arrival::Window(1), count_max: u64::from(self.writes), duration_ns_max: u64::MAX }
    }
}

/// One of both clusters, and what it came to so far.
struct Contender {
    nodes: Nodes,
    /// One for each round.
    samples: Vec<Sample>,
    total: Total,
    repeated: u32,
}

/// The sum of rounds.
#[derive(Default)]
struct Total {
    nodes: u16,
    latencies: Latencies,
    errors: u64,
    entries: u64,
    log_messages: u64,
    news_messages: u64,
    event_messages: u64,
    elapsed: Duration,
}

impl Contender {
    fn run_round(&mut self, trial: &Trial, round: u32, report: &mut Report) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            if self.try_round(trial, round, report)? {
                return Ok(());
            }
            self.repeated += 1;
        }
        bail!(
            "in each of {ATTEMPTS_MAX} attempts at round {round} the core of {} nodes was led anew: this machine has too much else to do",
            self.total.nodes
        )
    }

    /// Runs a round; returns whether it tells anything, which is not so if the core was led anew meanwhile.
    fn try_round(&mut self, trial: &Trial, round: u32, report: &mut Report) -> Result<bool> {
        let plan = trial.plan();
        let led = self.nodes.wait_settled()?;
        let mut asker = Asker::connect(&self.nodes.resp(led.leader), None, ANSWER_WITHIN)?;
        write(&mut asker, warm_up(&plan).count_max)?;
        let began = Instant::now();
        let before = self.nodes.wait_settled()?;
        let (figures, refusal) = write(&mut asker, plan.count_max)?;
        let after = self.nodes.wait_settled()?;
        if !(before.is_led_as(&led) && after.is_led_as(&before)) {
            return Ok(false);
        }
        let total = &mut self.total;
        total.latencies.merge(&figures.latencies);
        total.errors += figures.errors;
        total.entries += after.applied - before.applied;
        total.log_messages += after.log_messages - before.log_messages;
        total.news_messages += after.news_messages - before.news_messages;
        total.elapsed += began.elapsed();
        total.event_messages += after.event_messages - before.event_messages;
        let count = total.nodes;
        let note = format!("round {round} of {}", trial.rounds);
        let refusal = refusal.map(|text| format!("first error reply: {text}")).unwrap_or_default();
        let subject = Subject { system: "core", protocol: "resp", value_bytes: VALUE.len() };
        let line = ResultLine::new(&subject, &plan, &figures, &[&note, &refusal]);
        let line = ResultLine { system: format!("core-of-{count}-nodes"), ..line };
        report.record(&line, &figures, &format!("-round{round}"))?;
        self.samples.push(Sample { p50: line.p50_us, p99: line.p99_us, per_second: line.per_second });
        Ok(true)
    }

    fn side(&self) -> Side {
        let Total { nodes, latencies, errors, entries, log_messages, news_messages, event_messages, elapsed } =
            &self.total;
        Side {
            nodes: *nodes,
            count: latencies.count(),
            errors: *errors,
            p50_us: latencies.quantile_us(0.5),
            p99_us: latencies.quantile_us(0.99),
            max_us: latencies.max_us(),
            entries: *entries,
            log_messages: *log_messages,
            news_messages: *news_messages,
            event_messages: *event_messages,
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// Writes so often, one after the other; returns what came of it, and the first error reply.
fn write(asker: &mut Asker, count: u64) -> Result<(Figures, Option<String>)> {
    let clock = OsClock::start();
    let (mut figures, mut refusal) = (Figures::default(), None);
    for _ in 0..count {
        let sent_ns = clock.now_ns();
        figures.sent += 1;
        let reply = asker.ask(&[b"CORE.SET", KEY, VALUE]);
        let now_ns = clock.now_ns();
        match reply {
            Ok(Reply::Int(_)) => {
                figures.count += 1;
                figures.latencies.record(now_ns - sent_ns);
            }
            Ok(other) => bail!("CORE.SET was answered {other:?}"),
            Err(AskError::Refused { text, .. }) => {
                figures.errors += 1;
                refusal.get_or_insert(text);
            }
            Err(error) => return Err(error.into()),
        }
        figures.elapsed_ns = now_ns;
    }
    Ok((figures, refusal))
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, count, p50_us, p99_us, max_us, .. } = self;
        let each = [self.entries, self.log_messages, self.news_messages, self.event_messages];
        let [entries, log, news, events] = each.map(|sum| sum as f64 / *count as f64);
        write!(
            f,
            "{nodes:>4} nodes: {count} commits, p50 {p50_us:.1} us, p99 {p99_us:.1}, max {max_us:.1}; for each commit {entries:.3} \
             entries, messages about the log {log:.3}, news {news:.3}, events {events:.3}"
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, small, large, large_to_small: Ratios { p50, p99, .. }, repeated } = self;
        let all = large.p99_us / small.p99_us;
        writeln!(f, "the consistent core, {rounds} rounds\n{small}\n{large}")?;
        write!(
            f,
            "  large to small, median (min-max) of rounds: p50 {p50}, p99 {p99}; p99 of all rounds together {all:.2}"
        )?;
        if *repeated > 0 {
            write!(f, "\n  measured again because the core was led anew meanwhile: {repeated} rounds")?;
        }
        Ok(())
    }
}

/// What is written: always the same, so that what the core keeps does not grow.
const KEY: &[u8] = b"commit";
const VALUE: &[u8] = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";
/// How often a round is tried.
pub const ATTEMPTS_MAX: u32 = 10;
/// Longer than a daemon has a request wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
