//! The only reader of the operating system's clocks.
//!
//! Everything else receives points in time as arguments, so that whoever tests a decision can choose its time.
//!
//! # Time and units
//! [`now`] is `CLOCK_BOOTTIME` in nanoseconds: it never jumps, and it goes on while the machine is suspended, so a lease
//! cannot outlive a suspension. Systems without it get `CLOCK_MONOTONIC`, which stands still then. [`wall_clock_ns`]
//! counts nanoseconds since the Unix epoch, may jump either way, and decides nothing but what users ask of it (`TIME`,
//! `EXAT`).
//!
//! # Threads
//! Any thread may call; both are one vDSO call, some 26 ns.

use nix::time::{ClockId, clock_gettime};
use quorate_engine::time::Instant;

#[cfg(any(target_os = "linux", target_os = "android"))]
const MONOTONIC: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MONOTONIC: ClockId = ClockId::CLOCK_MONOTONIC;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads the monotonic clock. Call it after the bytes it is to be compared with were received, never before.
#[must_use]
pub fn now() -> Instant {
    Instant(read_ns(MONOTONIC))
}

/// Reads the wall clock, in nanoseconds since the Unix epoch; 0 for a clock set before it.
#[must_use]
pub fn wall_clock_ns() -> u64 {
    read_ns(ClockId::CLOCK_REALTIME)
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("the clock exists on every system this is compiled for");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut last = now();
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last, "{next:?} before {last:?}");
            last = next;
        }
    }

    #[test]
    fn the_wall_clock_is_past_the_year_2024() {
        assert!(wall_clock_ns() > 1_704_067_200 * NANOS_PER_SECOND);
    }
}
