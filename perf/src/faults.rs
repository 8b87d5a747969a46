//! Faults against real processes: daemons on machines of their own are killed, paused and cut off while clients write down what
//! they are told, and whether that can be true is judged.
//!
//! A run consists of rounds. In each of them the seed decides what goes wrong ([`plan`]); the plan is printed before it happens,
//! and the same seed draws it again. What it comes to depends on the machine. Then everything is healed, and must work again
//! by itself: every group serves with all its members, all keys are read, all replicas are in the same state.
//!
//! [`network`] makes the machines, [`nodes`] starts the daemons on them, [`clients`] load them, [`watch`] looks at all nodes meanwhile, and
//! [`history`] judges. What is wrong ends the run: history and logs are kept, and the history can be judged again with
//! `quorate-sim check`.
//!
//! # Time and units
//! The machine's monotonic clock. No verdict depends on how long anything took.

pub mod clients;
pub mod history;
pub mod network;
pub mod nodes;
pub mod plan;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quorate::cli::status::report::Report;
use quorate_engine::slots::slot_of;
use serde::Serialize;

use clients::{Clients, Load};
use history::{COUNTER, Call, Ending, Tally, text_of, violations};
use network::Cut;
use nodes::{Nodes, Shape};
use plan::{Fault, Kind, Round, Selection, Victim};
use watch::Watch;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is started.
    pub shape: Shape,
    /// Decides what goes wrong.
    pub seed: u64,
    /// Which faults there are.
    pub selection: Selection,
    /// When to end.
    pub limit: Limit,
    /// Clients of each round.
    pub clients: usize,
    /// Where to keep what was found.
    pub keep: PathBuf,
}

/// When a run ends, if nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// No round begins later.
    Time(Duration),
    /// After so many rounds.
    Rounds(u32),
}

/// How a round ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Counted from 1.
    pub round: u32,
    /// What went wrong.
    pub faults: Vec<String>,
    /// How the requests ended.
    pub requests: Tally,
    /// How often a replica was looked at meanwhile.
    pub samples: u64,
    /// From the first moment at which nothing was wrong any more until every group served with all its members, in
    /// milliseconds.
    pub settled_ms: u64,
    /// Where only a leader was killed: the longest time between two acknowledgements to a client of its group, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<f64>,
    /// What cannot be; empty if all is well.
    pub violations: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Decides what goes wrong.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: u16,
    /// How many rounds were run.
    pub rounds: u32,
    /// How many faults there were.
    pub faults: usize,
    /// How the requests ended.
    pub requests: Tally,
    /// Median and largest of the gaps, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_median: Option<f64>,
    /// See `gap_ms_median`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_max: Option<f64>,
    /// How many things were wrong.
    pub violations: usize,
}

impl Run {
    /// Starts the cluster and runs the rounds; `told` hears of each of them, before with nothing and after with its outcome.
    /// The calling thread is in the network of the cluster afterwards, and that is gone.
    ///
    /// # Errors
    /// The cluster does not start, or the harness fails; what is wrong with the cluster is in the outcomes.
    pub fn run(&self, mut told: impl FnMut(&Round, Option<&Outcome>)) -> Result<Summary> {
        let mut nodes = Nodes::start(self.shape.clone())?;
        let (began, mut gaps) = (Instant::now(), Vec::new());
        let (seed, requests) = (self.seed, Tally::default());
        let mut summary = Summary {
            seed,
            nodes: self.shape.nodes,
            rounds: 0,
            faults: 0,
            requests,
            gap_ms_median: None,
            gap_ms_max: None,
            violations: 0,
        };
        while summary.violations == 0 && self.limit.has_room(summary.rounds, began.elapsed()) {
            let round = Round::draw(seed, summary.rounds + 1, self.shape.nodes, self.selection);
            told(&round, None);
            let outcome = self.run_round(&mut nodes, &round)?;
            summary.add(&outcome);
            gaps.extend(outcome.gap_ms);
            told(&round, Some(&outcome));
        }
        gaps.sort_by(f64::total_cmp);
        summary.gap_ms_median = gaps.get(gaps.len() / 2).copied();
        summary.gap_ms_max = gaps.last().copied();
        Ok(summary)
    }

