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

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, PartitionId, Slot};

/// How many slots there are, for ever.
pub const SLOT_COUNT: u16 = 16384;

/// `CRC16_TABLES[n][byte]` is the CRC of `byte` with n zero bytes behind it.
static CRC16_TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0_u16; 256]; 8];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte as usize] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// Returns the CRC16/XMODEM of `bytes`.
///
/// Cost: one table look-up a byte; those of eight bytes do not wait for each other.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let crc = chunks.iter().fold(0, |crc: u16, chunk| {
        let [upper, lower] = crc.to_be_bytes();
        let [first, second, ..] = *chunk;
        let head = at(7, first ^ upper) ^ at(6, second ^ lower);
        let tail = at(5, chunk[2]) ^ at(4, chunk[3]) ^ at(3, chunk[4]) ^ at(2, chunk[5]) ^ at(1, chunk[6]);
        head ^ tail ^ at(0, chunk[7])
    });
    rest.iter().fold(crc, |crc, &byte| (crc << 8) ^ at(0, crc.to_be_bytes()[0] ^ byte))
}

#[inline]
fn at(zeros: usize, byte: u8) -> u16 {
    CRC16_TABLES[zeros][usize::from(byte)]
}

/// Returns the part of `key` that decides its slot: the bytes inside the first `{…}` if there are any, else all of it.
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if !may_contain(key, b'{') {
        return key;
    }
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(end) => &rest[..end],
    }
}

/// Returns `false` only if `byte` does not occur in `bytes`; looks at eight of them at a time.
#[inline]
fn may_contain(bytes: &[u8], byte: u8) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pattern = ONES * u64::from(byte);
    // A byte of `differences` is zero where `byte` stands; the lowest zero byte, at least, borrows into its top bit.
    let has_it = |chunk: &[u8; 8]| {
        let differences = u64::from_le_bytes(*chunk) ^ pattern;
        differences.wrapping_sub(ONES) & !differences & (ONES << 7) != 0
    };
    let (chunks, rest) = bytes.as_chunks::<8>();
    let in_rest = match bytes.last_chunk::<8>() {
        Some(last) => has_it(last),
        None => rest.contains(&byte),
    };
    in_rest || chunks.iter().any(has_it)
}

/// Returns the slot of `key`.
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) % SLOT_COUNT)
}

/// A contiguous range of slots, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Slot, Slot)", into = "(Slot, Slot)")]
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

impl TryFrom<(Slot, Slot)> for SlotRange {
    type Error = &'static str;

    fn try_from((first, last): (Slot, Slot)) -> Result<Self, Self::Error> {
        let is_valid = first <= last && last.0 < SLOT_COUNT;
        is_valid.then_some(Self { first, last }).ok_or("no range of slots")
    }
}

impl From<SlotRange> for (Slot, Slot) {
    fn from(SlotRange { first, last }: SlotRange) -> Self {
        (first, last)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
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

impl TryFrom<u32> for SlotMap {
    type Error = &'static str;

    fn try_from(partition_count: u32) -> Result<Self, Self::Error> {
        Self::new(partition_count).ok_or("no number of partitions")
    }
}

impl From<SlotMap> for u32 {
    fn from(map: SlotMap) -> Self {
        map.partition_count
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
    fn eight_bytes_at_a_time_are_as_good_as_one() {
        let bytes: Vec<u8> = (0..60).map(|n: u8| n.wrapping_mul(151) ^ 0x7B).collect();
        for start in 0..20 {
            for end in start..bytes.len() {
                let one_by_one = bytes[start..end].iter().fold(0_u16, |crc, byte| {
                    (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| (crc << 1) ^ ((crc >> 15) * 0x1021))
                });
                assert_eq!(crc16(&bytes[start..end]), one_by_one, "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_tag_is_found_wherever_it_begins() {
        for before in 0..20 {
            for behind in 0..20 {
                let key = ["z".repeat(before), String::from("{tag}"), "|".repeat(behind)].concat();
                assert_eq!(hash_tag(key.as_bytes()), b"tag", "{key}");
            }
            let key = "z|".repeat(before);
            assert_eq!(hash_tag(key.as_bytes()), key.as_bytes());
        }
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
