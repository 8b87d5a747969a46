//! What the figures were measured on: the machine, the build, the command, and how quiet it was.
//!
//! Two measures of quiet are taken. The hiccup phase runs the generator's loop without any I/O and records the gaps
//! between turns: what shows there was not caused by the system measured. Steal time is what the hypervisor gave to
//! others while this machine wanted to run, between the start and the end of the command.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::clock::Clock;
use crate::histogram::Latencies;

/// What is printed and kept with every result.
#[derive(Clone, Debug, Serialize)]
pub struct Fingerprint {
    /// CPU model.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// Kernel release.
    pub kernel: String,
    /// Load averages of 1, 5 and 15 minutes at the start.
    pub load_average: String,
    /// Commit the harness was built from, with a mark if files were changed.
    pub commit: String,
    /// Profile, optimisation and flags of the harness.
    pub build: String,
    /// Seed of arrivals.
    pub seed: u64,
    /// The command line.
    pub command: String,
    /// Gaps of a loop without I/O.
    pub hiccup: Hiccup,
    /// Share of CPU time taken by the hypervisor from start to end, per cent; none until the end, or if unknown.
    pub steal_percent: Option<f64>,
    #[serde(skip)]
    times_at_start: Option<CpuTimes>,
}

/// Gaps between two turns of a loop that only reads the clock and yields.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Hiccup {
    /// Median in microseconds.
    pub p50_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile in microseconds.
    pub p999_us: f64,
    /// Longest gap in microseconds.
    pub max_us: f64,
}

impl Fingerprint {
    /// Looks at the machine; takes `HICCUP_NS` for the hiccup phase.
    pub fn take(seed: u64, clock: &impl Clock) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let average = read("/proc/loadavg");
        Self {
            cpu: cpu_model(&cpuinfo).unwrap_or(UNKNOWN).to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: average.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            commit: env!("QUORATE_PERF_COMMIT").to_owned(),
            build: env!("QUORATE_PERF_BUILD").to_owned(),
            seed,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            hiccup: hiccup(clock),
            steal_percent: None,
            times_at_start: CpuTimes::parse(&read("/proc/stat")),
        }
    }

    /// Whether others used a good part of the CPUs during the last minute.
    fn is_busy(&self) -> bool {
        let last_minute = self.load_average.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        last_minute.is_some_and(|load| load > BUSY_LOAD * self.cpus as f64)
    }

    /// Notes the steal time since the start.
    pub fn finish(&mut self) {
        let now = fs::read_to_string("/proc/stat").ok().and_then(|stat| CpuTimes::parse(&stat));
        if let (Some(start), Some(now)) = (self.times_at_start, now) {
            self.steal_percent = Some(now.steal_percent_since(start));
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine  {} x {}, Linux {}, load {}", self.cpus, self.cpu, self.kernel, self.load_average)?;
        writeln!(f, "build    {} ({}), seed {}", self.commit, self.build, self.seed)?;
        writeln!(f, "command  {}", self.command)?;
        let Hiccup { p50_us, p99_us, p999_us, max_us } = self.hiccup;
        write!(f, "hiccup   p50 {p50_us:.2} p99 {p99_us:.2} p99.9 {p999_us:.2} max {max_us:.0} us, loop without I/O")?;
        if self.is_busy() {
            write!(
                f,
                "\nbusy     others use this machine: processes that yield wait for them, and figures mean little"
            )?;
        }
        Ok(())
    }
}

/// Runs the generator's loop without I/O and records the gaps between its turns.
fn hiccup(clock: &impl Clock) -> Hiccup {
    let mut gaps = Latencies::new();
    let start_ns = clock.now_ns();
    let mut last_ns = start_ns;
    while last_ns - start_ns < HICCUP_NS {
        clock.idle();
        let now_ns = clock.now_ns();
        gaps.record(now_ns - last_ns);
        last_ns = now_ns;
    }
    Hiccup {
        p50_us: gaps.quantile_us(0.5),
        p99_us: gaps.quantile_us(0.99),
        p999_us: gaps.quantile_us(0.999),
        max_us: gaps.max_us(),
    }
}

/// The first model name; some kernels of other CPUs print none.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name") || line.starts_with("CPU part"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Ticks of all CPUs together, from the first line of /proc/stat.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTimes {
    total: u64,
    steal: u64,
}

impl CpuTimes {
    /// Source: proc_stat(5): user nice system idle iowait irq softirq steal guest guest_nice; the last two are
    /// contained in the first two.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        Some(Self { total: ticks.iter().take(8).sum(), steal: *ticks.get(7)? })
    }

    fn steal_percent_since(self, start: Self) -> f64 {
        let total = self.total.saturating_sub(start.total);
        let steal = self.steal.saturating_sub(start.steal);
        if total == 0 { 0.0 } else { 100.0 * steal as f64 / total as f64 }
    }
}

/// Length of the hiccup phase.
const HICCUP_NS: u64 = 500_000_000;
/// Load average per CPU above which the machine counts as busy.
const BUSY_LOAD: f64 = 0.75;
const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_share_of_all_ticks() {
        let before = CpuTimes::parse("cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, CpuTimes { total: 1000, steal: 35 });
        let after = CpuTimes::parse("cpu  150 0 80 900 10 0 5 55 7 0\n").unwrap();
        assert_eq!(after.steal_percent_since(before), 10.0);
        assert_eq!(before.steal_percent_since(before), 0.0);
    }

    #[test]
    fn cpu_model_is_the_text_after_the_colon() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t: fpu\n";
        assert_eq!(cpu_model(text), Some("Some CPU @ 2.00GHz"));
        assert_eq!(cpu_model(""), None);
    }
}
