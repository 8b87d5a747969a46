//! What became of the writes of a replay: counts, latencies, and the first few things that went wrong.
//!
//! # Time and units
//! A latency counts from the moment a row was due, or from its submission when rows are sent as fast as they are
//! acknowledged, to the acknowledgement of a write of it. So a stall shows in every row that it kept waiting, and not in one alone.
//!
//! # Bounds
//! Latencies up to an hour with three digits; [`PROBLEMS_MAX`] problems are kept as text, the rest is counted.

use std::time::Duration;

use hdrhistogram::Histogram;
use quorate_engine::time::{Instant, nanos};
use serde_json::{Value, json};

/// See the module.
#[derive(Debug)]
pub struct Tally {
    /// Rows read.
    pub rows: u64,
    /// Rows whose writes were all acknowledged.
    pub rows_acknowledged: u64,
    /// Writes handed to the client.
    pub writes: u64,
    /// Writes that a quorum holds.
    pub acknowledged: u64,
    /// Rows that cannot be used, and writes that never happened.
    pub errors: u64,
    /// Writes of which nobody knows whether they happened.
    pub unknown: u64,
    /// Values written again, because a retry had put an older one behind them.
    pub repaired: u64,
    /// Attempts that a node refused because it was overloaded.
    pub overloads: u64,
    problems: Vec<String>,
    started: Instant,
    ended: Instant,
    total: Histogram<u64>,
    interval: Histogram<u64>,
    interval_started: Instant,
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Seconds since the start.
    pub elapsed_s: f64,
    /// Writes acknowledged a second.
    pub per_second: f64,
    /// Latencies, if anything was acknowledged.
    pub latency: Option<Latency>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half of them were at most this.
    pub p50_ns: u64,
    /// 99 of 100 were.
    pub p99_ns: u64,
    /// 999 of 1,000 were.
    pub p999_ns: u64,
    /// All were.
    pub max_ns: u64,
}

impl Tally {
    /// Starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let histogram = || Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("bounds in order");
        Self {
            rows: 0,
            rows_acknowledged: 0,
            writes: 0,
            acknowledged: 0,
            errors: 0,
            unknown: 0,
            repaired: 0,
            overloads: 0,
            problems: Vec::new(),
            started: now,
            ended: now,
            total: histogram(),
            interval: histogram(),
            interval_started: now,
        }
    }

    /// Counts one write that is acknowledged at `now`.
    pub fn record_acknowledged(&mut self, from: Instant, now: Instant) {
        let latency_ns = nanos(now.since(from));
        self.total.saturating_record(latency_ns);
        self.interval.saturating_record(latency_ns);
        self.acknowledged += 1;
        self.ended = now;
    }

    /// Counts something that went wrong.
    pub fn record_error(&mut self, problem: impl FnOnce() -> String) {
        self.errors += 1;
        self.keep_problem(problem);
    }

    /// Counts a write whose outcome nobody knows.
    pub fn record_unknown(&mut self, problem: impl FnOnce() -> String) {
        self.unknown += 1;
        self.keep_problem(problem);
    }

    /// Says what went wrong, as far as it was kept.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether everything that was read was acknowledged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.unknown == 0 && self.rows == self.rows_acknowledged
    }

    /// Returns what happened since this was called last.
    pub fn take_interval(&mut self, now: Instant) -> Interval {
        let length = now.since(self.interval_started).max(Duration::from_millis(1));
        let interval = Interval {
            elapsed_s: now.since(self.started).as_secs_f64(),
            per_second: self.interval.len() as f64 / length.as_secs_f64(),
            latency: latency(&self.interval),
        };
        self.interval.reset();
        self.interval_started = now;
        interval
    }

    /// Returns the latencies of all writes.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        latency(&self.total)
    }

    /// Returns how long it took from the start to the last acknowledgement.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.since(self.started)
    }

    /// Returns how many writes were acknowledged a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.elapsed().max(Duration::from_millis(1)).as_secs_f64()
    }

    /// Writes the summary for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let latency = self.latency().map_or_else(
            || "-".to_owned(),
            |latency| {
                format!(
                    "p50 {}   p99 {}   p99.9 {}   max {}",
                    micros(latency.p50_ns),
                    micros(latency.p99_ns),
                    micros(latency.p999_ns),
                    micros(latency.max_ns)
                )
            },
        );
        let mut out = format!(
            "rows          {} ({} acknowledged)\n\
             writes        {}\n\
             acknowledged  {}\n\
             errors        {}\n\
             unknown       {}\n\
             overload      {} attempts refused and tried again\n\
             writes/s      {} over {:.2} s\n\
             latency       {latency}\n",
            grouped(self.rows),
            grouped(self.rows_acknowledged),
            grouped(self.writes),
            grouped(self.acknowledged),
            grouped(self.errors),
            grouped(self.unknown),
            grouped(self.overloads),
            grouped(rounded(self.per_second())),
            self.elapsed().as_secs_f64(),
        );
        if self.repaired > 0 {
            out.push_str(&format!("put in order  {} values after a retry\n", grouped(self.repaired)));
        }
        out
    }

    /// Writes the summary for programs.
    #[must_use]
    pub fn summary_json(&self) -> Value {
        let latency = self.latency();
        let of = |number: fn(&Latency) -> u64| latency.as_ref().map(|latency| number(latency) as f64 / 1e3);
        json!({
            "kind": "summary",
            "rows": self.rows,
            "rows_acknowledged": self.rows_acknowledged,
            "writes": self.writes,
            "acknowledged": self.acknowledged,
            "errors": self.errors,
            "unknown": self.unknown,
            "overloads": self.overloads,
            "repaired": self.repaired,
            "seconds": self.elapsed().as_secs_f64(),
            "writes_per_second": self.per_second(),
            "p50_us": of(|latency| latency.p50_ns),
            "p99_us": of(|latency| latency.p99_ns),
            "p999_us": of(|latency| latency.p999_ns),
            "max_us": of(|latency| latency.max_ns),
            "problems": self.problems,
        })
    }

    fn keep_problem(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem());
        }
    }
}

