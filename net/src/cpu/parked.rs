//! Requests that wait until somebody leads their group and can be reached.
//!
//! Nothing of them has been sent anywhere, so they are refused with certainty when that takes too long. While one waits,
//! those that come after it for the same group wait behind it: a connection's requests keep their order.
//!
//! # Time and units
//! The deadline is on the node's monotonic clock: the time of a request, counted from when it came here.
//!
//! # Bounds
//! [`PARKED_BYTES_MAX`] of commands and their heads on one CPU; one more is refused at once.

use std::collections::{BTreeMap, VecDeque};

use quorate_engine::Level;
use quorate_engine::ids::{GroupId, LogIndex, Slot};
use quorate_engine::time::Instant;

use super::Task;
use super::requests::{Effect, Origin};

/// What may wait on one CPU, in bytes.
pub(super) const PARKED_BYTES_MAX: usize = 16 << 20;
/// What a request counts beside its command.
const HEAD_BYTES: usize = size_of::<ParkedTask>();

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parked {
    groups: BTreeMap<GroupId, VecDeque<ParkedTask>>,
    bytes: usize,
}

/// A request with a copy of its command.
#[derive(Debug)]
pub(super) struct ParkedTask {
    pub(super) origin: Origin,
    pub(super) deadline: Instant,
    group: GroupId,
    slot: Slot,
    command: Box<[u8]>,
    level: Level,
    after: LogIndex,
    effect: Effect,
}

impl ParkedTask {
    pub(super) fn task(&self) -> Task<'_> {
        let Self { group, slot, ref command, level, after, effect, .. } = *self;
        Task { group, slot, command, level, after, hops: 0, effect }
    }
}

impl Parked {
    /// Whether requests for a group wait.
    pub(super) fn has(&self, group: GroupId) -> bool {
        !self.groups.is_empty() && self.groups.contains_key(&group)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Has a request wait; `false` if there is no room.
    pub(super) fn push(&mut self, origin: Origin, task: &Task<'_>, deadline: Instant) -> bool {
        let Task { group, slot, command, level, after, effect, .. } = *task;
        let bytes = HEAD_BYTES + command.len();
        if self.bytes + bytes > PARKED_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        let command = command.into();
        let parked = ParkedTask { origin, deadline, group, slot, command, level, after, effect };
        self.groups.entry(group).or_default().push_back(parked);
        true
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// Takes the first request of a group, if `is_wanted`.
    pub(super) fn pop_if(&mut self, group: GroupId, is_wanted: impl FnOnce(&ParkedTask) -> bool) -> Option<ParkedTask> {
        let queue = self.groups.get_mut(&group)?;
        let parked = queue.pop_front_if(|first| is_wanted(first))?;
        if queue.is_empty() {
            self.groups.remove(&group);
        }
        self.bytes -= HEAD_BYTES + parked.command.len();
        Some(parked)
    }

    /// Returns when the first one has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.groups.values().filter_map(|queue| queue.front()).map(|first| first.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_engine::ids::CpuId;

    fn task(group: u32, command: &[u8]) -> Task<'_> {
        let (level, after, effect) = (Level::Commit, LogIndex(0), Effect::Write);
        Task { group: GroupId(group), slot: Slot(0), command, level, after, hops: 0, effect }
    }

    fn origin(key: u64) -> Origin {
        Origin::Cpu { cpu: CpuId(0), key }
    }

    #[test]
    fn requests_of_a_group_leave_in_the_order_in_which_they_came() {
        let mut parked = Parked::default();
        for key in 1..=3 {
            assert!(parked.push(origin(key), &task(7, b"x"), Instant(key)));
        }
        assert!(parked.has(GroupId(7)) && !parked.has(GroupId(8)));
        assert_eq!(parked.next_deadline(), Some(Instant(1)));
        assert!(parked.pop_if(GroupId(7), |first| first.deadline > Instant(1)).is_none());
        let order: Vec<Origin> =
            std::iter::from_fn(|| parked.pop_if(GroupId(7), |_| true)).map(|parked| parked.origin).collect();
        assert_eq!(order, [origin(1), origin(2), origin(3)]);
        assert!(parked.is_empty());
        assert_eq!(parked.bytes, 0);
    }

    #[test]
    fn full_is_a_value() {
        let mut parked = Parked::default();
        let large = vec![0; PARKED_BYTES_MAX / 2];
        assert!(parked.push(origin(1), &task(1, &large), Instant(1)));
        assert!(!parked.push(origin(2), &task(2, &large), Instant(1)));
        assert!(parked.push(origin(3), &task(2, b"small"), Instant(1)));
    }
}
