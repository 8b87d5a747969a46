//! One command as bytes: encoded once by whoever creates it, checked once where it enters a node, then the same bytes
//! lie in the log, go to the followers and are read in place by the state machine.
//!
//! A command is a fixed archived head ([`Op`], flags, two numbers, two lengths) and two byte strings behind it, `key`
//! and `value`. There are no pointers in it: whatever the head says is checked against the length of the whole.
//! Commands with several arguments pack them into `value` as *items*: a 32-bit little-endian length and the bytes,
//! again and again (see [`items`]).
//!
//! ```text
//!  0      1      2        4         8           12         16         24        32
//!  ┌──────┬──────┬────────┬─────────┬───────────┬──────────┬──────────┬─────────┬─────┬───────┐
//!  │ op   │flags │ zero   │ key_len │ value_len │ zero     │ number   │ time    │ key │ value │
//!  └──────┴──────┴────────┴─────────┴───────────┴──────────┴──────────┴─────────┴─────┴───────┘
//! ```
//!
//! # Time and units
//! `time` of a write is a time to live in nanoseconds from the logged time of its entry, if [`Flags::TTL`] is set.
//! With [`Flags::ABSOLUTE`] it is nanoseconds since the Unix epoch instead; the leader's host turns it into a time to
//! live with [`resolve_absolute`] before the command is appended, so that no wall clock ever decides what a replica does.
//! `number` of a write with a time to live is when that ends in nanoseconds since the Unix epoch, as whoever asked for it
//! says; 0 if he does not. It is kept and told again, and decides nothing.
//!
//! # Bounds
//! Key and value together fit 32 bits; tighter limits are the business of [`crate::config::Config`].

use rkyv::bytecheck::CheckBytes;
use rkyv::{Archive, Portable, Serialize};

use crate::ids::Slot;
use crate::slots::slot_of;

/// What a command does. The numbers are part of the log and wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = Op)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum Op {
    /// Sets `key` to `value`; see the flags.
    Set,
    /// Sets several keys of one slot; items are key, value, key, value.
    SetMany,
    /// Overwrites part of a string from offset `number`.
    SetRange,
    /// Appends `value` to a string, unless that makes it longer than `number` bytes, which the leader puts there.
    Append,
    /// Adds `number` to an integer.
    Increment,
    /// Adds the decimal text `value` to a number.
    IncrementFloat,
    /// Returns and deletes a string.
    GetDelete,
    /// Returns a string and sets or clears its expiry.
    GetExpire,
    /// Deletes the keys given as items.
    Delete,
    /// Sets the expiry of `key`.
    Expire,
    /// Clears the expiry of `key`.
    Persist,
    /// Sets hash fields; items are field, value, field, value.
    HashSet,
    /// Deletes the hash fields given as items.
    HashDelete,
    /// Adds `number` to the hash field `value`.
    HashIncrement,
    /// Adds to a hash field; items are field, decimal text.
    HashIncrementFloat,
    /// Deletes every key of the group.
    Flush,
    /// Deletes `key` because its deadline, logged time `time`, has come; appended by the leader only.
    Expired,
    /// Returns a string.
    Get,
    /// Returns the strings of the keys given as items.
    GetMany,
    /// Counts which of the keys given as items exist, with repetition.
    Exists,
    /// Returns the length of a string.
    Length,
    /// Returns the bytes `number ..= time` of a string; negative positions count from its end.
    GetRange,
    /// Returns the time to live in nanoseconds; -1 without one, -2 without the key.
    TimeToLive,
    /// Returns the type of `key` as text.
    Type,
    /// Returns the hash field `value`.
    HashGet,
    /// Returns the hash fields given as items.
    HashGetMany,
    /// Returns all fields and values.
    HashGetAll,
    /// Returns all fields.
    HashFields,
    /// Returns all values.
    HashValues,
    /// Counts the fields.
    HashLength,
    /// Whether the hash has field `value`.
    HashExists,
    /// Returns the length of the hash field `value`.
    HashFieldLength,
    /// Walks the fields of a hash from cursor `number`, about `time` a step.
    HashScan,
    /// Walks the keys of the group, from one slot on (the low 16 bits of `time`; the rest is the count wanted) and from
    /// cursor `number` within it; `value` names a type, or is empty for all.
    Scan,
    /// Returns all keys of the group.
    Keys,
    /// Counts the keys of the group.
    Count,
    /// Returns some key of the group, chosen by `number`.
    RandomKey,
    /// Returns how many followers hold the entry at index `time`, once `number` of them do.
    WaitAcks,
    /// Returns the time to live in nanoseconds and when it ends in nanoseconds since the Unix epoch, as whoever set it said,
    /// or 0; without an end as [`Op::TimeToLive`].
    ExpireTime,
}