impl Interval {
    /// Writes one line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let rate = grouped(rounded(self.per_second));
        let head = format!("{:>4.0} s  {rate:>9} writes/s", self.elapsed_s);
        match &self.latency {
            None => format!("{head}   nothing acknowledged"),
            Some(latency) => format!(
                "{head}   p50 {:>10}   p99 {:>10}   max {:>10}",
                micros(latency.p50_ns),
                micros(latency.p99_ns),
                micros(latency.max_ns)
            ),
        }
    }

    /// Writes one line for programs.
    #[must_use]
    pub fn json(&self, tally: &Tally, outstanding: usize) -> Value {
        let of = |number: fn(&Latency) -> u64| self.latency.as_ref().map(|latency| number(latency) as f64 / 1e3);
        json!({
            "kind": "second",
            "seconds": self.elapsed_s,
            "writes_per_second": self.per_second,
            "p50_us": of(|latency| latency.p50_ns),
            "p99_us": of(|latency| latency.p99_ns),
            "max_us": of(|latency| latency.max_ns),
            "rows": tally.rows,
            "acknowledged": tally.acknowledged,
            "errors": tally.errors,
            "unknown": tally.unknown,
            "outstanding": outstanding,
        })
    }
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    (!histogram.is_empty()).then(|| Latency {
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
        p999_ns: histogram.value_at_quantile(0.999),
        max_ns: histogram.max(),
    })
}

/// Writes a time in microseconds, with a decimal as long as it says something.
#[must_use]
pub fn micros(ns: u64) -> String {
    if ns < 100_000 { format!("{:.1} µs", ns as f64 / 1e3) } else { format!("{} µs", grouped(ns / 1_000)) }
}

/// Writes a number with a comma between thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Rounds a rate, which is never negative, to a whole number.
#[must_use]
pub fn rounded(rate: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and below 2^63")]
    let whole = rate.round() as u64;
    whole
}

/// How many problems are kept as text.
pub const PROBLEMS_MAX: usize = 5;
const LATENCY_MIN_NS: u64 = 100;
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_start_anew_and_the_total_goes_on() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let mut tally = Tally::new(at(0));
        tally.record_acknowledged(at(0), at(2));
        tally.record_acknowledged(at(1), at(2));
        let first = tally.take_interval(at(500));
        assert_eq!((first.per_second, rounded(first.elapsed_s * 10.0)), (4.0, 5));
        let max = first.latency.expect("two writes").max_ns;
        assert!((2_000_000..2_002_000).contains(&max), "{max}");
        let second = tally.take_interval(at(1_500));
        assert_eq!(second.latency, None);
        assert!(second.line().ends_with("0 writes/s   nothing acknowledged"), "{}", second.line());
        tally.record_acknowledged(at(1_500), at(2_000));
        assert_eq!((tally.acknowledged, tally.elapsed()), (3, Duration::from_secs(2)));
        assert!(tally.latency().expect("three writes").max_ns >= 500_000_000);
    }

    #[test]
    fn problems_are_counted_and_the_first_ones_kept() {
        let mut tally = Tally::new(Instant(0));
        for number in 0..20 {
            tally.record_error(|| format!("row {number}"));
        }
        tally.record_unknown(|| unreachable!("it is not kept"));
        assert_eq!((tally.errors, tally.unknown, tally.problems().len()), (20, 1, PROBLEMS_MAX));
        assert!(!tally.is_clean());
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([micros(82_100), micros(1_204_567)], ["82.1 µs", "1,204 µs"]);
    }
}
