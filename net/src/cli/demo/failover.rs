//! `quorate demo failover`: nodes that lead are killed while somebody counts, one after another; nothing acknowledged may be lost.
//!
//! One writer, one write at a time, over keys in many groups. Every acknowledged value is remembered; at the end each key must
//! hold the last one, or one that was sent later and not confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::dev::{self, LocalArguments, stop_flag};
use crate::cli::events;
use crate::cli::happenings::{Happenings, Line};
use crate::cli::status::TIMEOUT;
use crate::cli::status::ask::Asker;
use crate::cli::terminal::{Paint, Stream, Tone, write_output};
use crate::cli::{Exit, Failure};
use crate::client::ClientOptions;
use crate::client::blocking::{Client, RequestError};
use crate::local_cluster::{LocalCluster, LocalError, LocalOptions};

/// Arguments of `quorate demo failover`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many times a node is killed and started again
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: u32,
    #[command(flatten)]
    local: LocalArguments,
    /// Print JSON: a line for each kill, and one at the end
    #[arg(long)]
    json: bool,
}

/// Runs the story.
///
/// # Errors
/// See [`LocalError`] for what may be in the way of the nodes.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let is_interrupted = stop_flag()?;
    let options = LocalOptions { is_interrupted: Arc::clone(&is_interrupted), ..arguments.local.options() };
    if arguments.local.node_count() < 3 {
        let error = anyhow::anyhow!("--nodes: with fewer than three nodes there is nobody to take over; use 3 or more");
        return Err(Failure::new(Exit::Usage, error));
    }
    let mut cluster = match LocalCluster::start(&options) {
        Ok(cluster) => cluster,
        Err(LocalError::Interrupted) => return Ok(Exit::Failed),
        Err(error) => return Err(dev::failure(error)),
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let (sender, acknowledged) = channel();
    let writer = {
        let (is_over, options) = (Arc::clone(&is_over), client_options(&cluster));
        thread::spawn(move || write(options, &is_over, &sender))
    };
    let stage = Stage { paint: Paint::of(Stream::Output), is_json: arguments.json, acknowledged };
    let played = stage.play(arguments.kills, &mut cluster, &options, &is_interrupted);
    is_over.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap_or_else(|_| Written::failed("the writer has panicked; this is a defect"));
    let verdict = played.and_then(|gaps| stage.judge(&cluster, &gaps, &written));
    cluster.stop();
    verdict
}

fn client_options(cluster: &LocalCluster) -> ClientOptions {
    ClientOptions {
        addresses: cluster.native_addresses(),
        cluster: cluster.name().to_owned(),
        ..ClientOptions::default()
    }
}

/// What the writer has done.
#[derive(Debug, Default)]
struct Written {
    /// By key: the last value that was acknowledged, and the last one that was sent.
    values: BTreeMap<u64, (u64, u64)>,
    acknowledged: u64,
    unknown: u64,
    refused: u64,
    problem: Option<String>,
}

impl Written {
    fn failed(problem: &str) -> Self {
        Self { problem: Some(problem.to_owned()), ..Self::default() }
    }
}

/// Writes, one at a time, until it is over; tells when each write was acknowledged.
fn write(options: ClientOptions, is_over: &AtomicBool, told: &Sender<Instant>) -> Written {
    let mut client = match Client::connect(options) {
        Ok(client) => client,
        Err(error) => return Written::failed(&format!("cannot connect: {error}")),
    };
    let mut written = Written::default();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let key = number % KEYS;
        let (_, sent) = written.values.entry(key).or_default();
        *sent = number;
        match client.set(name_of(key).as_bytes(), number.to_string().as_bytes()) {
            Ok(_) => {
                written.values.entry(key).or_default().0 = number;
                written.acknowledged += 1;
                if told.send(Instant::now()).is_err() {
                    return written;
                }
            }
            Err(RequestError::Unknown(_)) => written.unknown += 1,
            Err(RequestError::Refused { .. }) => {
                written.refused += 1;
                thread::sleep(REFUSED_PAUSE);
            }
            Err(error) => {
                written.problem = Some(error.to_string());
                return written;
            }
        }
    }
    written
}

fn name_of(key: u64) -> String {
    format!("counter:{key}")
}