impl Op {
    /// Whether the command goes through the log.
    #[must_use]
    pub fn is_write(self) -> bool {
        (self as u8) <= (Self::Expired as u8)
    }

    /// Whether `value` must be a list of items, and how many go together.
    fn item_rule(self) -> ItemRule {
        match self {
            Self::SetMany | Self::HashSet => ItemRule::Groups(2),
            Self::HashIncrementFloat => ItemRule::Exactly(2),
            Self::Delete | Self::HashDelete | Self::GetMany | Self::Exists | Self::HashGetMany => ItemRule::Groups(1),
            Self::Set
            | Self::SetRange
            | Self::Append
            | Self::Increment
            | Self::IncrementFloat
            | Self::GetDelete
            | Self::GetExpire
            | Self::Expire
            | Self::Persist
            | Self::HashIncrement
            | Self::Flush
            | Self::Expired
            | Self::Get
            | Self::Length
            | Self::GetRange
            | Self::TimeToLive
            | Self::Type
            | Self::HashGet
            | Self::HashGetAll
            | Self::HashFields
            | Self::HashValues
            | Self::HashLength
            | Self::HashExists
            | Self::HashFieldLength
            | Self::HashScan
            | Self::Scan
            | Self::Keys
            | Self::Count
            | Self::RandomKey
            | Self::WaitAcks
            | Self::ExpireTime => ItemRule::Free,
        }
    }

    /// Whether the command names no key: it is about its whole group.
    #[must_use]
    pub fn is_keyless(self) -> bool {
        matches!(self, Self::Flush | Self::Count | Self::Scan | Self::Keys | Self::RandomKey | Self::WaitAcks)
    }

    /// Whether all keys of the command stand in the items, rather than in `key`.
    #[must_use]
    pub fn keys_are_items(self) -> bool {
        matches!(self, Self::SetMany | Self::Delete | Self::GetMany | Self::Exists)
    }
}

/// What `value` of a command must look like.
enum ItemRule {
    /// Any bytes.
    Free,
    /// One or more groups of so many items.
    Groups(usize),
    /// Exactly so many items.
    Exactly(usize),
}

/// Options of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// `Set`, `HashSet`: only if it does not exist. `Expire`: only if there is no expiry.
    pub const IF_ABSENT: Self = Self(1);
    /// `Set`: only if it exists. `Expire`: only if there is an expiry.
    pub const IF_PRESENT: Self = Self(1 << 1);
    /// `Set`: answer with the old value.
    pub const GET: Self = Self(1 << 2);
    /// `Set`: keep the expiry the key has.
    pub const KEEP_TTL: Self = Self(1 << 3);
    /// `time` holds a time to live.
    pub const TTL: Self = Self(1 << 4);
    /// `time` holds a point in Unix time, to be resolved before the append.
    pub const ABSOLUTE: Self = Self(1 << 5);
    /// `Expire`: only if the new deadline is later than the old one.
    pub const IF_LATER: Self = Self(1 << 6);
    /// `Expire`: only if the new deadline is earlier than the old one, or there is none.
    pub const IF_EARLIER: Self = Self(1 << 7);

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The archived head of a command.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
struct Head {
    op: Op,
    flags: u8,
    zero: u16,
    key_len: u32,
    value_len: u32,
    zero_too: u32,
    number: i64,
    time: i64,
}

/// Bytes in front of the key.
pub const HEAD_BYTES: usize = 32;
const FLAGS_AT: usize = 1;
const NUMBER_AT: usize = 16;
const TIME_AT: usize = 24;
const _: () = assert!(size_of::<ArchivedHead>() == HEAD_BYTES, "the head is part of the log format");

/// One command, decoded. `key` and `value` borrow from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// What it does.
    pub op: Op,
    /// Its options.
    pub flags: Flags,
    /// A number whose meaning depends on `op`.
    pub number: i64,
    /// A time or second number whose meaning depends on `op`.
    pub time: i64,
    /// The key; for commands over several keys, empty (the keys are items).
    pub key: &'a [u8],
    /// The value, or packed items.
    pub value: &'a [u8],
}

