//! Cursors of scans, as clients see them.

use quorate_engine::ids::Slot;
use quorate_engine::slots::SLOT_COUNT;

/// Where a scan over all keys goes on: a slot, and a position in the order of hashes within it.
///
/// A client sees one number, the position shifted left by the 14 bits of the slot. 0 begins a scan and ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resp) struct ScanCursor {
    pub(in crate::resp) slot: Slot,
    pub(in crate::resp) position: i64,
}

impl ScanCursor {
    /// Reads what a client sent; any number is some place.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let number = read_number(text)?;
        let slot = u16::try_from(number & SLOT_MASK).expect("masked to 14 bits");
        let position = i64::try_from(number >> SLOT_BITS).expect("64 bits less 14 fit 63");
        Some(Self { slot: Slot(slot), position })
    }

    /// Returns the number a client gets, `None` if slot or position are beyond what fits it.
    pub(in crate::resp) fn number(self) -> Option<i64> {
        let is_valid = self.slot.0 < SLOT_COUNT && (0..POSITION_END).contains(&self.position);
        is_valid.then_some(self.position << SLOT_BITS | i64::from(self.slot.0))
    }
}

/// Reads a cursor: decimal digits of at most 64 bits.
pub(super) fn read_number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

const SLOT_BITS: u32 = SLOT_COUNT.trailing_zeros();
const SLOT_MASK: u64 = SLOT_COUNT as u64 - 1;
/// First position that a cursor does not hold without using the sign of 64 bits.
const POSITION_END: i64 = 1 << (i64::BITS - 1 - SLOT_BITS);
const _: () = assert!(SLOT_COUNT.is_power_of_two(), "the slot has to fill its bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_out() {
        for slot in [0, 1, 16_383] {
            for position in [0, 1, (1 << 48) - 1, POSITION_END - 1] {
                let cursor = ScanCursor { slot: Slot(slot), position };
                let number = cursor.number().unwrap();
                assert_eq!(ScanCursor::read(number.to_string().as_bytes()), Some(cursor));
            }
        }
        assert_eq!(ScanCursor { slot: Slot(0), position: 0 }.number(), Some(0));
    }

    #[test]
    fn places_beyond_the_number_have_none() {
        for (slot, position) in [(16_384, 0), (0, -1), (0, POSITION_END), (0, i64::MAX)] {
            assert_eq!(ScanCursor { slot: Slot(slot), position }.number(), None, "{slot} {position}");
        }
    }

    #[test]
    fn only_decimal_digits_are_a_cursor() {
        for text in ["", "-1", "+1", " 1", "1 ", "abc", "18446744073709551616", "1.0"] {
            assert_eq!(ScanCursor::read(text.as_bytes()), None, "{text:?}");
        }
        assert!(ScanCursor::read(b"18446744073709551615").is_some());
        assert_eq!(ScanCursor::read(b"007"), Some(ScanCursor { slot: Slot(7), position: 0 }));
    }
}
