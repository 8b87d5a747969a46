//! Sends the rows of a feed through the native client, when they are due, and follows each write to its end.
//!
//! ```text
//! feed ── row ──▶ due? ── writes ──▶ client ── outcomes ──▶ tally, order of keys, whoever watches
//! ```
//!
//! # Bounds
//! As many writes are under way as the window of the client allows; a feed that is faster than that waits, and its
//! latencies show it. Rows are read one at a time.
//!
//! # Time and units
//! Whoever waits for a row that is due in less than `SPIN_TIME` yields instead of sleeping, because sleeping takes
//! longer than asked for.

use std::collections::{HashMap, VecDeque};
use std::thread;
use std::time::Duration;

use quorate_engine::ids::LogIndex;
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::time::Instant;

use super::order::KeyOrder;
use super::tally::Tally;
use crate::cli::Failure;
use crate::client::polling::Client;
use crate::client::{Completion, Outcome, SubmitError, Token};
use crate::clock;
use crate::feed::{Feed, FeedError, Pacer, Row, Speed};

/// Who watches a replay, and may end it.
pub trait Watcher {
    /// A quorum holds a write.
    fn acknowledged(&mut self, key: &[u8], value: &[u8], token: &Token);

    /// Called many times a second. Returns whether more rows are to be read.
    ///
    /// # Errors
    /// Nobody reads what it writes; the replay ends.
    fn tick(&mut self, now: Instant, tally: &mut Tally, outstanding: usize) -> Result<Flow, Failure>;
}

/// Whether a replay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read the next row.
    Continue,
    /// Read no more; what is under way is waited for.
    Finish,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// All rows were read.
    AllRows,
    /// The watcher had seen enough.
    Stopped,
    /// The cluster could not be reached any more; why.
    Unreachable(String),
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    speed: Speed,
    ledger: Ledger,
    /// The row that is being sent.
    row: Row,
    /// How many of its writes were submitted; `None` if there is no such row.
    next_write: Option<usize>,
    /// When it is due.
    due: Instant,
    /// Since when there is no connection.
    lost_since: Option<Instant>,
}

/// The writes that are under way.
#[derive(Debug)]
struct Ledger {
    flights: HashMap<u64, Flight>,
    /// Flights that ended, for their memory.
    spare: Vec<Flight>,
    order: KeyOrder,
    rows: RowsUnderWay,
    /// Values to be written again.
    repairs: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Number of the last write.
    number: u64,
    tally: Tally,
}

/// One write under way.
#[derive(Debug, Default)]
struct Flight {
    number: u64,
    /// Which row it belongs to, counted from 0; `None` if it is a repair.
    row: Option<u64>,
    /// The line of that row in its file.
    line: u64,
    /// Where its latency starts.
    from: Instant,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Sender {
    /// Sends over `client`.
    #[must_use]
    pub fn new(client: Client, speed: Speed) -> Self {
        let now = clock::now();
        let ledger = Ledger {
            flights: HashMap::new(),
            spare: Vec::new(),
            order: KeyOrder::default(),
            rows: RowsUnderWay::default(),
            repairs: VecDeque::new(),
            number: 0,
            tally: Tally::new(now),
        };
        Self { client, speed, ledger, row: Row::default(), next_write: None, due: now, lost_since: None }
    }

    /// Sends all rows and waits for all outcomes.
    ///
    /// # Errors
    /// What the watcher says. Rows that cannot be used and writes that fail are counted.
    pub fn run(&mut self, feed: &mut dyn Feed, watcher: &mut dyn Watcher) -> Result<Finished, Failure> {
        let started = clock::now();
        self.ledger.tally = Tally::new(started);
        let mut pacer = Pacer::new(self.speed);
        let mut finished = None;
        let mut idle_since = None;
        loop {
            let ended = self.poll(watcher);
            let now = clock::now();
            if self.has_lost_connection(now) {
                let error = self.client.last_error().map_or_else(String::new, ToString::to_string);
                return Ok(Finished::Unreachable(error));
            }
            let flow = watcher.tick(now, &mut self.ledger.tally, self.ledger.flights.len())?;
            if flow == Flow::Finish && finished.is_none() {
                finished = Some(Finished::Stopped);
            }
            let mut submitted = self.submit_repairs(now);
            // The rest of a row that was begun goes out even so.
            while self.next_write.is_some() || finished.is_none() {
                if self.next_write.is_none() && !self.read(feed, &mut pacer, started) {
                    finished = Some(Finished::AllRows);
                    break;
                }
                if now < self.due && finished.is_none() || !self.submit_row(now) {
                    break;
                }
                submitted += 1;
            }
            if let Some(finished) = finished.take_if(|_| self.is_drained()) {
                return Ok(finished);
            }
            self.wait(ended + submitted > 0, now, &mut idle_since);
        }
    }

    /// Returns what became of the writes.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.ledger.tally
    }

