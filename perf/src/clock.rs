//! The only reader of the clock in this crate, behind a trait so that the load generator runs on simulated time too.
//!
//! # Time and units
//! Nanoseconds since an arbitrary start, monotonic. Values of two clocks are not comparable.

use std::time::Instant;

/// Time and the way to let it pass.
pub trait Clock {
    /// Returns nanoseconds since this clock's start; never falls.
    fn now_ns(&self) -> u64;

    /// Gives the CPU away after a turn in which nothing happened.
    fn idle(&self);
}

/// The monotonic clock of this machine. Idling yields the CPU and never sleeps: a wake-up costs more than the
/// figures measured here.
#[derive(Debug)]
pub struct OsClock {
    start: Instant,
}

impl OsClock {
    /// Starts a clock at 0.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for OsClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a run is shorter than 584 years")
    }

    fn idle(&self) {
        std::thread::yield_now();
    }
}
