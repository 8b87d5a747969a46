//! Whose clock goes too fast or too slow: leases rest on clocks whose rates differ by less than a bound.
//!
//! Each heartbeat says what its sender's clock showed when it left. How far that lies behind the receiver's clock is the difference
//! of the two clocks and the time that the heartbeat took; the least of some seconds has taken next to none. If that least changes
//! from window to window, one of the clocks is faster than the other. A run whose clock fewer than half of the others agree with,
//! itself among them, is *off*: with two clocks that differ nobody can say which is right, and both are.
//!
//! # Time and units
//! Windows of [`WINDOW`] on the receiver's clock, counted from the first heartbeat in each. Rates in parts per million, relative to
//! the receiver's clock. Two clocks disagree if they differ by more than [`CLOCK_DRIFT_PPM`] and by [`JITTER`] over the time in
//! which they were compared: the least may have taken so long after all.
//!
//! # Bounds
//! Six windows of each node.

use core::time::Duration;
use std::collections::VecDeque;

use crate::config::CLOCK_DRIFT_PPM;
use crate::time::{Instant, nanos};

/// How long the least is looked for.
pub const WINDOW: Duration = Duration::from_secs(2);
/// Over how many windows rates are compared at most.
const WINDOWS_MAX: usize = 6;
/// Over how many windows they are compared at least.
const WINDOWS_MIN: usize = 4;
/// What the quickest heartbeat of a window may have taken longer than that of another.
pub const JITTER: Duration = Duration::from_millis(50);

/// How the clock of one run goes, as the receiver sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// The last one is not over.
    windows: VecDeque<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    /// The least that the other clock lay behind, and when.
    least_ns: i64,
    at: Instant,
}

impl Rate {
    /// Takes what the other clock showed when something left that is received now.
    pub(super) fn note(&mut self, theirs: Instant, mine: Instant) {
        let signed = |at: Instant| i64::try_from(at.0).unwrap_or(i64::MAX);
        let behind = signed(mine).saturating_sub(signed(theirs));
        match self.windows.back_mut().filter(|window| mine.since(window.since) < WINDOW) {
            Some(window) if behind < window.least_ns => (window.least_ns, window.at) = (behind, mine),
            Some(_) => {}
            None => {
                self.windows.push_back(Window { since: mine, least_ns: behind, at: mine });
                if self.windows.len() > WINDOWS_MAX + 1 {
                    self.windows.pop_front();
                }
            }
        }
    }

    /// Returns by how much the other clock is faster than the receiver's, in parts per million, and how far that may be wrong; `None`
    /// until they were compared for long enough.
    pub(super) fn ppm(&self) -> Option<(i64, i64)> {
        let over = self.windows.len().checked_sub(1).filter(|over| *over >= WINDOWS_MIN)?;
        let (first, last) = (self.windows.front()?, self.windows.get(over - 1)?);
        let span = i64::try_from(last.at.since(first.at).as_nanos()).ok().filter(|span| *span > 0)?;
        let ppm = |ns: i64| i64::try_from(i128::from(ns) * 1_000_000 / i128::from(span)).unwrap_or(i64::MAX);
        let jitter = i64::try_from(nanos(JITTER)).expect("a small constant");
        Some((ppm(first.least_ns.saturating_sub(last.least_ns)), ppm(jitter)))
    }
}

/// Whether two clocks whose rates are these, and wrong by so much at most, may be within the bound.
fn agree(one: (i64, i64), two: (i64, i64)) -> bool {
    let bound = i64::try_from(CLOCK_DRIFT_PPM).expect("a small constant");
    let differ = one.0.saturating_sub(two.0).saturating_abs();
    differ <= bound.saturating_add(one.1).saturating_add(two.1)
}

/// Returns which of these rates are off.
pub(super) fn off<K: Copy>(rates: &[(K, (i64, i64))]) -> impl Iterator<Item = (K, i64)> {
    let agreeing = |rate: &(i64, i64)| rates.iter().filter(|(_, other)| agree(*rate, *other)).count();
    rates.iter().filter(move |(_, rate)| 2 * agreeing(rate) <= rates.len()).map(|(key, (ppm, _))| (*key, *ppm))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT_NS: u64 = 37_500_000;

    /// A clock that is faster by so much, heard for so long, with each heartbeat up to 10 ms on its way.
    fn heard(ppm: i64, seconds: u64) -> Rate {
        let mut rate = Rate::default();
        let mut random = fastrand::Rng::with_seed(7);
        for beat in 0..seconds * 1_000_000_000 / BEAT_NS {
            let sent = 1_000_000_000_000 + beat * BEAT_NS;
            let shown = sent.wrapping_add_signed(i64::try_from(sent).expect("small") / 1_000_000 * ppm);
            rate.note(Instant(shown), Instant(sent + random.u64(..10_000_000)));
        }
        rate
    }

    #[test]
    fn a_rate_is_known_after_some_windows() {
        assert_eq!(heard(50_000, 7).ppm(), None);
        let (ppm, error) = heard(50_000, 20).ppm().expect("known");
        assert!((ppm - 50_000).abs() < 1_500 && error < 10_000, "{ppm}, {error}");
        let (ppm, _) = heard(-50_000, 20).ppm().expect("known");
        assert!((ppm + 50_000).abs() < 1_500, "{ppm}");
    }

    #[test]
    fn heartbeats_that_all_take_longer_for_a_while_are_no_other_rate() {
        let mut rate = heard(0, 10);
        for beat in 0..200 {
            let sent = 1_010_000_000_000 + beat * BEAT_NS;
            rate.note(Instant(sent), Instant(sent + 40_000_000));
        }
        let rates = [(1, (0, 0)), (2, (0, 0)), (3, rate.ppm().expect("known"))];
        assert_eq!(off(&rates).count(), 0);
    }

    #[test]
    fn whoever_fewer_than_half_agree_with_is_off() {
        let off = |ppm: &[i64]| -> Vec<usize> {
            let rates: Vec<_> = ppm.iter().map(|ppm| (*ppm, 0)).enumerate().collect();
            super::off(&rates).map(|(index, _)| index).collect()
        };
        assert_eq!(off(&[0, 100, 30_000]), [2]);
        assert_eq!(off(&[0, 30_000, 30_100]), [0], "the receiver's own");
        assert_eq!(off(&[0, 19_000, -19_000]), [0; 0], "each agrees with the one in the middle");
        assert_eq!(off(&[0, 30_000]), [0, 1]);
        assert_eq!(off(&[0]), [0; 0]);
    }
}
