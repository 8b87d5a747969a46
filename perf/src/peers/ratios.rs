//! Ratios between systems measured in the same rounds: what remains true on another machine.
//!
//! A ratio is the median of the ratios of the rounds, each between two measurements taken next to each other, with the
//! smallest and the largest. For latencies less is better, for requests per second more. Redis with `WAIT` is measured in
//! two ways and compared by the faster, figure by figure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::system::System;

/// The figures of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Median latency in microseconds.
    pub p50: f64,
    /// 99th percentile in microseconds.
    pub p99: f64,
    /// Requests per second.
    pub per_second: f64,
}

/// The figures of all rounds of one system.
#[derive(Clone, Debug)]
pub struct Series {
    /// The system.
    pub system: System,
    /// One for each round.
    pub rounds: Vec<Sample>,
}

/// One figure of one system divided by the same figure of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the rounds.
    pub median: f64,
    /// Smallest of the rounds.
    pub min: f64,
    /// Largest of the rounds.
    pub max: f64,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

/// All figures of one system divided by those of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratios {
    /// Of the median latencies: less is better.
    pub p50: Ratio,
    /// Of the 99th percentiles: less is better.
    pub p99: Ratio,
    /// Of the requests per second: more is better.
    pub per_second: Ratio,
}

/// All ratios of a contest.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Interleaved rounds.
    pub rounds: u32,
    /// System, then what it is divided by: the floor, and for quorate each peer; `redis` is the faster of both ways.
    pub ratios: BTreeMap<String, BTreeMap<String, Ratios>>,
    /// Whether the floor's p50 lies below that of one unreplicated Redis SET; otherwise the floor is slow.
    pub floor_below_redis_set: Option<bool>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
}

impl Comparison {
    /// Computes the ratios of every system to the floor, and of quorate to every peer.
    #[must_use]
    pub fn new(series: Vec<Series>, rounds: u32, skipped: Vec<String>) -> Self {
        let find = |system| series.iter().find(|series| series.system == system);
        let redis = faster_redis(&series);
        let mut ratios = BTreeMap::new();
        for subject in &series {
            let is_quorate = subject.system.is_quorate();
            let mut row = BTreeMap::new();
            for reference in &series {
                let is_peer = is_quorate && !reference.system.is_quorate();
                if subject.system != reference.system && (reference.system == System::Floor || is_peer) {
                    row.insert(reference.system.label(), Ratios::new(&subject.rounds, &reference.rounds));
                }
            }
            if let Some(redis) = redis.as_ref().filter(|_| is_quorate) {
                row.insert("redis".to_owned(), Ratios::new(&subject.rounds, redis));
            }
            if !row.is_empty() {
                ratios.insert(subject.system.label(), row);
            }
        }
        let p50 = |series: &Series| median(series.rounds.iter().map(|sample| sample.p50));
        let floor_below_redis_set =
            find(System::Floor).zip(find(System::RedisSet)).map(|(floor, redis)| p50(floor) < p50(redis));
        Self { rounds, ratios, floor_below_redis_set, skipped }
    }
}

impl Ratios {
    /// Divides round by round; both ran in the same rounds.
    pub(crate) fn new(subject: &[Sample], reference: &[Sample]) -> Self {
        let ratio = |figure: fn(&Sample) -> f64| {
            let of_rounds = || subject.iter().zip(reference).map(|(a, b)| figure(a) / figure(b));
            let (min, max) = least_and_most(of_rounds());
            Ratio { median: round(median(of_rounds())), min: round(min), max: round(max) }
        };
        Self { p50: ratio(|s| s.p50), p99: ratio(|s| s.p99), per_second: ratio(|s| s.per_second) }
    }
}

/// Redis as fast as either of its ways was in each round.
fn faster_redis(series: &[Series]) -> Option<Vec<Sample>> {
    let ways: Vec<&Series> =
        series.iter().filter(|series| matches!(series.system, System::RedisWait | System::RedisWaitWindow)).collect();
    let faster = |a: Sample, b: &Sample| Sample {
        p50: a.p50.min(b.p50),
        p99: a.p99.min(b.p99),
        per_second: a.per_second.max(b.per_second),
    };
    let (first, rest) = ways.split_first()?;
    let mut best = first.rounds.clone();
    for way in rest {
        best = best.into_iter().zip(&way.rounds).map(|(a, b)| faster(a, b)).collect();
    }
    Some(best)
}

