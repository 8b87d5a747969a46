//! When the requests of an open loop fall due: a schedule fixed by start, rate and seed, whatever happens to the run.
//!
//! # Time and units
//! Nanoseconds of the run's clock; `due_ns` is inclusive: a request is due at that time.

use super::Spacing;

/// The schedule of one open loop.
pub(super) struct Pacer {
    start_ns: u64,
    per_second: u64,
    issued: u64,
    due_ns: u64,
    poisson: Option<Poisson>,
}

impl Pacer {
    /// `per_second` is at least 1. With even spacing the first request is due at the start.
    pub(super) fn new(start_ns: u64, per_second: u64, spacing: Spacing) -> Self {
        assert!(per_second > 0, "a rate is at least one request per second");
        let mut pacer = Self { start_ns, per_second, issued: 0, due_ns: start_ns, poisson: None };
        if let Spacing::Poisson { seed } = spacing {
            let mut poisson = Poisson { random: SplitMix(seed), passed_ns: 0.0 };
            pacer.due_ns = start_ns + poisson.next_ns(per_second);
            pacer.poisson = Some(poisson);
        }
        pacer
    }

    /// When the next request is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Goes on to the request after the one that was due.
    pub(super) fn advance(&mut self) {
        self.issued += 1;
        let passed_ns = match &mut self.poisson {
            Some(poisson) => poisson.next_ns(self.per_second),
            None => {
                let passed_ns = u128::from(self.issued) * NS_PER_S / u128::from(self.per_second);
                u64::try_from(passed_ns).expect("a run is shorter than 584 years")
            }
        };
        self.due_ns = self.start_ns + passed_ns;
    }
}

/// Exponential gaps, summed.
struct Poisson {
    random: SplitMix,
    passed_ns: f64,
}

impl Poisson {
    fn next_ns(&mut self, per_second: u64) -> u64 {
        let gap = -(1.0 - self.random.next_unit()).ln();
        self.passed_ns += gap * 1e9 / per_second as f64;
        whole(self.passed_ns)
    }
}

/// SplitMix64: a counter and a bijective mix; enough for gaps.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix(u64);

impl SplitMix {
    /// Uniform in 0 (inclusive) to 1 (exclusive), 53 bits.
    fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        (word >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the fraction of a nanosecond is dropped on purpose")]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds as u64
}

const NS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_spacing_does_not_drift() {
        let mut pacer = Pacer::new(7, 3, Spacing::Even);
        assert_eq!(pacer.due_ns(), 7);
        for _ in 0..3_000_000 {
            pacer.advance();
        }
        assert_eq!(pacer.due_ns(), 7 + 1_000_000_000_000_000);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_the_rate() {
        let mut pacer = Pacer::new(0, 1_000, Spacing::Poisson { seed: 0x5EED });
        let mut short = 0;
        let mut last_ns = pacer.due_ns();
        for _ in 0..100_000 {
            pacer.advance();
            assert!(pacer.due_ns() >= last_ns);
            short += u32::from(pacer.due_ns() - last_ns < 1_000_000);
            last_ns = pacer.due_ns();
        }
        let mean_ns = last_ns as f64 / 100_001.0;
        assert!((mean_ns - 1_000_000.0).abs() < 10_000.0, "mean {mean_ns}");
        // An exponential gap is below its mean with probability 1 - 1/e.
        assert!((62_500..64_000).contains(&short), "{short} gaps below the mean");
    }

    #[test]
    fn same_seed_gives_the_same_schedule() {
        let mut a = Pacer::new(0, 50_000, Spacing::Poisson { seed: 1 });
        let mut b = Pacer::new(0, 50_000, Spacing::Poisson { seed: 1 });
        let mut c = Pacer::new(0, 50_000, Spacing::Poisson { seed: 2 });
        let mut differs = false;
        for _ in 0..1_000 {
            assert_eq!(a.due_ns(), b.due_ns());
            differs |= a.due_ns() != c.due_ns();
            a.advance();
            b.advance();
            c.advance();
        }
        assert!(differs);
    }
}
