//! The two axes of a percentile chart: nines across, logarithm of microseconds up.

/// Maps quantiles to a horizontal position by the number of nines: 0, 90 %, 99 % and 99.9 % are equally far apart.
pub(super) struct Nines {
    left: f64,
    right: f64,
    nines: f64,
}

impl Nines {
    /// `quantile_max` is below 1; the axis ends at the next whole nine.
    pub(super) fn new(left: f64, right: f64, quantile_max: f64) -> Self {
        Self { left, right, nines: nines_of(quantile_max).ceil().clamp(1.0, 9.0) }
    }

    pub(super) fn x(&self, quantile: f64) -> f64 {
        self.left + (self.right - self.left) * nines_of(quantile).min(self.nines) / self.nines
    }

    /// Positions and labels of the ticks.
    pub(super) fn ticks(&self) -> Vec<(f64, &'static str)> {
        NINE_TICKS
            .iter()
            .filter(|(quantile, _)| nines_of(*quantile) <= self.nines + 1e-9)
            .map(|(quantile, label)| (self.x(*quantile), *label))
            .collect()
    }
}

fn nines_of(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

const NINE_TICKS: [(f64, &str); 9] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.999_99, "99.999 %"),
    (0.999_999, "99.9999 %"),
    (0.999_999_9, "99.99999 %"),
];

/// Maps latencies to a vertical position by their logarithm.
pub(super) struct Latency {
    top: f64,
    bottom: f64,
    least: f64,
    most: f64,
}

impl Latency {
    /// The axis spans the ticks around both values, which are positive.
    pub(super) fn new(top: f64, bottom: f64, least_us: f64, most_us: f64) -> Self {
        let below = steps().take_while(|step| *step <= least_us).last().unwrap_or(STEP_FIRST);
        let above = steps().find(|step| *step >= most_us && *step > below).unwrap_or(most_us);
        Self { top, bottom, least: below, most: above }
    }

    pub(super) fn y(&self, latency_us: f64) -> f64 {
        let share = (latency_us / self.least).log10() / (self.most / self.least).log10();
        self.bottom - (self.bottom - self.top) * share.clamp(0.0, 1.0)
    }

    /// Positions and labels of the ticks, and whether each starts a decade.
    pub(super) fn ticks(&self) -> Vec<(f64, String, bool)> {
        steps()
            .skip_while(|step| *step < self.least * 0.999)
            .take_while(|step| *step <= self.most * 1.001)
            .map(|step| (self.y(step), duration(step), (step.log10() - step.log10().round()).abs() < 1e-9))
            .collect()
    }
}

/// 0.01, 0.02, 0.05, 0.1, ..
fn steps() -> impl Iterator<Item = f64> {
    (0..11).flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * STEP_FIRST * 10_f64.powi(decade)))
}

/// Writes a latency with the unit in which a person thinks of it.
pub(super) fn duration(latency_us: f64) -> String {
    let (value, unit) = if latency_us >= 999_999.0 {
        (latency_us / 1e6, "s")
    } else if latency_us >= 999.0 {
        (latency_us / 1e3, "ms")
    } else if latency_us >= 0.999 {
        (latency_us, "µs")
    } else {
        (latency_us * 1e3, "ns")
    };
    let decimals = if value >= 9.95 || (value - value.round()).abs() < 0.05 { 0 } else { 1 };
    format!("{value:.decimals$} {unit}")
}

/// The smallest step of the vertical axis in microseconds.
const STEP_FIRST: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_equally_far_apart() {
        let axis = Nines::new(100.0, 500.0, 0.999_95);
        assert_eq!(axis.ticks().last().map(|tick| tick.1), Some("99.999 %"));
        let x: Vec<f64> = [0.0, 0.9, 0.99, 0.999].map(|quantile| axis.x(quantile)).to_vec();
        assert!((x[0] - 100.0).abs() < 1e-9);
        assert!((x[2] - x[1] - (x[1] - x[0])).abs() < 1e-6);
        assert!((x[3] - x[2] - (x[1] - x[0])).abs() < 1e-6);
    }

    #[test]
    fn latencies_lie_between_their_ticks() {
        let axis = Latency::new(0.0, 100.0, 23.0, 4_100.0);
        let ticks = axis.ticks();
        assert_eq!(ticks.first().map(|tick| tick.1.as_str()), Some("20 µs"));
        assert_eq!(ticks.last().map(|tick| tick.1.as_str()), Some("5 ms"));
        assert!((axis.y(20.0) - 100.0).abs() < 1e-9 && axis.y(5_000.0).abs() < 1e-9);
        assert!(axis.y(23.0) < 100.0 && axis.y(4_100.0) > 0.0);
        assert_eq!(ticks.iter().filter(|tick| tick.2).count(), 2);
    }

    #[test]
    fn one_value_makes_an_axis_too() {
        let axis = Latency::new(0.0, 100.0, 50.0, 50.0);
        assert!(axis.y(50.0).is_finite());
        assert!(axis.ticks().len() >= 2);
    }

    #[test]
    fn durations_have_fitting_units() {
        let texts = [0.05, 1.0, 27.31, 108.4, 1_234.0, 20_000.0, 2e6].map(duration);
        assert_eq!(texts, ["50 ns", "1 µs", "27 µs", "108 µs", "1.2 ms", "20 ms", "2 s"]);
    }
}
