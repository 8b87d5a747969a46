//! Rate sweep: how much a system takes before it no longer keeps up, and its latency below that.
//!
//! The knee is the highest rate of an open loop that still holds, that is, whose run is valid: every request answered and
//! 99 % of the rate achieved. It is found by doubling until a rate fails and then by halving the interval (on a logarithmic
//! scale). Latency is quoted at 50, 70 and 90 % of it, each in a run of its own.
//!
//! # Bounds
//! At most `STEPS_MAX` rates are tried. A rate that fails is tried twice: one stall of the machine is not a knee.

use std::fmt;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::load::{Arrival, Plan, Spacing};
use crate::measure::{LimitArgs, measure};
use crate::report::Report;
use crate::system::{Setup, System};

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The system.
    pub system: System,
    /// What it is asked to do.
    pub setup: Setup,
    /// The first rate, requests per second.
    pub first_rate: u64,
    /// How requests are spread.
    pub spacing: Spacing,
    /// How long each rate is tried.
    pub limit: LimitArgs,
}

/// The result of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Knee {
    /// Name of the system.
    pub system: &'static str,
    /// What is spoken between client and system.
    pub protocol: &'static str,
    /// Highest rate that held, requests per second.
    pub knee_per_second: u64,
    /// Lowest rate that failed.
    pub failed_per_second: u64,
}

impl fmt::Display for Knee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "knee     {} holds {}/s and fails at {}/s", self.system, self.knee_per_second, self.failed_per_second)
    }
}

/// Finds the knee, reports every rate that was tried, and quotes latencies below it.
///
/// # Errors
/// The system cannot be started, no rate holds, or the output is closed.
pub fn run(sweep: &Sweep, report: &mut Report) -> Result<()> {
    let mut running = sweep.system.start(&sweep.setup)?;
    let subject = sweep.system.subject(&sweep.setup);
    let plan = |per_second| sweep.limit.plan(Arrival::Rate { per_second, spacing: sweep.spacing });
    let Interval { holds, fails } = find_knee(sweep.first_rate, |per_second| {
        for _ in 0..TRIES {
            let measured = measure(&mut running, &subject, &plan(per_second), "sweep");
            report.show_probe(&measured.line)?;
            report.keep(&measured.line, &measured.figures.latencies, "-sweep");
            if measured.line.valid {
                return Ok(true);
            }
            if measured.figures.failure.is_some() {
                // The connection is gone: a rate that breaks the system does not hold, and the next needs a new one.
                running = sweep.system.start(&sweep.setup)?;
            }
        }
        Ok(false)
    })?;
    for percent in QUOTED_PERCENT {
        let plan: Plan = plan((holds * percent / 100).max(1));
        let measured = measure(&mut running, &subject, &plan, &format!("{percent} % of the knee"));
        report.record(&measured.line, &measured.figures, &format!("-knee{percent}"))?;
    }
    let knee =
        Knee { system: subject.system, protocol: subject.protocol, knee_per_second: holds, failed_per_second: fails };
    report.show_object(&knee, &knee.to_string())
}

/// A rate that holds and a higher one that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    holds: u64,
    fails: u64,
}

/// Looks for the highest rate that holds, to within `PRECISION`.
fn find_knee(first: u64, mut holds: impl FnMut(u64) -> Result<bool>) -> Result<Interval> {
    let mut rate = first;
    let (mut low, mut high) = (None, None);
    for _ in 0..STEPS_MAX {
        if holds(rate)? {
            low = Some(rate);
        } else {
            high = Some(rate);
        }
        rate = match (low, high) {
            (Some(low), None) if low < RATE_MAX => (low * 2).min(RATE_MAX),
            (None, Some(high)) if high > 1 => high / 2,
            (Some(low), Some(high)) if high as f64 / low as f64 > PRECISION && high - low > 1 => between(low, high),
            (Some(holds), Some(fails)) => return Ok(Interval { holds, fails }),
            _ => break,
        };
    }
    match (low, high) {
        (Some(holds), Some(fails)) => Ok(Interval { holds, fails }),
        (Some(low), None) => bail!("{low} requests per second hold, which is all this harness offers"),
        _ => bail!("no rate down to {rate} requests per second holds"),
    }
}

/// The geometric mean, strictly between.
#[expect(clippy::cast_possible_truncation, reason = "the mean of two rates below RATE_MAX is one")]
fn between(low: u64, high: u64) -> u64 {
    ((low as f64 * high as f64).sqrt() as u64).clamp(low + 1, high - 1)
}

/// Rates tried in one sweep.
const STEPS_MAX: u32 = 40;
/// Times a failing rate is tried.
const TRIES: u32 = 2;
/// The knee is known when the failing rate is at most this much higher.
const PRECISION: f64 = 1.05;
/// No generator of one thread offers more.
const RATE_MAX: u64 = 50_000_000;
const QUOTED_PERCENT: [u64; 3] = [50, 70, 90];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knee_is_found_from_below_and_from_above() {
        for first in [1, 1_000, 5_000_000] {
            let mut steps = 0;
            let interval = find_knee(first, |rate| {
                steps += 1;
                Ok(rate <= 123_456)
            })
            .unwrap();
            assert!(interval.holds <= 123_456 && interval.fails > 123_456, "{interval:?}");
            assert!(interval.fails as f64 / interval.holds as f64 <= PRECISION);
            assert!(steps <= 26, "{steps} steps from {first}");
        }
    }

    #[test]
    fn small_rates_are_found_exactly() {
        assert_eq!(find_knee(8, |rate| Ok(rate <= 3)).unwrap(), Interval { holds: 3, fails: 4 });
    }

    #[test]
    fn system_without_a_knee_is_an_error() {
        assert!(find_knee(1_000, |_| Ok(false)).is_err());
        assert!(find_knee(1_000, |_| Ok(true)).is_err());
        assert!(find_knee(1_000, |_| bail!("gone")).is_err());
    }
}
