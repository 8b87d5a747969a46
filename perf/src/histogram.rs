//! Latency histograms: what is recorded per request, and the percentiles that are shown and kept.
//!
//! A thin layer over HdrHistogram with three significant digits, so that every figure of every system is rounded in the
//! same way. Values are recorded in nanoseconds and read in microseconds.
//!
//! # Bounds
//! 1 ns to 100 s; a longer latency is recorded as 100 s. The memory is fixed when the histogram is made.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Latencies of one run.
#[derive(Clone)]
pub struct Latencies {
    histogram: hdrhistogram::Histogram<u64>,
}

impl Latencies {
    /// Makes an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
            .expect("bounds and digits are constants inside the allowed ranges");
        Self { histogram }
    }

    /// Records one latency in nanoseconds.  Cost: O(1), no allocation.
    pub fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
    }

    /// Adds every latency of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both histograms have the same bounds");
    }

    /// Returns how many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the latency in microseconds below which `quantile` (0 to 1) of the requests lie, 0 if there are none.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        if self.count() == 0 { 0.0 } else { microseconds(self.histogram.value_at_quantile(quantile)) }
    }

    /// Returns the largest latency in microseconds, 0 if there are none.
    #[must_use]
    pub fn max_us(&self) -> f64 {
        if self.count() == 0 { 0.0 } else { microseconds(self.histogram.max()) }
    }

    /// Returns the percentile curve from the median of the smallest to the largest latency, for plots.
    #[must_use]
    pub fn curve(&self) -> Vec<CurvePoint> {
        if self.count() == 0 {
            return Vec::new();
        }
        self.histogram
            .iter_quantiles(TICKS_PER_HALF)
            .map(|step| CurvePoint {
                quantile: step.quantile_iterated_to(),
                latency_us: microseconds(step.value_iterated_to()),
            })
            .collect()
    }

    /// Writes the percentile distribution in the `.hgrm` text form that HdrHistogram's plotters read, in microseconds.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write_hgrm(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        let mut total = 0;
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = microseconds(step.value_iterated_to());
            if quantile < 1.0 {
                writeln!(out, "{value:>12.3} {quantile:>14.12} {total:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
            } else {
                writeln!(out, "{value:>12.3} {quantile:>14.12} {total:>10}")?;
            }
        }
        let mean = self.histogram.mean() / NS_PER_US;
        let deviation = self.histogram.stdev() / NS_PER_US;
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", self.max_us(), self.count())?;
        writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", BUCKETS, SUB_BUCKETS)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count())
            .field("p50_us", &self.quantile_us(0.5))
            .field("max_us", &self.max_us())
            .finish()
    }
}

/// One point of a percentile curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Share of requests, 0 to 1.
    pub quantile: f64,
    /// Largest latency among them in microseconds.
    pub latency_us: f64,
}

/// Reads the points of an `.hgrm` text; lines that are not points (heading, summary) are left out.
#[must_use]
pub fn parse_hgrm(text: &str) -> Vec<CurvePoint> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let latency_us = words.next()?.parse().ok()?;
            let quantile = words.next()?.parse().ok()?;
            Some(CurvePoint { quantile, latency_us })
        })
        .collect()
}

/// Converts nanoseconds to microseconds.
#[must_use]
pub fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NS_PER_US
}

/// Largest latency told apart.
const LATENCY_NS_MAX: u64 = 100_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Points per halving of the distance to 100 %, as HdrHistogram's own tools print.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_US: f64 = 1_000.0;
/// What three digits from 1 ns to 100 s make, quoted in the summary of `.hgrm` files.
const BUCKETS: u32 = 27;
const SUB_BUCKETS: u32 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut latencies = Latencies::new();
        for index in 1..=1000_u64 {
            latencies.record(index * 1_000);
        }
        assert_eq!(latencies.count(), 1000);
        assert!((latencies.quantile_us(0.5) - 500.0).abs() < 1.0);
        assert!((latencies.quantile_us(0.99) - 990.0).abs() < 1.0);
        assert!((latencies.max_us() - 1000.0).abs() < 1.0);
    }

    #[test]
    fn empty_histogram_answers_zero() {
        let latencies = Latencies::new();
        assert_eq!(latencies.quantile_us(0.99), 0.0);
        assert_eq!(latencies.max_us(), 0.0);
        assert!(latencies.curve().is_empty());
    }

    #[test]
    fn latency_above_the_bound_is_recorded_as_the_bound() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        assert_eq!(latencies.count(), 1);
        assert!(latencies.max_us() >= 99_000_000.0);
    }

    #[test]
    fn hgrm_text_reads_back_as_the_same_curve() {
        let mut latencies = Latencies::new();
        for index in 1..=10_000_u64 {
            latencies.record(index * 37);
        }
        let mut text = Vec::new();
        latencies.write_hgrm(&mut text).unwrap();
        let read = parse_hgrm(std::str::from_utf8(&text).unwrap());
        let curve = latencies.curve();
        assert_eq!(read.len(), curve.len());
        for (a, b) in read.iter().zip(&curve) {
            assert!((a.latency_us - b.latency_us).abs() < 0.001);
            assert!((a.quantile - b.quantile).abs() < 1e-9);
        }
    }
}
