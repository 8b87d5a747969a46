//! The loop on one CPU, and what it does when there is nothing to do.
//!
//! A turn of the transport, then the rest of the turn of the CPU, again and again. An empty turn gives the processor
//! away (`sched_yield`) whatever the policy: where several processes share a processor, spinning on keeps the very
//! process from running that would bring the next message, and twenty such turns double the latency. The policies differ
//! in when the thread goes to sleep: `spin` never, `park` at once, `adaptive` when nothing has happened for
//! [`AWAKE_FOR`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_engine::time::Instant;

use crate::clock;
use crate::config::Poll;
use crate::cpu::{Bell, Cpu};
use crate::node::{STOP_GRACE, Shared};
use crate::transport::{AnyTransport, Wait};

/// How long `adaptive` stays awake after the last thing that happened. A sleeping thread takes some 30 µs to wake, so
/// this is long enough that a steady trickle never finds it asleep, and short enough to cost nothing when it stops.
const AWAKE_FOR: Duration = Duration::from_millis(1);
/// Empty turns between two readings of the clock.
const TURNS_PER_READING: u32 = 16;

/// See the module.
pub(crate) struct Driver {
    cpu: Cpu,
    transport: AnyTransport,
    bell: Arc<Bell>,
    shared: Arc<Shared>,
    poll: Poll,
    /// Turns in a row in which nothing happened, and since when.
    empty_turns: u32,
    idle_since: Instant,
}

impl Driver {
    pub(crate) fn new(cpu: Cpu, transport: AnyTransport, bell: Arc<Bell>, shared: Arc<Shared>, poll: Poll) -> Self {
        Self { cpu, transport, bell, shared, poll, empty_turns: 0, idle_since: Instant(0) }
    }

    /// Runs until the node is stopped and nothing is under way any more.
    pub(crate) fn run(mut self) {
        let mut stop_at = None;
        loop {
            let has_worked = self.turn(stop_at.is_some());
            if self.shared.is_stopping.load(Ordering::Acquire) {
                let limit = self.cpu.facts().settings.limits().request_timeout + STOP_GRACE;
                let deadline = *stop_at.get_or_insert_with(|| {
                    self.cpu.stop_accepting();
                    clock::now().saturating_add(limit)
                });
                let is_finished = !has_worked && self.cpu.is_finished();
                if is_finished || clock::now() >= deadline {
                    return;
                }
            }
        }
    }

    fn turn(&mut self, is_stopping: bool) -> bool {
        let wait = if is_stopping { Wait::No } else { self.wait() };
        let stats = self.transport.turn(&mut self.cpu, wait);
        if wait != Wait::No {
            self.bell.doorbell.cancel_park();
        }
        let has_worked = self.cpu.end_turn() | (stats.events > 0);
        if has_worked {
            self.empty_turns = 0;
        } else {
            self.empty_turns = self.empty_turns.saturating_add(1);
            if self.empty_turns == 1 {
                self.idle_since = clock::now();
            }
            std::thread::yield_now();
        }
        has_worked
    }

    /// Decides whether to sleep in the next turn.
    fn wait(&mut self) -> Wait {
        let is_sleepy = match self.poll {
            Poll::Spin => false,
            Poll::Park => self.empty_turns > 0,
            Poll::Adaptive => {
                self.empty_turns > 0
                    && self.empty_turns.is_multiple_of(TURNS_PER_READING)
                    && clock::now() >= self.idle_since.saturating_add(AWAKE_FOR)
            }
        };
        if !is_sleepy {
            return Wait::No;
        }
        // Bells rung so far are answered by looking at the links, which `park_until` does after the announcement.
        let _ = self.bell.doorbell.take();
        if !self.bell.doorbell.prepare_park() {
            return Wait::No;
        }
        match self.cpu.park_until() {
            Some(until) => {
                // An adaptive thread that wakes for nothing sleeps again at once.
                self.empty_turns = TURNS_PER_READING - 1;
                Wait::Until(until)
            }
            None => {
                self.bell.doorbell.cancel_park();
                Wait::No
            }
        }
    }
}

/// Pins the calling thread to one processor; where that is not possible it stays where it is, and says so.
pub(crate) fn pin(processor: u16) {
    #[cfg(target_os = "linux")]
    {
        let mut set = nix::sched::CpuSet::new();
        let pinned = set
            .set(usize::from(processor))
            .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
        if let Err(error) = pinned {
            tracing::warn!(processor, %error, "cannot pin a thread to this processor; it runs unpinned");
        }
    }
    #[cfg(not(target_os = "linux"))]
    tracing::warn!(processor, "threads are pinned on Linux only; it runs unpinned");
}
