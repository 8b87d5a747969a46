//! When a recorded row is due.
//!
//! A pure function of the recorded times: how long after the start of the replay a row is due, at a speed. The caller
//! has the clock and does the waiting.
//!
//! Recordings are not in order. A row that is a little late was overtaken on its way: it is due at once, and the rows
//! after it are not moved. A row that is far behind means that somebody set the clock back: the replay goes on from
//! there without a gap, so that an hour that repeats is replayed as an hour, and not all at once.
//!
//! # Invariants
//! I1. What is due never goes back: each row is due no earlier than the one before it.
//!
//! # Time and units
//! Recorded times in nanoseconds from any start; due times relative to the first row.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many thousandths of the recorded speed; not 0.
    Thousandths(u64),
    /// As fast as it is acknowledged.
    Max,
}

/// A speed that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a speed from 0.001x to 1000000x, like 1x, 10x or 0.5x, or max; found {found:?}")]
pub struct SpeedError {
    /// What was written, cut.
    pub found: String,
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix('x').unwrap_or(text);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| (1..=7).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let thousandths = (is_number(whole) && is_number(fraction) && fraction.len() <= 3)
            .then(|| format!("{whole}{fraction:0<3}").parse().ok())
            .flatten();
        match thousandths {
            Some(thousandths @ 1..=1_000_000_000) => Ok(Self::Thousandths(thousandths)),
            _ => Err(SpeedError { found: text.chars().take(40).collect() }),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Thousandths(speed) if speed.is_multiple_of(1000) => write!(f, "{}x", speed / 1000),
            Self::Thousandths(speed) => {
                let fraction = format!("{:03}", speed % 1000);
                write!(f, "{}.{}x", speed / 1000, fraction.trim_end_matches('0'))
            }
        }
    }
}

/// Tells for each row in turn when it is due.
///
/// ```
/// use std::time::Duration;
/// use quorate::feed::Pacer;
///
/// let mut pacer = Pacer::new("10x".parse()?);
/// assert_eq!(pacer.due(Some(5_000_000_000)), Duration::ZERO);
/// assert_eq!(pacer.due(Some(6_000_000_000)), Duration::from_millis(100));
/// # Ok::<(), quorate::feed::pacer::SpeedError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pacer {
    speed: Speed,
    timeline: Option<Timeline>,
}

/// Where the replay stands in the recording.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    /// The recorded time at which the replay, as it goes on now, would have started.
    start_ns: i128,
    /// The latest recorded time so far, since the clock was last set back.
    latest_ns: i128,
}

impl Pacer {
    /// Starts at the first row.
    #[must_use]
    pub fn new(speed: Speed) -> Self {
        Self { speed, timeline: None }
    }

    /// Returns the speed.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// Returns how long after the first row this one is due. A row without a time is due with the one before it.
    pub fn due(&mut self, time_ns: Option<i64>) -> Duration {
        let Speed::Thousandths(speed) = self.speed else { return Duration::ZERO };
        if let Some(time_ns) = time_ns {
            self.advance(time_ns.into());
        }
        let elapsed = self.timeline.map_or(0, |timeline| timeline.latest_ns - timeline.start_ns);
        let due = elapsed * 1000 / i128::from(speed);
        Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX))
    }

    fn advance(&mut self, time_ns: i128) {
        let timeline = self.timeline.get_or_insert(Timeline { start_ns: time_ns, latest_ns: time_ns });
        if time_ns + SET_BACK_NS < timeline.latest_ns {
            let elapsed = timeline.latest_ns - timeline.start_ns;
            *timeline = Timeline { start_ns: time_ns - elapsed, latest_ns: time_ns };
        }
        timeline.latest_ns = timeline.latest_ns.max(time_ns);
    }
}

/// A row further behind the latest one than this was not overtaken: the clock was set back. Networks delay by less.
const SET_BACK_NS: i128 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn dues(speed: &str, times: &[i64]) -> Vec<u64> {
        let mut pacer = Pacer::new(speed.parse().expect("a speed"));
        times.iter().map(|time| u64::try_from(pacer.due(Some(*time)).as_millis()).expect("short")).collect()
    }

    #[test]
    fn gaps_shrink_with_the_speed() {
        let times = [7 * SECOND, 8 * SECOND, 11 * SECOND];
        assert_eq!(dues("1x", &times), [0, 1000, 4000]);
        assert_eq!(dues("100x", &times), [0, 10, 40]);
        assert_eq!(dues("0.5x", &times), [0, 2000, 8000]);
        assert_eq!(dues("max", &times), [0, 0, 0]);
    }

    #[test]
    fn an_overtaken_row_is_due_at_once_and_moves_nothing() {
        assert_eq!(dues("1x", &[0, 2 * SECOND, SECOND, 3 * SECOND]), [0, 2000, 2000, 3000]);
    }

    #[test]
    fn a_clock_that_is_set_back_starts_no_gap_and_no_rush() {
        let minute = 60 * SECOND;
        let times = [50 * minute, 55 * minute, 0, 5 * minute, 10 * minute];
        assert_eq!(dues("1x", &times), [0, 300_000, 300_000, 600_000, 900_000]);
    }

    #[test]
    fn a_row_without_a_time_is_due_with_the_one_before() {
        let mut pacer = Pacer::new(Speed::Thousandths(1000));
        assert_eq!(pacer.due(None), Duration::ZERO);
        pacer.due(Some(SECOND));
        assert_eq!(pacer.due(Some(2 * SECOND)), Duration::from_secs(1));
        assert_eq!(pacer.due(None), Duration::from_secs(1));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut pacer = Pacer::new(Speed::Thousandths(1));
        pacer.due(Some(i64::MIN));
        let far = pacer.due(Some(i64::MAX));
        assert_eq!(far, Duration::from_nanos(u64::MAX));
        assert_eq!(pacer.due(Some(i64::MIN)), far);
    }

    #[test]
    fn speeds_are_read_and_written() {
        for (text, shown) in
            [("1x", "1x"), ("10", "10x"), ("0.5x", "0.5x"), ("100x", "100x"), ("max", "max"), ("2.25x", "2.25x")]
        {
            assert_eq!(text.parse::<Speed>().map(|speed| speed.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "x", "0x", "0.0001x", "-1x", "fast", "1e3x", "10000000x", "1.x", ".5x"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
