//! What a thread does in a turn that found nothing: yield, or sleep until somebody wakes it.
//!
//! Spinning without ever yielding is not offered: where threads share CPUs, whoever spins takes the time of whom it waits
//! for. But a yield is a system call, which costs more than the whole way to the other thread and back, so the first
//! empty turns only pause the CPU: some 2 µs, several times a round trip where the other thread runs, and little beside
//! the time slice one waits for where it does not.

use core::hint;
use core::time::Duration;
use std::thread;

use parking_lot::{Condvar, Mutex};

use crate::sync::sleeper::Sleeper;

/// What threads do while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PollPolicy {
    /// Keep looking, yielding the CPU to whoever wants it. Lowest latency; each thread takes a CPU that nobody else wants.
    Spin,
    /// Keep looking for a while, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once. A wake-up costs tens of microseconds; an idle cluster costs nothing.
    Park,
}

/// Empty turns in a row that pause the CPU, before the first that yields it.
const PAUSES: u32 = 128;

/// Empty turns of an adaptive thread before it sleeps: with a yield of a few hundred nanoseconds, about a millisecond.
const EMPTY_TURNS_MAX: u32 = 2048;

impl PollPolicy {
    /// Whether a thread that has had `empty_turns` in a row is to sleep.
    pub(super) fn wants_sleep(self, empty_turns: u32) -> bool {
        match self {
            Self::Spin => false,
            Self::Adaptive => empty_turns > EMPTY_TURNS_MAX,
            Self::Park => true,
        }
    }

    /// Lets a thread that does not sleep pass an empty turn.
    #[inline]
    pub(super) fn pass(empty_turns: u32) {
        if empty_turns <= PAUSES {
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// Where one thread sleeps.
#[derive(Debug)]
pub(super) struct Bed {
    policy: PollPolicy,
    sleeper: Sleeper,
    /// A wake-up is remembered until the owner has slept.
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Bed {
    pub(super) fn new(policy: PollPolicy) -> Self {
        Self { policy, sleeper: Sleeper::new(), is_woken: Mutex::new(false), woken: Condvar::new() }
    }

    /// Wakes the owner if it sleeps. Call it after what it waits for was made visible; once per batch is enough.
    ///
    /// Cost: nothing if the owner never sleeps, a fence if it is awake.
    #[inline]
    pub(super) fn wake(&self) {
        if self.policy != PollPolicy::Spin && self.sleeper.must_wake() {
            self.wake_now();
        }
    }

    #[cold]
    fn wake_now(&self) {
        *self.is_woken.lock() = true;
        self.woken.notify_one();
    }

    /// Owner only: does what the policy says after `empty_turns` turns in a row that found nothing, the current one
    /// included. Returns whether it slept. `has_work` looks at everything once more; at `timeout` the owner wakes anyway.
    pub(super) fn rest(
        &self,
        empty_turns: u32,
        timeout: impl FnOnce() -> Option<Duration>,
        has_work: impl FnOnce() -> bool,
    ) -> bool {
        if !self.policy.wants_sleep(empty_turns) {
            PollPolicy::pass(empty_turns);
            return false;
        }
        let timeout = timeout();
        self.sleeper.announce();
        if !has_work() {
            let mut is_woken = self.is_woken.lock();
            if !*is_woken {
                match timeout {
                    Some(timeout) => {
                        self.woken.wait_for(&mut is_woken, timeout);
                    }
                    None => self.woken.wait(&mut is_woken),
                }
            }
            *is_woken = false;
        }
        self.sleeper.retract();
        true
    }
}