    fn is_drained(&self) -> bool {
        self.next_write.is_none() && self.ledger.flights.is_empty() && self.ledger.repairs.is_empty()
    }

    fn poll(&mut self, watcher: &mut dyn Watcher) -> usize {
        let ledger = &mut self.ledger;
        let ended = self.client.poll(|completion| ledger.complete(&completion, watcher));
        ledger.tally.overloads = self.client.overload_count();
        ended
    }

    fn has_lost_connection(&mut self, now: Instant) -> bool {
        if self.client.is_connected() {
            self.lost_since = None;
            return false;
        }
        now.since(*self.lost_since.get_or_insert(now)) > GIVE_UP_AFTER
    }

    /// Reads the next row that can be used; `false` at the end.
    fn read(&mut self, feed: &mut dyn Feed, pacer: &mut Pacer, started: Instant) -> bool {
        let tally = &mut self.ledger.tally;
        loop {
            match feed.read(&mut self.row) {
                Ok(false) => return false,
                Ok(true) => break,
                Err(error) => {
                    let is_over = !matches!(error, FeedError::Row { .. });
                    tally.record_error(|| error.to_string());
                    if is_over {
                        return false;
                    }
                }
            }
        }
        tally.rows += 1;
        self.ledger.rows.begin(self.row.writes().len());
        self.due = started.saturating_add(pacer.due(self.row.time_ns));
        self.next_write = Some(0);
        true
    }

    /// Submits what is left of the row; `false` if the window is full before its end.
    fn submit_row(&mut self, now: Instant) -> bool {
        let from = if self.speed == Speed::Max { now } else { self.due };
        let row = self.ledger.rows.last();
        while let Some(write) = self.next_write.and_then(|next| self.row.writes().get(next)) {
            match self.client.submit(&Command { value: &write.value, ..Command::new(Op::Set, &write.key) }) {
                Ok(ticket) => self.ledger.begin(ticket.0, Some(row), self.row.number, from, (&write.key, &write.value)),
                Err(SubmitError::Full { .. }) => return false,
                Err(error) => self.ledger.refuse(row, self.row.number, &error),
            }
            self.next_write = self.next_write.map(|next| next + 1);
        }
        self.next_write = None;
        true
    }

    fn submit_repairs(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some((key, value)) = self.ledger.repairs.pop_front() {
            match self.client.submit(&Command { value: &value, ..Command::new(Op::Set, &key) }) {
                Ok(ticket) => self.ledger.begin(ticket.0, None, 0, now, (&key, &value)),
                Err(_) => {
                    // Full: its size was accepted before.
                    self.ledger.repairs.push_front((key, value));
                    break;
                }
            }
            count += 1;
        }
        count
    }

    /// Waits for outcomes and for the next row, whichever comes first, in the way that costs least and wakes in time.
    fn wait(&self, has_worked: bool, now: Instant, idle_since: &mut Option<Instant>) {
        if has_worked {
            *idle_since = None;
            return;
        }
        let idle = now.since(*idle_since.get_or_insert(now));
        let until_due = if self.next_write.is_some() { self.due.since(now) } else { WAIT_MAX };
        let is_blocked = self.next_write.is_some() && until_due.is_zero();
        let until_due = if is_blocked { WAIT_MAX } else { until_due.min(WAIT_MAX) };
        if until_due < SPIN_TIME || idle < SPIN_TIME {
            thread::yield_now();
        } else if self.ledger.flights.is_empty() && self.client.is_connected() {
            thread::sleep(until_due - SPIN_TIME / 2);
        } else if until_due >= KERNEL_WAIT_MIN {
            // It waits in whole milliseconds, rounded up.
            self.client.wait(until_due - KERNEL_WAIT_MIN / 2);
        } else {
            thread::yield_now();
        }
    }
}

impl Ledger {
    fn begin(&mut self, ticket: u64, row: Option<u64>, line: u64, from: Instant, (key, value): (&[u8], &[u8])) {
        self.number += 1;
        self.order.record_submitted(key, self.number);
        let mut flight = self.spare.pop().unwrap_or_default();
        flight.key.clear();
        flight.key.extend_from_slice(key);
        flight.value.clear();
        flight.value.extend_from_slice(value);
        self.flights.insert(ticket, Flight { number: self.number, row, line, from, ..flight });
        if row.is_some() {
            self.tally.writes += 1;
        } else {
            self.tally.repaired += 1;
        }
    }

