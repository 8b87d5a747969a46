//! Sizes and durations as people write them: a whole number and a unit.
//!
//! `64 KiB` and `64KiB` are the same; a number without a unit is bytes for a size and refused for a duration, because
//! nobody can tell seconds from milliseconds by looking at it. KiB counts in 1024, kB in 1000. There are no fractions:
//! what is printed is exactly what is read back.

use std::time::Duration;

/// Returns the number of bytes that `text` means, or `None` if it is not a size that 64 bits hold.
///
/// ```
/// assert_eq!(quorate::config::units::parse_size("64 KiB"), Some(65_536));
/// assert_eq!(quorate::config::units::parse_size("2MB"), Some(2_000_000));
/// assert_eq!(quorate::config::units::parse_size("64 K"), None);
/// ```
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" => 1,
        _ => SIZES.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor)
}

/// Returns the duration that `text` means, or `None` if it has no unit or does not fit.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(quorate::config::units::parse_span("100 ms"), Some(Duration::from_millis(100)));
/// assert_eq!(quorate::config::units::parse_span("100"), None);
/// ```
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = SPANS.iter().chain(SPAN_ALIASES).find(|(name, _)| *name == unit)?.1;
    Some(Duration::from_nanos(number.checked_mul(factor)?))
}

/// Writes a size with the largest unit that divides it.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let binary = SIZES.iter().filter(|(name, _)| name.contains('i') || *name == "B");
    match binary.rev().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{} {name}", bytes / factor),
        None => format!("{bytes} B"),
    }
}

/// Writes a duration with the largest unit that divides it. What is below a nanosecond does not exist.
#[must_use]
pub fn format_span(span: Duration) -> String {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    match SPANS.iter().rev().find(|(_, factor)| nanos >= *factor && nanos.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{} {name}", nanos / factor),
        None => format!("{nanos} ns"),
    }
}

/// Splits `64 KiB` into 64 and `KiB`. At most one space stands between them.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    Some((number.parse().ok()?, unit))
}

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

const SPANS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The micro sign and the Greek letter look the same and are two characters.
const SPAN_ALIASES: &[(&str, u64)] = &[("\u{b5}s", 1_000), ("\u{3bc}s", 1_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_space() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64 KiB", 65_536),
            ("64KiB", 65_536),
            ("4 GiB", 4 << 30),
            ("1 kB", 1_000),
            ("16 TiB", 16 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            " ",
            "KiB",
            "64 K",
            "64 k",
            "-1",
            "1.5 GiB",
            "1  KiB",
            "1 KiB ",
            "18446744073709551616",
            "99999999 TiB",
        ] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, nanos) in [
            ("100 ms", 100_000_000),
            ("5 s", 5_000_000_000),
            ("7us", 7_000),
            ("7 µs", 7_000),
            ("2 min", 120_000_000_000),
        ] {
            assert_eq!(parse_span(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "100", "ms", "1 d", "99999999999999 h", "1e3 s"] {
            assert_eq!(parse_span(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_the_same() {
        for bytes in [0, 1, 1_000, 1_024, 65_536, 65_537, 4 << 30, u64::MAX] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes), "{}", format_size(bytes));
        }
        for nanos in [0, 1, 1_000, 1_500, 100_000_000, 60_000_000_000, u64::MAX] {
            let span = Duration::from_nanos(nanos);
            assert_eq!(parse_span(&format_span(span)), Some(span), "{}", format_span(span));
        }
    }
}