struct Stage {
    paint: Paint,
    is_json: bool,
    /// When writes were acknowledged.
    acknowledged: Receiver<Instant>,
}

impl Stage {
    /// Kills nodes and starts them again; returns the longest pauses of the writer, one for each kill.
    fn play(
        &self,
        kills: u32,
        cluster: &mut LocalCluster,
        options: &LocalOptions,
        is_interrupted: &AtomicBool,
    ) -> Result<Vec<Duration>, Failure> {
        self.introduce(cluster)?;
        let ids: Vec<u16> = cluster.nodes().iter().map(|node| node.id()).collect();
        let mut next = 1;
        let mut happenings = Happenings::default();
        let mut gaps = Vec::new();
        for (kill, victim) in (1..=kills).zip(ids.iter().copied().cycle()) {
            self.wait_for_writes(cluster, is_interrupted)?;
            next = self.skip_events(cluster, victim, next)?;
            let killed_at = Instant::now();
            cluster.kill(victim);
            self.say(Tone::Bad, &format!("kill {kill} of {kills}: node {victim} is gone, with all it held"))?;
            let all_ms =
                self.watch(cluster, (victim, &mut next), &mut happenings, is_interrupted, |line| match line {
                    Line::TakenOver { all_ms, .. } => Some(*all_ms),
                    Line::Trouble(_) | Line::Whole(_) => None,
                })?;
            let gap = longest_gap(killed_at, &self.wait_for_writes(cluster, is_interrupted)?);
            gaps.push(gap);
            self.say(Tone::Good, &format!("the writer's longest pause was {:.0} ms", ms(gap)))?;
            if self.is_json {
                let line =
                    json!({"kind": "kill", "node": victim, "taken_over_ms": all_ms, "longest_pause_ms": ms(gap)});
                write_output(&line.to_string())?;
            }
            cluster.start_again(victim, options).map_err(dev::failure)?;
            let is_whole = |line: &Line| matches!(line, Line::Whole(text) if text.contains("holds all")).then_some(());
            self.watch(cluster, (victim, &mut next), &mut happenings, is_interrupted, is_whole)?;
        }
        Ok(gaps)
    }

