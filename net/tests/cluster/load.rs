//! Writes that go on while something happens to the cluster, and the check that none of the acknowledged is lost.
//!
//! Each of [`KEYS`] keys takes ever larger numbers, and fewer writes than that are under way, so no key has two of them
//! at once. What is read afterwards must not be older than what was acknowledged last, nor newer than what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quorate::client::polling::Client;
use quorate::client::{ClientOptions, Outcome};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op};

use super::daemons::{Cluster, until};
use super::resp::{Reply, Resp};

/// Writes under way in the background.
#[derive(Debug)]
pub(crate) struct Load {
    acknowledged: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Written>>,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Written {
    keys: Vec<Progress>,
    /// How many were acknowledged.
    pub(crate) acknowledged: u64,
    /// What went wrong: refusals and unknown outcomes.
    pub(crate) problems: Vec<String>,
    /// Bytes behind the number in each value.
    filler: usize,
}

/// How far the writes to one key came; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The number sent last.
    sent: u64,
    /// The one acknowledged last.
    acknowledged: u64,
    /// Where that one is in the log.
    index: u64,
}

impl Load {
    /// Starts to write values of `filler` bytes and a number through the nodes that `options` name.
    pub(crate) fn start(options: ClientOptions, filler: usize) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (counter, flag) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
        let options = ClientOptions { window: WINDOW, ..options };
        let thread = thread::spawn(move || write(options, filler, &counter, &flag));
        Self { acknowledged, is_over, thread: Some(thread) }
    }

    /// Waits until `count` more writes are acknowledged.
    pub(crate) fn advance(&self, count: u64) {
        let target = self.acknowledged.load(Ordering::Relaxed) + count;
        until(&format!("{target} acknowledged writes"), || {
            let is_running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            assert!(is_running, "the load has ended before {target} writes were acknowledged");
            (self.acknowledged.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    /// Ends it, and waits for what is under way.
    pub(crate) fn stop(mut self) -> Written {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("the load does not fail by itself")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Written {
    /// Reads everything back through a node.
    pub(crate) fn assert_held(&self, cluster: &Cluster, node: u16) {
        let names: Vec<String> = (0..self.keys.len()).map(key).collect();
        let replies = cluster.connect(node).pipeline(names.iter().map(|name| vec!["GET", name]));
        self.check(&replies, u64::MAX);
    }

    /// Reads what a node itself has executed, which is everything up to entry `applied` of the one group there is.
    pub(crate) fn assert_applied(&self, resp: &mut Resp, applied: u64) {
        let names: Vec<String> = (0..self.keys.len()).map(key).collect();
        let replies = resp.pipeline(names.iter().map(|name| vec!["CACHE.PEEK", name]));
        self.check(&replies, applied);
    }

    /// Returns the last entry that was acknowledged.
    pub(crate) fn last_index(&self) -> u64 {
        self.keys.iter().map(|progress| progress.index).max().expect("there are keys")
    }

    fn check(&self, replies: &[Reply], applied: u64) {
        assert!(self.acknowledged > 0, "nothing was acknowledged");
        for ((index, progress), reply) in self.keys.iter().enumerate().zip(replies) {
            let name = key(index);
            let found = match reply {
                Reply::Nil => 0,
                Reply::Bulk(value) => {
                    let text = String::from_utf8_lossy(value);
                    assert_eq!(text.len() - digits(&text).len(), self.filler, "key {name}");
                    digits(&text).parse().expect("a number")
                }
                other => panic!("key {name}: {other:?}"),
            };
            if progress.index <= applied {
                assert!(
                    found >= progress.acknowledged,
                    "key {name}: {found} is held, and later was acknowledged: {progress:?}"
                );
            }
            assert!(found <= progress.sent, "key {name}: {found} was never written: {progress:?}");
        }
    }
}

fn write(options: ClientOptions, filler: usize, acknowledged: &AtomicU64, is_over: &AtomicBool) -> Written {
    let mut client = Client::connect(options).expect("the node is up");
    let mut written = Written { keys: vec![Progress::default(); KEYS], acknowledged: 0, problems: Vec::new(), filler };
    let mut flights: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
    let padding = ".".repeat(filler);
    let mut number = 0;
    loop {
        let is_ending = is_over.load(Ordering::Relaxed) || number >= WRITES_MAX || written.problems.len() > WINDOW;
        while !is_ending && client.outstanding() < WINDOW {
            number += 1;
            let index = usize::try_from(number % KEYS as u64).expect("below the count");
            let (name, value) = (key(index), format!("{number}{padding}"));
            let command = Command { value: value.as_bytes(), ..Command::new(Op::Set, name.as_bytes()) };
            let ticket = client.submit(&command).expect("there is room");
            flights.insert(ticket.0, number);
            written.keys[index].sent = number;
        }
        let count = client.poll(|completion| {
            let number = flights.remove(&completion.ticket.0).expect("each ends once");
            match completion.outcome {
                Outcome::Done { token, answer: Answer::Ok } => {
                    let index = usize::try_from(number % KEYS as u64).expect("below the count");
                    let progress = &mut written.keys[index];
                    (progress.acknowledged, progress.index) = (number, token.index.0);
                    written.acknowledged += 1;
                }
                other => written.problems.push(format!("{other:?}")),
            }
        });
        acknowledged.store(written.acknowledged, Ordering::Relaxed);
        if is_ending && client.outstanding() == 0 {
            return written;
        }
        if count == 0 {
            client.wait(Duration::from_millis(10));
        }
    }
}

fn key(index: usize) -> String {
    format!("load:{index}")
}

fn digits(text: &str) -> &str {
    text.trim_end_matches('.')
}

const KEYS: usize = 1_000;
const WINDOW: usize = 64;
const WRITES_MAX: u64 = 5_000_000;
