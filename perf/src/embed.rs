//! The embedded engine: three replicas in this process, the leader on the measuring thread, both followers on another.
//!
//! Service time (window 1) is from before a write is appended to having its answer: by then a quorum of the replicas holds
//! it, and the leader has applied it; nothing crosses a socket. With a larger window it is throughput, and the latencies
//! are those of the window. The clock is read once a turn.
//!
//! At the end the state of all three replicas is compared: a run whose digests differ is an error, not a figure.

use anyhow::{Result, bail};
use quorate_engine::config::Config;
use quorate_engine::embed::{Cluster, Completion, Driver, PollPolicy};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op};

use crate::clock::{Clock, OsClock};
use crate::load::{Figures, Plan, RequestId};
use crate::measure::{Measured, warm_up};
use crate::report::{ResultLine, Subject};
use crate::system::{KEY_BYTES, VALUE_BYTES_MAX, write_key};

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct EmbedRun {
    /// Requests in flight.
    pub window: u32,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// The processors of the leader's thread and of the followers'.
    pub pin: Option<[usize; 2]>,
}

impl EmbedRun {
    /// Starts the replicas, warms up, measures, and compares the replicas.
    ///
    /// # Errors
    /// The replicas cannot be started, or hold different states at the end.
    pub fn measure(&self, plan: &Plan) -> Result<Measured> {
        let mut builder = Cluster::builder()
            .poll(PollPolicy::Spin)
            .in_flight_max(self.window as usize)
            .config(Config { log_bytes: LOG_BYTES, ..Config::default() });
        if let Some([leader, followers]) = self.pin {
            builder = builder.pin(leader, followers);
        }
        let mut driver = builder.build_driven()?;
        let mut load = Load {
            value: vec![b'v'; self.value_bytes.min(VALUE_BYTES_MAX)],
            sent_ns: vec![0; self.window as usize],
            free: (0..self.window).rev().collect(),
            next: 0,
        };
        load.run(&mut driver, &warm_up(plan), self.window);
        let figures = load.run(&mut driver, plan, self.window);
        if !driver.stop().digests_agree() {
            bail!(
                "the replicas hold different states: this is a bug, please report it with the command and the version"
            );
        }
        let subject = Subject { system: "quorate", protocol: "embedded", value_bytes: self.value_bytes };
        let note = "three replicas on two threads of one process, no network";
        let line = ResultLine::new(&subject, plan, &figures, &[note]);
        Ok(Measured { figures, line })
    }
}

/// Writes under way.
struct Load {
    value: Vec<u8>,
    /// When the request of each tag was submitted.
    sent_ns: Vec<u64>,
    /// Tags that are not under way.
    free: Vec<u32>,
    next: u64,
}

impl Load {
    fn run(&mut self, driver: &mut Driver, plan: &Plan, window: u32) -> Figures {
        let clock = OsClock::start();
        let mut figures = Figures::default();
        let mut empty_turns = 0_u32;
        loop {
            let now = clock.now_ns();
            if now < plan.duration_ns_max {
                self.submit(driver, &mut figures, plan, now);
            } else if now > plan.duration_ns_max.saturating_add(ANSWERS_WAIT_NS) {
                break;
            }
            let mut read = None;
            let has_worked = driver.turn(|completion| {
                self.take(&mut figures, *read.get_or_insert_with(|| clock.now_ns()), &completion);
            });
            if self.free.len() == window as usize && (now >= plan.duration_ns_max || figures.sent >= plan.count_max) {
                break;
            }
            if has_worked {
                empty_turns = 0;
            } else {
                empty_turns += 1;
                // Where the followers have no processor of their own they need this one.
                if empty_turns.is_multiple_of(SPINS_PER_YIELD) { clock.idle() } else { std::hint::spin_loop() }
            }
        }
        figures
    }

    fn submit(&mut self, driver: &mut Driver, figures: &mut Figures, plan: &Plan, now: u64) {
        let mut key = [0; KEY_BYTES];
        while figures.sent < plan.count_max
            && let Some(tag) = self.free.pop()
        {
            write_key(&mut key, RequestId(self.next));
            match driver.submit(tag, Command { value: &self.value, ..Command::new(Op::Set, &key) }) {
                Ok(()) => {
                    self.sent_ns[tag as usize] = now;
                    self.next += 1;
                    figures.sent += 1;
                }
                // Full for now; anything else shows as requests that were never sent.
                Err(_) => {
                    self.free.push(tag);
                    break;
                }
            }
        }
    }

    fn take(&mut self, figures: &mut Figures, now: u64, completion: &Completion<'_>) {
        if completion.result.is_ok_and(|answered| matches!(answered.answer(), Answer::Ok)) {
            figures.count += 1;
            figures.latencies.record(now - self.sent_ns[completion.tag as usize]);
        } else {
            figures.errors += 1;
        }
        figures.elapsed_ns = now;
        self.free.push(completion.tag);
    }
}

/// Log of each replica: the default of an embedded cluster.
const LOG_BYTES: usize = 16 << 20;
/// How long the last answers may take, in nanoseconds; what is missing then counts as lost.
const ANSWERS_WAIT_NS: u64 = 5_000_000_000;
const SPINS_PER_YIELD: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Arrival;

    #[test]
    fn every_write_is_answered_and_the_replicas_agree() {
        for window in [1, 64] {
            let run = EmbedRun { window, value_bytes: 64, pin: None };
            let plan = Plan { arrival: Arrival::Window(window), count_max: 2_000, duration_ns_max: 60_000_000_000 };
            let measured = run.measure(&plan).unwrap();
            assert_eq!((measured.figures.sent, measured.figures.count, measured.figures.errors), (2_000, 2_000, 0));
            assert_eq!(measured.figures.latencies.count(), 2_000);
            assert!(measured.line.valid, "{:?}", measured.line);
        }
    }
}
