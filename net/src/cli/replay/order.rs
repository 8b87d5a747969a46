//! Keeps the writes of one key in order although some are tried again.
//!
//! Writes are pipelined: many of one key may be under way at a time, over one connection, and they take effect in the
//! order of their submission. Unless a node is overloaded: it refuses one, the client tries that one again a little
//! later, and by then it lands behind a newer one. The positions in the log tell: when the last write of a key has ended
//! and the newest did not land last, the newest value has to be written once more.
//!
//! ```text
//! submitted   px=1   px=2   px=3
//! in the log         px=2   px=3   px=1 (was refused at first)   px=3 (again)
//! ```
//!
//! # Bounds
//! One lane for each key with writes under way; these are bounded by the window.

use std::collections::HashMap;

use quorate_engine::ids::LogIndex;

/// The keys that have writes under way.
#[derive(Debug, Default)]
pub(super) struct KeyOrder {
    lanes: HashMap<Box<[u8]>, Lane>,
}

/// The writes of one key that are under way.
#[derive(Debug)]
struct Lane {
    outstanding: usize,
    /// The write that was submitted last.
    newest: u64,
    /// Its value, once it has landed while older ones are still under way.
    newest_value: Option<Vec<u8>>,
    /// Where the write that landed last is in the log, and which it is.
    top: Option<(LogIndex, u64)>,
}

impl KeyOrder {
    /// Notes that a write is under way. Numbers grow with each.
    pub(super) fn record_submitted(&mut self, key: &[u8], number: u64) {
        if let Some(lane) = self.lanes.get_mut(key) {
            debug_assert!(lane.newest < number, "write {number} after {}", lane.newest);
            lane.outstanding += 1;
            lane.newest = number;
            lane.newest_value = None;
            return;
        }
        self.lanes.insert(key.into(), Lane { outstanding: 1, newest: number, newest_value: None, top: None });
    }

    /// Notes that a write has ended: at `index` in the log, or not there. Returns the value that has to be written again.
    pub(super) fn record_ended(
        &mut self,
        key: &[u8],
        number: u64,
        value: &[u8],
        index: Option<LogIndex>,
    ) -> Option<Vec<u8>> {
        let lane = self.lanes.get_mut(key)?;
        if let Some(index) = index {
            lane.top = lane.top.max(Some((index, number)));
        }
        lane.outstanding -= 1;
        if lane.outstanding > 0 {
            if number == lane.newest && index.is_some() {
                lane.newest_value = Some(value.to_vec());
            }
            return None;
        }
        let lane = self.lanes.remove(key).expect("it was found above");
        let (_, top) = lane.top?;
        if top == lane.newest {
            return None;
        }
        lane.newest_value.or_else(|| (number == lane.newest && index.is_some()).then(|| value.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submits writes 1 to 3 of one key, ends them as `ends` says, and returns what is to be written again.
    fn repair(ends: [(u64, Option<u64>); 3]) -> Option<Vec<u8>> {
        let mut order = KeyOrder::default();
        for number in 1..=3 {
            order.record_submitted(b"px", number);
        }
        let value = |number: u64| number.to_string().into_bytes();
        let ended = ends.map(|(number, index)| order.record_ended(b"px", number, &value(number), index.map(LogIndex)));
        assert!(order.lanes.is_empty() && ended[..2] == [None, None]);
        ended[2].clone()
    }

    #[test]
    fn writes_that_land_in_order_are_left_alone() {
        assert_eq!(repair([(1, Some(7)), (2, Some(8)), (3, Some(9))]), None);
        assert_eq!(repair([(3, Some(9)), (1, Some(7)), (2, Some(8))]), None, "only their ends are out of order");
        assert_eq!(repair([(1, None), (2, Some(8)), (3, Some(9))]), None);
    }

    #[test]
    fn the_newest_value_is_written_again_if_an_older_one_landed_behind_it() {
        assert_eq!(repair([(2, Some(7)), (3, Some(8)), (1, Some(9))]), Some(b"3".to_vec()));
        assert_eq!(repair([(1, Some(9)), (2, Some(7)), (3, Some(8))]), Some(b"3".to_vec()));
    }

    #[test]
    fn a_newest_write_that_failed_is_not_written_behind_our_back() {
        assert_eq!(repair([(2, Some(7)), (3, None), (1, Some(9))]), None);
        assert_eq!(repair([(1, None), (2, None), (3, None)]), None);
    }

    #[test]
    fn a_newer_write_outdates_a_kept_value() {
        let mut order = KeyOrder::default();
        order.record_submitted(b"px", 1);
        order.record_submitted(b"px", 2);
        assert_eq!(order.record_ended(b"px", 2, b"2", Some(LogIndex(1))), None);
        order.record_submitted(b"px", 3);
        assert_eq!(order.record_ended(b"px", 1, b"1", Some(LogIndex(2))), None);
        assert_eq!(order.record_ended(b"px", 3, b"3", Some(LogIndex(3))), None);
        assert!(order.lanes.is_empty());
    }
}