/// Why bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Shorter than a head.
    #[error("a command of {len} bytes is shorter than its head of {HEAD_BYTES}")]
    Short {
        /// Bytes given.
        len: usize,
    },
    /// The head is not a valid archive: unknown operation.
    #[error("the head of the command is malformed: operation {op}")]
    Malformed {
        /// The first byte.
        op: u8,
    },
    /// The lengths in the head do not add up.
    #[error("the command says {said} bytes and has {len}")]
    Length {
        /// What the head says, head included.
        said: u64,
        /// Bytes given.
        len: usize,
    },
    /// The packed items are not what the operation takes.
    #[error("the items of {op:?} are malformed")]
    Items {
        /// The operation.
        op: Op,
    },
}

impl<'a> Command<'a> {
    /// Creates a command without options, numbers and value.
    #[must_use]
    pub const fn new(op: Op, key: &'a [u8]) -> Self {
        Self { op, flags: Flags(0), number: 0, time: 0, key, value: &[] }
    }

    /// Returns how many bytes [`Command::encode_into`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEAD_BYTES + self.key.len() + self.value.len()
    }

    /// Returns the archived head. `key` and `value` go behind it, in this order.
    ///
    /// # Panics
    /// If key or value is longer than 32 bits say; limits are checked long before.
    #[must_use]
    pub fn head(&self) -> [u8; HEAD_BYTES] {
        let head = Head {
            op: self.op,
            flags: self.flags.0,
            zero: 0,
            key_len: u32::try_from(self.key.len()).expect("limits keep keys below 4 GiB"),
            value_len: u32::try_from(self.value.len()).expect("limits keep values below 4 GiB"),
            zero_too: 0,
            number: self.number,
            time: self.time,
        };
        let mut bytes = [0; HEAD_BYTES];
        rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Failure>(&head, rkyv::ser::writer::Buffer::from(&mut bytes))
            .expect("the buffer has the size of the archived head");
        bytes
    }

    /// Appends the encoded command to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(&self.head());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }

    /// Decodes a command that has been checked before, by [`Command::check`], on this node or on the one that sent it.
    ///
    /// # Errors
    /// Everything but the inside of the items is checked again, because it costs next to nothing.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(CommandError::Short { len: bytes.len() });
        };
        let head = rkyv::access::<ArchivedHead, rkyv::rancor::Failure>(head)
            .map_err(|_| CommandError::Malformed { op: head[0] })?;
        let (key_len, value_len) = (head.key_len.to_native() as usize, head.value_len.to_native() as usize);
        if rest.len() != key_len + value_len {
            let said = (HEAD_BYTES + key_len + value_len) as u64;
            return Err(CommandError::Length { said, len: bytes.len() });
        }
        let (key, value) = rest.split_at(key_len);
        Ok(Self {
            op: head.op,
            flags: Flags(head.flags),
            number: head.number.to_native(),
            time: head.time.to_native(),
            key,
            value,
        })
    }

    /// Decodes a command from hostile bytes: everything in it is checked, once.
    ///
    /// # Errors
    /// What is wrong with the bytes; nothing was read beyond them.
    pub fn check(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let command = Self::decode(bytes)?;
        command.validate()?;
        Ok(command)
    }

    /// Checks what the type does not: that the items are what the operation takes.
    ///
    /// # Errors
    /// `Items`: they are not.
    pub fn validate(&self) -> Result<(), CommandError> {
        let is_valid = match self.op.item_rule() {
            ItemRule::Free => true,
            ItemRule::Groups(size) => {
                count_items(self.value).is_some_and(|count| count > 0 && count.is_multiple_of(size))
            }
            ItemRule::Exactly(size) => count_items(self.value) == Some(size),
        };
        if is_valid { Ok(()) } else { Err(CommandError::Items { op: self.op }) }
    }

    /// Whether all keys of the command, if it names any, lie in `slot`.
    ///
    /// Cost: a checksum of each key.
    #[must_use]
    pub fn lies_in(&self, slot: Slot) -> bool {
        if self.op.is_keyless() {
            return true;
        }
        if !self.op.keys_are_items() {
            return slot_of(self.key) == slot;
        }
        let step = if self.op == Op::SetMany { 2 } else { 1 };
        items(self.value).step_by(step).all(|key| slot_of(key) == slot)
    }

    /// Returns the key that decides the slot: `key`, or the first item.
    #[must_use]
    pub fn routing_key(&self) -> &'a [u8] {
        if self.op.keys_are_items() { items(self.value).next().unwrap_or_default() } else { self.key }
    }
}

/// Appends one item to a packed list.
///
/// # Panics
/// If the item is longer than 32 bits say; limits are checked long before.
pub fn push_item(out: &mut Vec<u8>, item: &[u8]) {
    let len = u32::try_from(item.len()).expect("limits keep items below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(item);
}

/// Walks a packed list; stops at the first item that is not whole.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

/// Returns the items packed in `bytes`.
#[must_use]
pub fn items(bytes: &[u8]) -> Items<'_> {
    Items { rest: bytes }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        Some(item)
    }
}