/// Returns the median; the mean of the two in the middle of an even number, 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Returns the smallest and the largest value.
pub(crate) fn least_and_most(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ratios, median (min-max) of rounds: {}; latencies: less is better, per second: more", self.rounds)?;
        if self.ratios.is_empty() {
            write!(f, "\n  none: a ratio needs the floor or quorate, and a second system")?;
        }
        for (subject, row) in &self.ratios {
            for (reference, ratios) in row {
                let pair = format!("{subject} / {reference}");
                let [p50, p99, rate] = [ratios.p50, ratios.p99, ratios.per_second].map(|ratio| ratio.to_string());
                write!(f, "\n  {pair:<34} p50 {p50:<21} p99 {p99:<21} per second {rate}")?;
            }
        }
        if self.floor_below_redis_set == Some(false) {
            let why = "on a busy machine processes that sleep look fast and spinning ones slow";
            write!(f, "\n  the floor is not below one unreplicated Redis SET, so this run is no yardstick: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(system: System, rounds: &[(f64, f64, f64)]) -> Series {
        let rounds = rounds.iter().map(|&(p50, p99, per_second)| Sample { p50, p99, per_second }).collect();
        Series { system, rounds }
    }

    #[test]
    fn ratio_is_the_median_of_the_rounds_and_not_of_the_figures() {
        // The machine is twice as slow in the second round, for both.
        let comparison = Comparison::new(
            vec![
                series(System::Floor, &[(10.0, 20.0, 100.0), (20.0, 40.0, 50.0), (10.0, 25.0, 100.0)]),
                series(System::Etcd, &[(30.0, 40.0, 50.0), (60.0, 80.0, 25.0), (40.0, 50.0, 40.0)]),
            ],
            3,
            Vec::new(),
        );
        let ratios = comparison.ratios["etcd"]["floor"];
        assert_eq!(ratios.p50, Ratio { median: 3.0, min: 3.0, max: 4.0 });
        assert_eq!(ratios.p99, Ratio { median: 2.0, min: 2.0, max: 2.0 });
        assert_eq!(ratios.per_second, Ratio { median: 0.5, min: 0.4, max: 0.5 });
        assert!(!comparison.ratios.contains_key("floor"));
        assert_eq!(comparison.floor_below_redis_set, None);
    }

    #[test]
    fn redis_is_the_faster_of_its_two_ways_figure_by_figure() {
        let comparison = Comparison::new(
            vec![
                series(System::QuorateResp, &[(20.0, 30.0, 400.0)]),
                series(System::RedisWait, &[(100.0, 120.0, 100.0)]),
                series(System::RedisWaitWindow, &[(80.0, 150.0, 200.0)]),
            ],
            1,
            Vec::new(),
        );
        let row = &comparison.ratios["quorate/resp"];
        let redis = row["redis"];
        assert_eq!((redis.p50.median, redis.p99.median, redis.per_second.median), (0.25, 0.25, 2.0));
        assert_eq!(row["redis-wait"].per_second.median, 4.0);
        assert_eq!(row["redis-wait-window"].p50.median, 0.25);
        assert!(!row.contains_key("quorate/resp"));
        assert!(!row.contains_key("floor"));
    }

    #[test]
    fn slow_floor_is_said() {
        let rows = |floor| {
            let floor = series(System::Floor, &[(floor, 50.0, 1.0)]);
            Comparison::new(vec![floor, series(System::RedisSet, &[(30.0, 50.0, 1.0)])], 1, Vec::new())
        };
        assert_eq!(rows(25.0).floor_below_redis_set, Some(true));
        assert_eq!(rows(35.0).floor_below_redis_set, Some(false));
        assert!(rows(35.0).to_string().contains("no yardstick"));
        assert!(!rows(25.0).to_string().contains("no yardstick"));
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
