//! One measurement of one running system: warm up, run the plan, check, put it into a result line.

use std::time::Duration;

use crate::load::{Arrival, Figures, Plan, Spacing};
use crate::report::{ResultLine, Subject};
use crate::system::Running;

/// How to load a system, as given on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Closed loop: requests in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
    /// Open loop instead: requests per second, latency from the time each was due
    #[arg(long, conflicts_with = "window", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
    /// Spread an open loop as a Poisson process
    #[arg(long, requires = "rate")]
    pub poisson: bool,
    /// When to stop
    #[command(flatten)]
    pub limit: LimitArgs,
}

/// When a measurement ends.
#[derive(Clone, Debug, clap::Args)]
pub struct LimitArgs {
    /// Stop after this many requests
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this many seconds [default: 4, or 120 with --count]
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<Duration>,
}

impl LoadArgs {
    /// Returns the plan; `seed` is for Poisson arrivals.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        let arrival = match self.rate {
            None => Arrival::Window(self.window),
            Some(per_second) => {
                let spacing = if self.poisson { Spacing::Poisson { seed } } else { Spacing::Even };
                Arrival::Rate { per_second, spacing }
            }
        };
        self.limit.plan(arrival)
    }

    /// Returns the requests in flight, none in an open loop.
    #[must_use]
    pub fn window(&self) -> Option<u32> {
        self.rate.is_none().then_some(self.window)
    }
}

impl LimitArgs {
    /// Returns a plan with these limits.
    #[must_use]
    pub fn plan(&self, arrival: Arrival) -> Plan {
        let default = if self.count.is_some() { COUNT_DURATION } else { DURATION };
        let duration = self.seconds.unwrap_or(default);
        Plan { arrival, count_max: self.count.unwrap_or(u64::MAX), duration_ns_max: nanoseconds(duration) }
    }
}

/// A finished measurement.
#[derive(Debug)]
pub struct Measured {
    /// The figures.
    pub figures: Figures,
    /// The line.
    pub line: ResultLine,
}

/// Warms `running` up and measures it.
pub fn measure(running: &mut Running, subject: &Subject, plan: &Plan, note: &str) -> Measured {
    let generator = &mut running.generator;
    // What fails here fails again below, where it is reported.
    drop(generator.run(&warm_up(plan)));
    let figures = generator.run(plan);
    let refusal = generator.first_refusal().map(|text| format!("first error reply: {text}")).unwrap_or_default();
    let line = ResultLine::new(subject, plan, &figures, &[&running.note, note, &refusal]);
    Measured { figures, line }
}

/// The same load for a tenth of the requests, and a short time.
pub(crate) fn warm_up(plan: &Plan) -> Plan {
    Plan {
        arrival: plan.arrival,
        count_max: plan.count_max.div_ceil(10),
        duration_ns_max: plan.duration_ns_max.min(nanoseconds(WARM_UP)),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=3_600.0).contains(&value) { Ok(Duration::from_secs_f64(value)) } else { Err("0.01 to 3600".to_owned()) }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("limited to an hour")
}

/// Length of a run when neither count nor time is given.
const DURATION: Duration = Duration::from_secs(4);
/// Longest run when only a count is given.
const COUNT_DURATION: Duration = Duration::from_secs(120);
const WARM_UP: Duration = Duration::from_millis(500);