/// Counts the items in `bytes`; `None` if the last one is not whole.
fn count_items(bytes: &[u8]) -> Option<usize> {
    let mut items = items(bytes);
    let count = items.by_ref().count();
    items.rest.is_empty().then_some(count)
}

/// Returns encoded, checked command bytes with another number, in parts that follow each other.
pub(crate) fn with_number<'a>(bytes: &'a [u8], number: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [&bytes[..NUMBER_AT], number, &bytes[NUMBER_AT + number.len()..]]
}

/// Turns an absolute expiry in encoded, checked command bytes into a time to live, given the leader's wall clock in
/// nanoseconds since the Unix epoch. The expiry itself becomes its `number`. Commands without one stay as they are.
///
/// A deadline that has passed becomes a time to live of 0: the key ends when the command is applied.
pub fn resolve_absolute(bytes: &mut [u8], wall_now: i64) {
    let Some(flags) = bytes.get(FLAGS_AT).copied().map(Flags) else { return };
    if !flags.has(Flags::ABSOLUTE) {
        return;
    }
    let Some(time) = bytes.get_mut(TIME_AT..TIME_AT + 8) else { return };
    let at = i64::from_le_bytes(<[u8; 8]>::try_from(&*time).expect("the slice has 8 bytes"));
    time.copy_from_slice(&at.saturating_sub(wall_now).max(0).to_le_bytes());
    bytes[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&at.to_le_bytes());
    bytes[FLAGS_AT] = (flags.0 & !Flags::ABSOLUTE.0) | Flags::TTL.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_as_it_went_in() {
        let command = Command {
            flags: Flags::TTL.with(Flags::GET),
            number: -7,
            time: i64::MAX,
            value: b"100.25",
            ..Command::new(Op::Set, b"px:ACME")
        };
        let mut bytes = Vec::new();
        command.encode_into(&mut bytes);
        assert_eq!(bytes.len(), command.encoded_len());
        assert_eq!(Command::check(&bytes), Ok(command));
    }

    #[test]
    fn the_bytes_of_a_command_are_fixed() {
        let mut bytes = Vec::new();
        Command { number: 2, time: 3, value: b"v", flags: Flags::TTL, ..Command::new(Op::Set, b"k") }
            .encode_into(&mut bytes);
        let mut expected = vec![0, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'k', b'v']);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn hostile_bytes_are_refused_at_every_length_and_operation() {
        let mut bytes = Vec::new();
        Command { value: b"value", ..Command::new(Op::Set, b"key") }.encode_into(&mut bytes);
        for len in 0..bytes.len() {
            assert!(Command::check(&bytes[..len]).is_err());
        }
        for op in 39..=255 {
            bytes[0] = op;
            assert_eq!(Command::check(&bytes), Err(CommandError::Malformed { op }));
        }
    }

    #[test]
    fn items_must_be_whole_and_come_in_the_right_number() {
        let mut list = Vec::new();
        push_item(&mut list, b"a");
        let encode = |op, value: &[u8]| {
            let mut bytes = Vec::new();
            Command { value, ..Command::new(op, b"") }.encode_into(&mut bytes);
            bytes
        };
        assert_eq!(Command::check(&encode(Op::SetMany, &list)), Err(CommandError::Items { op: Op::SetMany }));
        assert!(Command::check(&encode(Op::Delete, &list)).is_ok());
        assert!(Command::check(&encode(Op::Delete, &list[..4])).is_err());
        assert!(Command::check(&encode(Op::Delete, &[])).is_err());
        push_item(&mut list, b"");
        assert!(Command::check(&encode(Op::SetMany, &list)).is_ok());
    }

    #[test]
    fn absolute_expiry_becomes_a_time_to_live() {
        let encode = |flags, time, number| {
            let mut bytes = Vec::new();
            Command { flags, time, number, ..Command::new(Op::Expire, b"k") }.encode_into(&mut bytes);
            bytes
        };
        for (at, left) in [(1_500, 500), (1_000, 0), (10, 0)] {
            let mut bytes = encode(Flags::ABSOLUTE.with(Flags::IF_LATER), at, 0);
            resolve_absolute(&mut bytes, 1_000);
            assert_eq!(bytes, encode(Flags::TTL.with(Flags::IF_LATER), left, at));
        }
        let mut relative = encode(Flags::TTL, 5, 7);
        resolve_absolute(&mut relative, 1_000);
        assert_eq!(relative, encode(Flags::TTL, 5, 7));
    }
}
