//! What a write quorum holds: pure functions over one number for each voter.
//!
//! # Source
//! `nth` of the replication protocol, section 1: the k-th largest value over exactly the given set. In steady state the
//! commit index is `nth(W, acks)` and the read lease ends at `nth(W, echoed send times) + L(1 - ρ)`.

use crate::config::MEMBERS_MAX;

/// Returns the `nth`-largest of `values`; `nth` counts from 1.
///
/// `values`: one per voter, any order, 1 to [`MEMBERS_MAX`] of them.
///
/// Cost: sorts a copy on the stack, no allocation.
///
/// # Panics
/// If there are too many values, or fewer than `nth`, or `nth` is 0.
#[must_use]
pub fn nth_largest(values: impl IntoIterator<Item = u64>, nth: usize) -> u64 {
    // Descending. Each value goes where it belongs at once: for the few there are, that is less than sorting costs.
    let mut sorted = [0; MEMBERS_MAX];
    let mut len = 0;
    for value in values {
        assert!(len < MEMBERS_MAX, "more than {MEMBERS_MAX} voters");
        let mut place = len;
        while place > 0 && sorted[place - 1] < value {
            sorted[place] = sorted[place - 1];
            place -= 1;
        }
        sorted[place] = value;
        len += 1;
    }
    assert!((1..=len).contains(&nth), "value {nth} of {len}");
    sorted[nth - 1]
}

/// Returns how many members must be heard before a takeover, so that any write quorum meets them.
#[must_use]
pub fn seal_quorum(member_count: usize, write_quorum: usize) -> usize {
    member_count - write_quorum + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quorum_is_the_nth_largest_in_any_order() {
        assert_eq!(nth_largest([5, 1, 3], 2), 3);
        assert_eq!(nth_largest([1, 5, 3], 1), 5);
        assert_eq!(nth_largest([3, 3, 1, 9, 2], 3), 3);
        assert_eq!(nth_largest([7], 1), 7);
    }

    #[test]
    fn every_write_quorum_meets_every_seal_quorum() {
        for members in 1..=MEMBERS_MAX {
            for write_quorum in 1..=members {
                assert!(write_quorum + seal_quorum(members, write_quorum) > members);
            }
        }
    }
}