    fn run_round(&self, nodes: &mut Nodes, round: &Round) -> Result<Outcome> {
        let probe = match round.faults[..] {
            [Fault { victim: Victim::Leader(group), kind: Kind::Kill, .. }] => Some(probe(round.number, group)?),
            _ => None,
        };
        let load = Load { round: round.number, nodes: self.shape.nodes, clients: self.clients, seed: self.seed, probe };
        let (watch, mut clients) = (Watch::start(self.shape.nodes), Clients::start(&load));
        perform(nodes, round)?;
        let mut found = Vec::new();
        let healed = Instant::now();
        nodes.heal()?;
        let settled = nodes.wait_settled().err().map(|error| format!("{error:#}"));
        let settled_ms = u64::try_from(healed.elapsed().as_millis())?;
        thread::sleep(AFTERWARDS);
        let mut calls = clients.stop()?;
        match settled {
            Some(error) => found.push(error),
            None => found.extend(clients.read_all(&load, &mut calls).err().map(|error| format!("{error:#}"))),
        }
        let seen = watch.stop()?;
        found.extend(seen.violations);
        found.extend(violations(&calls));
        if found.is_empty() {
            found.extend(compare(nodes));
        }
        if !found.is_empty() {
            self.keep(nodes, round, &calls)?;
        }
        let gap_ms = load.probe.as_ref().and_then(|_| longest_gap_ms(&calls, self.clients));
        let faults = round.faults.iter().map(ToString::to_string).collect();
        let requests = Tally::of(&calls);
        Ok(Outcome {
            round: round.number,
            faults,
            requests,
            samples: seen.samples,
            settled_ms,
            gap_ms,
            violations: found,
        })
    }

    /// Keeps what is needed to find out what was wrong.
    fn keep(&self, nodes: &Nodes, round: &Round, calls: &[Call]) -> Result<()> {
        let folder = self.keep.join(format!("seed-{}-round-{}", self.seed, round.number));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut calls = calls.to_vec();
        calls.sort_by_key(|call| call.called);
        fs::write(folder.join("plan"), format!("seed {}, {} nodes, {round}\n", self.seed, self.shape.nodes))?;
        fs::write(folder.join("history"), text_of(&calls))?;
        let lines: String = calls.iter().map(|call| format!("{call:?}\n")).collect();
        fs::write(folder.join("calls"), lines)?;
        nodes.keep_logs(&folder)?;
        eprintln!("kept in {}: plan, history (for quorate-sim check), calls, logs of all nodes", folder.display());
        Ok(())
    }
}

impl Limit {
    fn has_room(self, rounds: u32, elapsed: Duration) -> bool {
        match self {
            Self::Time(time) => elapsed < time,
            Self::Rounds(count) => rounds < count,
        }
    }
}

impl Outcome {
    /// Says it in words.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { round, requests: Tally { done, refused, unknown }, samples, settled_ms, violations, .. } = self;
        let gap = self.gap_ms.map_or_else(String::new, |gap| format!(", {gap:.1} ms without an acknowledgement"));
        let verdict = if violations.is_empty() { "all is well".to_owned() } else { violations.join("\n  ") };
        format!(
            "round {round}: {done} done, {refused} refused, {unknown} unknown, {samples} samples, settled in {settled_ms} ms{gap}: \
             {verdict}"
        )
    }
}

impl Summary {
    /// Says it in words.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { seed, nodes, rounds, faults, requests: Tally { done, refused, unknown }, violations, .. } = self;
        let gaps = self.gap_ms_median.zip(self.gap_ms_max).map_or_else(String::new, |(median, max)| {
            format!(", without an acknowledgement {median:.1} ms in the median and {max:.1} ms at most")
        });
        format!(
            "seed {seed}, {nodes} nodes, {rounds} rounds, {faults} faults: {done} done, {refused} refused, {unknown} unknown{gaps}; \
             {violations} violations"
        )
    }

    fn add(&mut self, outcome: &Outcome) {
        self.rounds = outcome.round;
        self.faults += outcome.faults.len();
        self.requests.done += outcome.requests.done;
        self.requests.refused += outcome.requests.refused;
        self.requests.unknown += outcome.requests.unknown;
        self.violations += outcome.violations.len();
    }
}

/// Does what the plan says, and returns when all of it is over; whoever was killed is not started again yet.
fn perform(nodes: &mut Nodes, round: &Round) -> Result<()> {
    let began = Instant::now();
    let mut moments: Vec<(Duration, usize, bool)> = Vec::new();
    for (number, fault) in round.faults.iter().enumerate() {
        moments.push((fault.at, number, true));
        moments.push((fault.at + fault.length, number, false));
    }
    moments.sort_unstable();
    let mut active: BTreeMap<usize, (u16, Kind)> = BTreeMap::new();
    for (at, number, is_begin) in moments {
        thread::sleep(at.saturating_sub(began.elapsed()));
        if is_begin {
            let Fault { victim, kind, .. } = round.faults[number];
            let Some(node) = find(nodes, victim).filter(|node| nodes.is_well(*node)) else { continue };
            active.insert(number, (node, kind));
            begin(nodes, node, kind)?;
        } else if let Some((node, kind)) = active.remove(&number) {
            end(nodes, node, kind)?;
        }
        nodes.cut(active.values().flat_map(|(node, kind)| cuts(*node, *kind, &nodes.ids())).collect())?;
    }
    Ok(())
}