    /// Counts a write that the client did not even take.
    fn refuse(&mut self, row: u64, line: u64, error: &SubmitError) {
        self.tally.writes += 1;
        self.tally.record_error(|| format!("row {line}: {error}"));
        self.rows.end_write(row, false);
    }

    fn complete(&mut self, completion: &Completion<'_>, watcher: &mut dyn Watcher) {
        let Some(flight) = self.flights.remove(&completion.ticket.0) else { return };
        let index = self.count(&flight, &completion.outcome, watcher);
        let again = self.order.record_ended(&flight.key, flight.number, &flight.value, index);
        if let Some(value) = again {
            self.repairs.push_back((flight.key.clone(), value));
        }
        if let Some(row) = flight.row {
            self.tally.rows_acknowledged += self.rows.end_write(row, index.is_some());
        }
        self.spare.push(flight);
    }

    /// Counts an outcome; returns where in the log the write is, if it is there.
    fn count(&mut self, flight: &Flight, outcome: &Outcome<'_>, watcher: &mut dyn Watcher) -> Option<LogIndex> {
        let place = || match flight.row {
            Some(_) => format!("row {}, key {}", flight.line, shown(&flight.key)),
            None => format!("key {}, written again to put it in order", shown(&flight.key)),
        };
        match outcome {
            Outcome::Done { answer: Answer::Error(text), .. } => {
                self.tally.record_error(|| format!("{}: {}", place(), String::from_utf8_lossy(text)));
                None
            }
            Outcome::Done { token, .. } | Outcome::Accepted { token } => {
                if flight.row.is_some() {
                    self.tally.record_acknowledged(flight.from, clock::now());
                }
                watcher.acknowledged(&flight.key, &flight.value, token);
                Some(token.index)
            }
            Outcome::Refused(by) => {
                self.tally.record_error(|| format!("{}: {}", place(), by.text));
                None
            }
            Outcome::Unknown(cause) => {
                self.tally.record_unknown(|| format!("{}: outcome not known: {cause}", place()));
                None
            }
            // Nobody asked for it.
            Outcome::Status { .. } => None,
        }
    }
}

/// Rows with writes under way, oldest first.
#[derive(Debug, Default)]
struct RowsUnderWay {
    /// Which row the first one is, counted from 0.
    first: u64,
    /// Writes that have not ended, and whether all that have were acknowledged.
    rows: VecDeque<(usize, bool)>,
}

impl RowsUnderWay {
    /// Adds a row with so many writes, at least one.
    fn begin(&mut self, writes: usize) {
        self.rows.push_back((writes, true));
    }

    /// Returns the row that was added last.
    fn last(&self) -> u64 {
        self.first + self.rows.len() as u64 - 1
    }

    /// Notes the end of a write. Returns 1 if with it a row is acknowledged as a whole, else 0.
    fn end_write(&mut self, row: u64, is_acknowledged: bool) -> u64 {
        let position = usize::try_from(row - self.first).expect("no more rows than fit into memory");
        let (left, is_whole) = &mut self.rows[position];
        *left -= 1;
        *is_whole &= is_acknowledged;
        let is_complete = *left == 0 && *is_whole;
        while self.rows.front().is_some_and(|(left, _)| *left == 0) {
            self.rows.pop_front();
            self.first += 1;
        }
        u64::from(is_complete)
    }
}

/// Writes a key for people.
#[must_use]
pub fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(60).collect::<String>().escape_debug().to_string()
}

/// Below this a row is waited for without sleeping.
const SPIN_TIME: Duration = Duration::from_micros(200);
/// Below this the kernel cannot be asked to wait: it would wake too late.
const KERNEL_WAIT_MIN: Duration = Duration::from_millis(2);
/// Longest single wait, so that whoever watches is called.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Without a connection for so long nobody will come back.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_acknowledged_when_all_its_writes_are() {
        let mut rows = RowsUnderWay::default();
        for writes in [2, 1, 2] {
            rows.begin(writes);
        }
        assert_eq!(rows.last(), 2);
        assert_eq!([rows.end_write(0, true), rows.end_write(1, true), rows.end_write(2, false)], [0, 1, 0]);
        assert_eq!(rows.end_write(0, true), 1);
        assert_eq!(rows.end_write(2, true), 0, "one of its writes failed");
        rows.begin(1);
        assert_eq!((rows.last(), rows.end_write(3, true), rows.rows.len()), (3, 1, 0));
    }

    #[test]
    fn keys_are_shown_without_control_characters() {
        assert_eq!(shown(b"px:\x1b[31m"), "px:\\u{1b}[31m");
    }
}
