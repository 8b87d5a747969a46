//! Comparison: every system in turn, several rounds, medians, and ratios to the floor and to each peer.
//!
//! Rounds are interleaved (A B C, A B C, ..): what disturbs the machine for a while disturbs all systems. Each system is
//! started for its turn and ended after it, because idle systems are not idle: some spin. A system that is not installed,
//! or does not start, is named with the reason and left out.

pub(crate) mod etcd;
mod h2;
pub(crate) mod nats;
pub mod ratios;
pub(crate) mod redis;

use anyhow::{Result, bail};

use crate::histogram::Latencies;
use crate::load::Plan;
use crate::measure::{Measured, measure};
use crate::report::{Report, ResultLine};
use crate::system::{Setup, System};
use ratios::{Comparison, Sample, Series};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The systems, in the order of a round.
    pub systems: Vec<System>,
    /// Rounds, at least 1.
    pub rounds: u32,
    /// What each system is asked to do.
    pub setup: Setup,
    /// The load.
    pub plan: Plan,
}

/// Runs all rounds and reports lines, medians and ratios.
///
/// # Errors
/// The floor cannot be measured, or the output is closed.
pub fn run(contest: &Contest, report: &mut Report) -> Result<()> {
    let mut entrants: Vec<Entrant> = Vec::new();
    let mut skipped = Vec::new();
    for system in &contest.systems {
        match system.missing(&contest.setup) {
            Some(reason) => skipped.push(Skipped { system: *system, reason }),
            None => entrants.push(Entrant { system: *system, rounds: Vec::new(), latencies: Latencies::new() }),
        }
    }
    for round in 1..=contest.rounds {
        let mut index = 0;
        while let Some(entrant) = entrants.get_mut(index) {
            match entrant.run_round(contest, round, report) {
                Ok(()) => index += 1,
                Err(error) if entrant.system == System::Floor => return Err(error),
                Err(error) => {
                    let system = entrants.remove(index).system;
                    skipped.push(Skipped { system, reason: format!("{error:#}") });
                }
            }
        }
    }
    if entrants.is_empty() {
        bail!("no system to measure: {}", skipped.iter().map(Skipped::to_string).collect::<Vec<_>>().join("; "));
    }
    for entrant in &entrants {
        let line = entrant.summary();
        report.show(&line)?;
        report.keep(&line, &entrant.latencies, "");
    }
    for skip in &skipped {
        report.remark(&format!("skipped  {skip}"))?;
    }
    let series = entrants.iter().map(Entrant::series).collect();
    let names = skipped.iter().map(Skipped::to_string).collect();
    let comparison = Comparison::new(series, contest.rounds, names);
    report.show_object(&comparison, &comparison.to_string())
}

/// A system that takes part.
struct Entrant {
    system: System,
    rounds: Vec<ResultLine>,
    /// Of all rounds together.
    latencies: Latencies,
}

impl Entrant {
    fn run_round(&mut self, contest: &Contest, round: u32, report: &mut Report) -> Result<()> {
        let mut running = self.system.start(&contest.setup)?;
        let subject = self.system.subject(&contest.setup);
        let note = format!("round {round} of {}", contest.rounds);
        let Measured { figures, line } = measure(&mut running, &subject, &contest.plan, &note);
        report.record(&line, &figures, &format!("-round{round}"))?;
        self.latencies.merge(&figures.latencies);
        self.rounds.push(line);
        Ok(())
    }

    /// The line of all rounds: the median of each figure; counts are sums.
    fn summary(&self) -> ResultLine {
        let median = |figure: fn(&ResultLine) -> f64| ratios::median(self.rounds.iter().map(figure));
        let range = |figure: fn(&ResultLine) -> f64| {
            let (least, most) = ratios::least_and_most(self.rounds.iter().map(figure));
            format!("{least:.1}-{most:.1}")
        };
        let first = self.rounds.first().expect("an entrant that stays in has run a round");
        ResultLine {
            count: self.rounds.iter().map(|line| line.count).sum(),
            errors: self.rounds.iter().map(|line| line.errors).sum(),
            per_second: median(|line| line.per_second),
            p50_us: median(|line| line.p50_us),
            p90_us: median(|line| line.p90_us),
            p99_us: median(|line| line.p99_us),
            p999_us: median(|line| line.p999_us),
            p9999_us: median(|line| line.p9999_us),
            max_us: median(|line| line.max_us),
            valid: self.rounds.iter().all(|line| line.valid),
            note: format!(
                "median of {} rounds; p50 {}, p99 {}, per second {}",
                self.rounds.len(),
                range(|line| line.p50_us),
                range(|line| line.p99_us),
                range(|line| line.per_second)
            ),
            ..first.clone()
        }
    }

    fn series(&self) -> Series {
        let sample = |line: &ResultLine| Sample { p50: line.p50_us, p99: line.p99_us, per_second: line.per_second };
        Series { system: self.system, rounds: self.rounds.iter().map(sample).collect() }
    }
}

/// A system that does not take part.
struct Skipped {
    system: System,
    reason: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.system.label(), self.reason)
    }
}
