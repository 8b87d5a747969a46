//! How long to pause before the next attempt.

use std::time::Duration;

/// Pauses that double with each attempt, up to a bound, and are spread by a seeded jitter so that many clients that were
/// refused together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause, unless the node names a longer one.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Seed of the jitter: the same seed gives the same pauses.
    pub seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_micros(100), max: Duration::from_millis(100), seed: 0 }
    }
}

/// Doublings after which the bound is long reached.
const DOUBLINGS_MAX: u32 = 20;

impl Backoff {
    /// Returns the pause before attempt `attempt` (from 0) at what `number` names: between half of the doubled pause
    /// and all of it.
    ///
    /// `hint`: what the node asked for; a first pause is not shorter.
    #[must_use]
    pub fn pause(&self, hint: Duration, number: u64, attempt: u32) -> Duration {
        let first = self.first.max(hint).min(self.max);
        let full = first.saturating_mul(1 << attempt.min(DOUBLINGS_MAX)).min(self.max);
        let spread = u64::try_from(full.as_nanos() / 2).unwrap_or(u64::MAX);
        let jitter = mix(self.seed ^ mix(number ^ (u64::from(attempt) << 48))) % spread.max(1);
        full - Duration::from_nanos(jitter)
    }
}

/// Spreads the bits of a number over all bits of another.
///
/// Source: the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_micros(100), max: Duration::from_millis(10), seed: 7 };

    #[test]
    fn pauses_double_within_their_bounds() {
        for attempt in 0..40 {
            let full = (100 * (1_u128 << attempt.min(30))).min(10_000);
            for number in 0..50 {
                let pause = BACKOFF.pause(Duration::ZERO, number, attempt).as_nanos();
                assert!(pause <= full * 1_000 && pause > full * 500, "attempt {attempt}: {pause} ns of {full} us");
            }
        }
    }

    #[test]
    fn the_node_may_ask_for_a_longer_pause_but_not_for_ever() {
        assert!(BACKOFF.pause(Duration::from_millis(2), 1, 0) > Duration::from_millis(1));
        assert!(BACKOFF.pause(Duration::from_secs(3_600), 1, 0) <= BACKOFF.max);
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses_and_requests_are_spread() {
        let pauses: Vec<_> = (0..20).map(|number| BACKOFF.pause(Duration::ZERO, number, 3)).collect();
        assert_eq!(pauses, (0..20).map(|number| BACKOFF.pause(Duration::ZERO, number, 3)).collect::<Vec<_>>());
        let mut distinct = pauses;
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 15, "{distinct:?}");
    }
}
