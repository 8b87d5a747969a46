//! Which group a key belongs to: key → slot → partition → group.
//!
//! A key's slot is the CRC16 of the key, or of its `{tag}`, mod 16384, exactly as in Redis Cluster, so that cluster
//! clients compute it themselves. A partition is a contiguous range of slots; how many there are is fixed when the
//! cluster is created. A group owns a range of slots inside one partition; until groups are split there is one group
//! for each partition, with the same number.
//!
//! # Bounds
//! 1 to 16384 partitions.
//!
//! # Source
//! CRC16/XMODEM (polynomial 0x1021, initial value 0): check value of "123456789" is 0x31C3. The rule for tags is that of
//! the Redis Cluster specification, "Hash tags": the bytes between the first `{` and the first `}` behind it, if any.

use crate::ids::{GroupId, PartitionId, Slot};

/// How many slots there are, for ever.
pub const SLOT_COUNT: u16 = 16384;

const CRC16_TABLE: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// Returns the CRC16/XMODEM of `bytes`.
///
/// Cost: one table look-up a byte.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) ^ u16::from(byte))])
}

/// Returns the part of `key` that decides its slot: the bytes inside the first `{…}` if there are any, else all of it.
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(end) => &rest[..end],
    }
}

/// Returns the slot of `key`.
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) % SLOT_COUNT)
}

/// A contiguous range of slots, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The first slot.
    pub first: Slot,
    /// The last slot; not below `first`.
    pub last: Slot,
}

impl SlotRange {
    /// Whether `slot` lies inside.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.first <= slot && slot <= self.last
    }

    /// Returns how many slots lie inside; at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.last.0 - self.first.0) + 1
    }

    /// Always false: a range has at least one slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// The map from slots to partitions and groups of one cluster.
///
/// ```
/// use quorate_engine::slots::{slot_of, SlotMap};
///
/// let map = SlotMap::new(64).expect("64 is within 1..=16384");
/// assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
/// assert_eq!(map.group_of(slot_of(b"px:ACME")), map.group_of(slot_of(b"{px:ACME}:bid")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMap {
    partition_count: u32,
}

impl SlotMap {
    /// Creates the map of a cluster with `partition_count` partitions; `None` unless it is 1 to 16384.
    #[must_use]
    pub fn new(partition_count: u32) -> Option<Self> {
        (1..=u32::from(SLOT_COUNT)).contains(&partition_count).then_some(Self { partition_count })
    }

    /// Returns how many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// Returns how many groups there are: as long as none is split, one for each partition.
    #[must_use]
    pub fn group_count(&self) -> u32 {
        self.partition_count
    }

    /// Returns the partition that holds `slot`.
    #[must_use]
    pub fn partition_of(&self, slot: Slot) -> PartitionId {
        PartitionId(u32::from(slot.0) * self.partition_count / u32::from(SLOT_COUNT))
    }

    /// Returns the group that owns `slot`.
    #[must_use]
    pub fn group_of(&self, slot: Slot) -> GroupId {
        GroupId(self.partition_of(slot).0)
    }

    /// Returns the slots of `group`.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn slots_of(&self, group: GroupId) -> SlotRange {
        assert!(group.0 < self.group_count(), "{group:?} of {} groups", self.group_count());
        // The inverse of `partition_of`: the first slot whose product reaches the partition's number.
        let start = |partition: u32| {
            let slot = (partition * u32::from(SLOT_COUNT)).div_ceil(self.partition_count);
            u16::try_from(slot).expect("at most 16384 by the bound of `new`")
        };
        SlotRange { first: Slot(start(group.0)), last: Slot(start(group.0 + 1) - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_has_the_check_value_of_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn only_the_first_complete_tag_counts() {
        assert_eq!(hash_tag(b"a{b}c{d}"), b"b");
        assert_eq!(hash_tag(b"a{}c{d}"), b"a{}c{d}");
        assert_eq!(hash_tag(b"a{b"), b"a{b");
        assert_eq!(hash_tag(b"a{{b}}"), b"{b");
        assert_eq!(hash_tag(b"}a{b}"), b"b");
    }

    #[test]
    fn slots_agree_with_redis_cluster() {
        // Values of `CLUSTER KEYSLOT` on a Redis 7.0 server.
        assert_eq!(slot_of(b"foo"), Slot(12182));
        assert_eq!(slot_of(b"bar"), Slot(5061));
        assert_eq!(slot_of(b"foo{bar}"), Slot(5061));
        assert_eq!(slot_of(b""), Slot(0));
    }

    #[test]
    fn groups_partition_all_slots_evenly() {
        for count in [1, 2, 3, 7, 8, 64, 100, 1000, 16383, 16384] {
            let map = SlotMap::new(count).expect("in range");
            let mut next = 0;
            for group in 0..count {
                let slots = map.slots_of(GroupId(group));
                assert_eq!(u32::from(slots.first.0), next);
                next = u32::from(slots.last.0) + 1;
                assert_eq!(map.group_of(slots.first), GroupId(group));
                assert_eq!(map.group_of(slots.last), GroupId(group));
                assert!(slots.len().abs_diff(usize::from(SLOT_COUNT) / count as usize) <= 1);
            }
            assert_eq!(next, u32::from(SLOT_COUNT));
        }
        assert_eq!(SlotMap::new(0), None);
        assert_eq!(SlotMap::new(16385), None);
    }
}
