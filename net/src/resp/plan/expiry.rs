//! When keys expire, as clients write it.

use quorate_engine::machine::command::Flags;

use super::number::integer;
use super::{PlanError, Request};

/// How a point in time is written: in which unit, and from when on it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeForm {
    unit_ns: i64,
    /// [`Flags::TTL`] or [`Flags::ABSOLUTE`].
    pub(super) flag: Flags,
}

impl TimeForm {
    /// Seconds from now.
    pub(super) const SECONDS: Self = Self { unit_ns: SECOND_NS, flag: Flags::TTL };
    /// Milliseconds from now.
    pub(super) const MILLISECONDS: Self = Self { unit_ns: MILLISECOND_NS, flag: Flags::TTL };
    /// Seconds since the Unix epoch.
    pub(super) const UNIX_SECONDS: Self = Self { unit_ns: SECOND_NS, flag: Flags::ABSOLUTE };
    /// Milliseconds since the Unix epoch.
    pub(super) const UNIX_MILLISECONDS: Self = Self { unit_ns: MILLISECOND_NS, flag: Flags::ABSOLUTE };

    /// Finds the form that a word of SET and GETEX announces.
    pub(super) fn named(word: &[u8]) -> Option<Self> {
        match word {
            b"EX" => Some(Self::SECONDS),
            b"PX" => Some(Self::MILLISECONDS),
            b"EXAT" => Some(Self::UNIX_SECONDS),
            b"PXAT" => Some(Self::UNIX_MILLISECONDS),
            _ => None,
        }
    }

    /// Returns when a time of this form is over, in nanoseconds since the Unix epoch by this node's clock.
    pub(super) fn end(self, time: i64, request: &Request<'_>) -> i64 {
        match self.flag {
            Flags::TTL => i64::try_from(request.context.wall_now_ns).unwrap_or(i64::MAX).saturating_add(time),
            _ => time,
        }
    }

    /// Reads a time that has to be positive; returns nanoseconds.
    pub(super) fn read_positive(self, text: &[u8], request: &Request<'_>) -> Result<i64, PlanError> {
        let value = integer(text)?;
        if value <= 0 { Err(out_of_range(request)) } else { self.scale(value, request) }
    }

    /// Reads a time that may have passed; returns nanoseconds.
    pub(super) fn read_any(self, text: &[u8], request: &Request<'_>) -> Result<i64, PlanError> {
        let value = integer(text)?;
        if value > 0 {
            return self.scale(value, request);
        }
        // Redis counts in milliseconds and refuses seconds that overflow them, in the past too.
        if self.unit_ns == SECOND_NS && value < i64::MIN / 1000 {
            return Err(out_of_range(request));
        }
        // How long ago it was makes no difference.
        Ok(value.saturating_mul(self.unit_ns))
    }

    /// Turns a positive value into nanoseconds, if the deadline can be told in nanoseconds since the Unix epoch.
    fn scale(self, value: i64, request: &Request<'_>) -> Result<i64, PlanError> {
        let base = match self.flag {
            Flags::TTL => i64::try_from(request.context.wall_now_ns).unwrap_or(i64::MAX),
            _ => 0,
        };
        let time = value.checked_mul(self.unit_ns).filter(|&time| time <= i64::MAX - base);
        time.ok_or_else(|| out_of_range(request))
    }
}

fn out_of_range(request: &Request<'_>) -> PlanError {
    PlanError::ExpireTime { command: request.spec.name }
}

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