    fn introduce(&self, cluster: &LocalCluster) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        let text = format!(
            "Quorate demo: failover\n\n{}\x20 transport  {}\n\x20 ready      after {} ms; one writer, one write at a time, over {KEYS} \
             keys\n\n",
            dev::node_lines(cluster),
            cluster.io(),
            cluster.ready_after().as_millis(),
        );
        Ok(write_output(&text)?)
    }

    fn say(&self, tone: Tone, text: &str) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        Ok(write_output(&format!("  {}\n", self.paint.text(tone, text)))?)
    }

    /// Waits until so many more writes were acknowledged than were known; returns when all since the last time were.
    fn wait_for_writes(
        &self,
        cluster: &mut LocalCluster,
        is_interrupted: &AtomicBool,
    ) -> Result<Vec<Instant>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut times: Vec<Instant> = self.acknowledged.try_iter().collect();
        for _ in 0..WRITES_BETWEEN {
            times.push(loop {
                match self.acknowledged.recv_timeout(LOOK_EVERY) {
                    Ok(at) => break at,
                    Err(_) => check(cluster, is_interrupted, deadline, "writes to go on")?,
                }
            });
        }
        Ok(times)
    }

    /// Returns the index behind the last event that is known.
    fn skip_events(&self, cluster: &LocalCluster, victim: u16, mut next: u64) -> Result<u64, Failure> {
        let mut asker = ask_another(cluster, victim)?;
        loop {
            let page = events::page(&mut asker, next).map_err(crate::cli::status::failure)?;
            let Some(last) = page.last().and_then(|event| event["index"].as_u64()) else { return Ok(next) };
            next = last + 1;
        }
    }

    /// Shows what happens until a line is the one that is waited for.
    fn watch<T>(
        &self,
        cluster: &mut LocalCluster,
        (victim, next): (u16, &mut u64),
        happenings: &mut Happenings,
        is_interrupted: &AtomicBool,
        is_it: impl Fn(&Line) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut asker = ask_another(cluster, victim)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            for event in events::page(&mut asker, *next).map_err(crate::cli::status::failure)? {
                *next = event["index"].as_u64().unwrap_or(*next) + 1;
                let Some(line) = happenings.take(&event) else { continue };
                match &line {
                    Line::Trouble(text) => self.say(Tone::Note, text)?,
                    Line::TakenOver { text, .. } | Line::Whole(text) => self.say(Tone::Faint, text)?,
                }
                if let Some(found) = is_it(&line) {
                    return Ok(found);
                }
            }
            check(cluster, is_interrupted, deadline, "the cluster to be whole again")?;
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Compares what the cluster holds with what was acknowledged.
    fn judge(&self, cluster: &LocalCluster, gaps: &[Duration], written: &Written) -> Result<Exit, Failure> {
        let mut client =
            Client::connect(client_options(cluster)).map_err(|error| Failure::new(Exit::Unreachable, error))?;
        let mut lost = Vec::new();
        for (key, (acknowledged, sent)) in &written.values {
            let value = client.get(name_of(*key).as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))?;
            let text = value.and_then(|value| String::from_utf8(value).ok());
            let found: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(0);
            if found < *acknowledged || found > *sent {
                lost.push(format!("{}: {acknowledged} was acknowledged, {found} is there", name_of(*key)));
            }
        }
        let longest = gaps.iter().max().copied().unwrap_or_default();
        let is_passed = lost.is_empty() && written.problem.is_none();
        let Written { acknowledged, unknown, refused, .. } = written;
        if self.is_json {
            let summary: Value = json!({
                "kind": "verdict", "passed": is_passed, "acknowledged": acknowledged, "unknown": unknown, "refused": refused,
                "lost": lost, "longest_pause_ms": ms(longest), "problem": written.problem,
            });
            write_output(&summary.to_string())?;
        } else {
            let mut out = format!(
                "\n{acknowledged} writes acknowledged, {unknown} unknown, {refused} refused; longest pause {:.0} ms\n",
                ms(longest)
            );
            lost.iter().for_each(|line| out.push_str(&format!("  {}\n", self.paint.text(Tone::Bad, line))));
            if let Some(problem) = &written.problem {
                out.push_str(&format!("  {}\n", self.paint.text(Tone::Bad, problem)));
            }
            let verdict = if is_passed {
                self.paint.text(Tone::Good, "PASSED: nothing that was acknowledged is lost")
            } else {
                self.paint.text(Tone::Bad, "FAILED")
            };
            out.push_str(&format!("{verdict}\n"));
            write_output(&out)?;
        }
        Ok(if is_passed { Exit::Done } else { Exit::Failed })
    }
}

fn ask_another(cluster: &LocalCluster, victim: u16) -> Result<Asker, Failure> {
    let node = cluster.nodes().iter().find(|node| node.id() != victim).expect("there are three or more");
    Asker::connect(&node.resp_address(), None, TIMEOUT).map_err(crate::cli::status::failure)
}

/// Returns the longest time from then on in which no write was acknowledged.
fn longest_gap(since: Instant, times: &[Instant]) -> Duration {
    let later = times.iter().copied().filter(|at| *at > since);
    let befores = std::iter::once(since).chain(later.clone());
    let gaps = later.zip(befores).map(|(at, before)| at.saturating_duration_since(before));
    gaps.max().unwrap_or_default()
}

/// Whether waiting still makes sense.
fn check(
    cluster: &mut LocalCluster,
    is_interrupted: &AtomicBool,
    deadline: Instant,
    what: &str,
) -> Result<(), Failure> {
    if let Some((id, ended)) = cluster.try_ended() {
        let tail = cluster.log_tails();
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("node {id} has ended ({ended}); the logs end with:\n{tail}"),
        ));
    }
    if is_interrupted.load(Ordering::Relaxed) {
        return Err(Failure::new(Exit::Failed, anyhow::anyhow!("interrupted while waiting for {what}")));
    }
    if Instant::now() > deadline {
        return Err(Failure::new(Exit::Failed, anyhow::anyhow!("waited {PATIENCE:?} for {what}, in vain")));
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Over many groups, so that some are led by each node.
const KEYS: u64 = 64;
/// Acknowledged writes between a node that is whole again and the next kill.
const WRITES_BETWEEN: u32 = 2_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
