//! Recorded times: numbers in some unit, or dates.
//!
//! # Time and units
//! The result is nanoseconds. A date counts from the Unix epoch; without a zone it is taken as UTC, which is wrong by a
//! constant and leaves every gap right. A number counts from whatever the file counts from.

/// What a column with times holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// A number of nanoseconds.
    Nanoseconds,
    /// A number of microseconds.
    Microseconds,
    /// A number of milliseconds.
    Milliseconds,
    /// A number of seconds.
    Seconds,
    /// A date with a time, or a number whose size tells its unit.
    Unknown,
}

impl TimeUnit {
    /// Returns the unit of this name: `ns`, `us`, `ms`, `s`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ns" => Some(Self::Nanoseconds),
            "us" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" | "sec" => Some(Self::Seconds),
            _ => None,
        }
    }

    /// Tells the unit from the name of a column, like `local_ns`.
    #[must_use]
    pub fn of_column(name: &str) -> Self {
        name.rsplit_once('_').and_then(|(_, unit)| Self::parse(unit)).unwrap_or(Self::Unknown)
    }

    /// Says what a time looks like in this unit.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Nanoseconds => "a number of nanoseconds",
            Self::Microseconds => "a number of microseconds",
            Self::Milliseconds => "a number of milliseconds",
            Self::Seconds => "a number of seconds",
            Self::Unknown => "a number or a date like 2024-08-08 23:54:15",
        }
    }

    /// Reads a time; `None` if it is none or 64 bits do not hold it.
    ///
    /// ```
    /// use quorate::feed::time::TimeUnit;
    /// assert_eq!(TimeUnit::Seconds.read(b"1.892339"), Some(1_892_339_000));
    /// assert_eq!(TimeUnit::Unknown.read(b"1970-01-02T00:00:00Z"), Some(86_400_000_000_000));
    /// ```
    #[must_use]
    pub fn read(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?.trim();
        let nanos = match self {
            Self::Nanoseconds => decimal(text, 0)?,
            Self::Microseconds => decimal(text, 3)?,
            Self::Milliseconds => decimal(text, 6)?,
            Self::Seconds => decimal(text, 9)?,
            Self::Unknown => date(text).or_else(|| decimal(text, exponent_by_size(text)))?,
        };
        i64::try_from(nanos).ok()
    }
}

/// Reads a decimal number times ten to the power of `exponent`, exactly; digits beyond that are cut.
fn decimal(text: &str, exponent: usize) -> Option<i128> {
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > DIGITS_MAX || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(exponent).ok()?);
    let kept = &fraction[..fraction.len().min(exponent)];
    let padded = format!("{kept:0<exponent$}");
    let fraction = if exponent == 0 { 0 } else { padded.parse::<i128>().ok()? };
    Some(sign * (whole.parse::<i128>().ok()? * scale + fraction))
}

/// Returns the power of ten from the number to nanoseconds, taking it for a Unix time between 1973 and 5138 if it can
/// be one, else for seconds.
fn exponent_by_size(text: &str) -> usize {
    let whole = text.trim_start_matches('-').split('.').next().unwrap_or_default();
    match whole.len() {
        18.. => 0,
        15..=17 => 3,
        12..=14 => 6,
        _ => 9,
    }
}

/// Reads `2024-08-08`, `2024-08-08 23:54:15`, `2024-08-08T23:54:15.123Z`, `2024-08-08T23:54:15+02:00`.
fn date(text: &str) -> Option<i128> {
    let (day, rest) = text.split_at_checked(10)?;
    let mut parts = day.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let is_date = parts.next().is_none() && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let seconds_of_day = match rest.strip_prefix(['T', ' ', 't']) {
        None if rest.is_empty() => 0,
        None => return None,
        Some(clock) => clock_nanos(clock)?,
    };
    Some(i128::from(days) * 86_400 * NANOS + seconds_of_day)
}

/// Reads `23:54:15`, with a fraction and a zone if there are any, and returns nanoseconds since midnight UTC.
fn clock_nanos(text: &str) -> Option<i128> {
    let (text, zone_seconds) = match text.strip_suffix(['Z', 'z']) {
        Some(text) => (text, 0),
        None => match text.rfind(['+', '-']) {
            Some(at) => {
                let (hours, minutes) = text[at + 1..].split_once(':')?;
                let seconds = number(hours, 2)? * 3_600 + number(minutes, 2)? * 60;
                (&text[..at], if text[at..].starts_with('-') { -seconds } else { seconds })
            }
            None => (text, 0),
        },
    };
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds = decimal(parts.next().unwrap_or("0"), 9)?;
    // Second 60 is a leap second.
    let is_clock = hours < 24 && minutes < 60 && (0..61 * NANOS).contains(&seconds);
    is_clock.then(|| i128::from(hours * 3_600 + minutes * 60 - zone_seconds) * NANOS + seconds)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// Counts the days from 1970-01-01: whole years with their leap days, whole months, days.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Leap days before the first of January of a year, counted from year 0.
    let leap_days = |year: i64| (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let years = (year - 1970) * 365 + leap_days(year) - leap_days(1970);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

const NANOS: i128 = 1_000_000_000;

/// More digits than 64 bits ever hold.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_in_their_unit() {
        assert_eq!(TimeUnit::Nanoseconds.read(b"1723161254087891268"), Some(1_723_161_254_087_891_268));
        assert_eq!(TimeUnit::Milliseconds.read(b"1723161255343"), Some(1_723_161_255_343_000_000));
        assert_eq!(TimeUnit::Milliseconds.read(b"0.1234567"), Some(123_456));
        assert_eq!(TimeUnit::Seconds.read(b"-1.5"), Some(-1_500_000_000));
        for text in ["", "-", "x", "1e9", "1.2.3", " . ", "99999999999999999999", "9223372036854775808"] {
            assert_eq!(TimeUnit::Nanoseconds.read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TimeUnit::Seconds.read(b"9223372037"), None);
        assert_eq!(TimeUnit::Seconds.read(b"\xff"), None);
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        for text in ["1723161254", "1723161254000", "1723161254000000", "1723161254000000000", "2024-08-08 23:54:14"] {
            assert_eq!(TimeUnit::Unknown.read(text.as_bytes()), Some(1_723_161_254_000_000_000), "{text}");
        }
        assert_eq!(TimeUnit::Unknown.read(b"184"), Some(184_000_000_000));
    }

    #[test]
    fn dates_are_read_with_and_without_a_zone() {
        let day = 86_400_000_000_000_i64;
        for (text, nanos) in [
            ("1970-01-01", 0),
            ("1969-12-31", -day),
            ("2000-03-01", 11_017 * day),
            ("2100-03-01", 47_541 * day),
            ("1970-01-01T01:00", 3_600_000_000_000),
            ("1970-01-01T02:00:00+02:00", 0),
            ("1970-01-01T00:00:00.5-00:30", 1_800_500_000_000),
        ] {
            assert_eq!(TimeUnit::Unknown.read(text.as_bytes()), Some(nanos), "{text}");
        }
        for text in
            ["2023-02-29", "2024-13-01", "2024-00-01", "2024-1-01", "2024-01-01 24:00:00", "2024-01-01x", "2024-01-0é"]
        {
            assert_eq!(TimeUnit::Unknown.read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_column_tells_its_unit() {
        assert_eq!(TimeUnit::of_column("local_ns"), TimeUnit::Nanoseconds);
        assert_eq!(TimeUnit::of_column("event_sec"), TimeUnit::Seconds);
        assert_eq!(TimeUnit::of_column("timestamp"), TimeUnit::Unknown);
    }
}
