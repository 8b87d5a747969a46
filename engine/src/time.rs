//! Points in time as plain numbers. This crate has no clock: every `now` is an argument.
//!
//! # Time and units
//! [`Instant`] counts nanoseconds of the host's monotonic clock. The daemon passes `CLOCK_BOOTTIME`, read after the
//! message or request it belongs to was received. [`LogTime`] counts nanoseconds since the group was born: the
//! leader stamps each entry with the last inherited stamp plus its own monotonic time since it took over, so logged
//! time stands still during a takeover and never jumps.

use core::fmt;
use core::time::Duration;

/// A point on the host's monotonic clock, in nanoseconds. Comparable only within one host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Returns this point plus `duration`, or the end of time.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Returns how long after `earlier` this point lies; zero if it lies before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// A point on a group's own clock, in nanoseconds since the group was born. The same on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(pub u64);

impl fmt::Debug for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log+{:?}", Duration::from_nanos(self.0))
    }
}

/// Returns `duration` in nanoseconds, cut to what 64 bits hold (584 years).
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