fn begin(nodes: &mut Nodes, node: u16, kind: Kind) -> Result<()> {
    match kind {
        Kind::Kill => nodes.kill(node),
        Kind::Pause => nodes.pause(node)?,
        Kind::Lose(percent) => nodes.network.lose(node, percent)?,
        Kind::Isolate | Kind::Deafen | Kind::Mute | Kind::Part(_) => {}
    }
    Ok(())
}

fn end(nodes: &mut Nodes, node: u16, kind: Kind) -> Result<()> {
    match kind {
        Kind::Kill => nodes.start_node(node),
        // It may have been killed meanwhile.
        Kind::Pause if nodes.is_running(node) => nodes.resume(node),
        Kind::Lose(_) => nodes.network.lose(node, 0),
        Kind::Pause | Kind::Isolate | Kind::Deafen | Kind::Mute | Kind::Part(_) => Ok(()),
    }
}

/// Returns which node a fault happens to, if anybody knows.
fn find(nodes: &Nodes, victim: Victim) -> Option<u16> {
    match victim {
        Victim::Node(node) => Some(node),
        Victim::Leader(group) => {
            let reports = nodes.ids().into_iter().filter(|id| nodes.is_well(*id)).find_map(|id| Nodes::status(id).ok());
            reports?.groups.iter().find(|known| known.group == group).map(|known| known.leader)
        }
    }
}

/// Returns the directions that a fault cuts.
fn cuts(node: u16, kind: Kind, ids: &[u16]) -> BTreeSet<Cut> {
    let others = ids.iter().copied().filter(|other| *other != node);
    let to_it = |from| Cut { from, to: node };
    let from_it = |to| Cut { from: node, to };
    match kind {
        Kind::Deafen => others.map(to_it).collect(),
        Kind::Mute => others.map(from_it).collect(),
        Kind::Isolate => others.flat_map(|other| [to_it(other), from_it(other)]).collect(),
        Kind::Part(other) if other != node => [to_it(other), from_it(other)].into(),
        Kind::Kill | Kind::Pause | Kind::Part(_) | Kind::Lose(_) => BTreeSet::new(),
    }
}

/// Returns a counter that lies in `group`, and a node that does not lead that.
fn probe(round: u32, group: u32) -> Result<(String, u16)> {
    let report = Nodes::status(1)?;
    let group = report.groups.iter().find(|known| known.group == group).context("there is no such group")?;
    let [first, last] = group.slots;
    let mut keys = (0..).map(|number: u32| format!("{COUNTER}{round}:probe:{number}"));
    let key = keys.find(|key| (first..=last).contains(&slot_of(key.as_bytes()).0)).context("every slot has a key")?;
    let through = if group.leader == 1 { 2 } else { 1 };
    Ok((key, through))
}

/// Returns the longest time between two acknowledgements to a client.
fn longest_gap_ms(calls: &[Call], client: usize) -> Option<f64> {
    let is_done = |call: &&Call| call.client == client && matches!(call.ending, Ending::Sum(..));
    let mut times: Vec<u64> = calls.iter().filter(is_done).map(|call| call.returned_ns).collect();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    times.windows(2).map(|pair| pair[1] - pair[0]).max().map(|gap| gap as f64 / 1e6)
}

/// Returns how the replicas differ, once all of them have executed everything.
fn compare(nodes: &mut Nodes) -> Vec<String> {
    let reports: Vec<Report> = match nodes.wait_even() {
        Ok(reports) => reports,
        Err(error) => return vec![format!("{error:#}")],
    };
    let mut found = Vec::new();
    for report in &reports[1..] {
        for (group, first) in report.groups.iter().zip(&reports[0].groups) {
            if (&group.digest, group.keys) != (&first.digest, first.keys) {
                let (number, index) = (group.group, group.digest_index);
                let (node, other) = (report.node, reports[0].node);
                found.push(format!("group {number} differs at index {index} between nodes {node} and {other}"));
            }
        }
    }
    found
}

/// How long the clients go on when everything works again.
const AFTERWARDS: Duration = Duration::from_millis(200);
