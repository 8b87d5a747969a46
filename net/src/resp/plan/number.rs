//! Numbers as clients write them.

use super::PlanError;

/// Reads a 64-bit number as Redis does: decimal, no spaces, no leading zeros or plus sign.
pub(super) fn integer(text: &[u8]) -> Result<i64, PlanError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < INTEGER_DIGITS_MAX && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = std::str::from_utf8(text).ok().filter(|_| is_canonical).ok_or(PlanError::NotInteger)?;
    text.parse().map_err(|_| PlanError::NotInteger)
}

/// Checks the text of an increment, so that an obviously wrong one does not go through the log. `not_finite` is what an
/// infinite one is answered with.
///
/// The engine reads the number again; what it calls a number is a subset of this.
pub(super) fn check_float(text: &[u8], not_finite: PlanError) -> Result<(), PlanError> {
    let number: f64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(PlanError::NotFloat)?;
    if number.is_nan() {
        return Err(PlanError::NotFloat);
    }
    if number.is_infinite() { Err(not_finite) } else { Ok(()) }
}

/// Digits of the largest 64-bit number.
const INTEGER_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_canonical_form_only() {
        for number in [0, -1, 7, 1_000, i64::MAX, i64::MIN] {
            assert_eq!(integer(number.to_string().as_bytes()), Ok(number));
        }
        for text in ["", "-", "-0", "+1", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808", "é"] {
            assert_eq!(integer(text.as_bytes()), Err(PlanError::NotInteger), "{text:?}");
        }
    }

    #[test]
    fn increments_are_finite_decimals() {
        let check = |text: &str| check_float(text.as_bytes(), PlanError::NotFinite);
        for text in ["0.1", "-3", "3.0e3", "5.", ".5"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in ["", " 1", "1 ", "nan", "abc", "1,5"] {
            assert_eq!(check(text), Err(PlanError::NotFloat), "{text:?}");
        }
        for text in ["inf", "-Infinity", "1e999"] {
            assert_eq!(check(text), Err(PlanError::NotFinite), "{text}");
        }
    }
}
