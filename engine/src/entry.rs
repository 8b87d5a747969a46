//! One entry of a replicated log: how it is laid out as bytes, and how those bytes are read back.
//!
//! The same bytes lie in the log, travel to the followers and are read in place by the state machine, so the layout is
//! fixed here once. A header of plain little-endian integers comes first, then the body, then zeros up to a multiple
//! of 16 bytes:
//!
//! ```text
//! byte  0        4          8       16      24     32     33     34     36         40
//!       crc32c   body_len   epoch   index   time   kind   flags  slot   reserved   body ... zeros
//! ```
//!
//! Bytes are hostile until [`Entry::parse`] and [`Entry::verify`] have accepted them. Parsing checks what is needed to
//! read without going astray (bounds, kind, fields that must be zero); the checksum is a separate step, because an
//! entry is checked once, where it enters a node, and parsed each time it is read.
//!
//! # Invariants
//! E1. Two different entries have different bytes and one entry has one encoding: flags, reserved field and padding
//! are zero.
//! # Bounds
//! A body has at most [`BODY_BYTES_MAX`] bytes.

use thiserror::Error;

use crate::ids::{EntryId, Epoch, LogIndex, Slot};
use crate::time::LogTime;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 40;

/// Entries start at multiples of this many bytes.
pub const ENTRY_ALIGN: usize = 16;

/// Largest body, in bytes: the greatest configurable value with its key and room to spare, and small enough that a
/// whole entry stays within 16 MiB.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024 - 64;

/// Slots are 0 up to and excluding this.
const SLOT_COUNT: u16 = 16_384;

const _: () = assert!(padded_len(BODY_BYTES_MAX) <= 16 * 1024 * 1024, "offsets inside a run must fit 32 bits");

/// Returns how many bytes an entry with a body of `body_len` bytes takes, header and padding included.
#[must_use]
pub const fn padded_len(body_len: usize) -> usize {
    (HEADER_BYTES + body_len).next_multiple_of(ENTRY_ALIGN)
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The first entry of an epoch; commits what came before it.
    View = 1,
    /// A command for the state machine.
    Command = 2,
}

impl TryFrom<u8> for EntryKind {
    type Error = EntryError;

    fn try_from(kind: u8) -> Result<Self, EntryError> {
        match kind {
            1 => Ok(Self::View),
            2 => Ok(Self::Command),
            _ => Err(EntryError::UnknownKind { kind }),
        }
    }
}

/// The header of one entry as plain values. Its place in memory is [`HEADER_BYTES`] long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// Checksum over the rest of the header and the body.
    pub crc32c: u32,
    /// Length of the body in bytes, at most [`BODY_BYTES_MAX`].
    pub body_len: u32,
    /// Names the entry.
    pub id: EntryId,
    /// The group's clock when the leader appended it.
    pub time: LogTime,
    /// What it is for.
    pub kind: EntryKind,
    /// The slot it concerns.
    pub slot: Slot,
}

impl EntryHeader {
    /// Returns the header with its checksum computed over `body`, given in parts.
    ///
    /// `body_len` must be the length of all parts together; `crc32c` is ignored.
    ///
    /// Cost: O(body), no allocation.
    #[must_use]
    pub fn sealed(self, body: &[&[u8]]) -> Self {
        let mut crc32c = crc32c::crc32c(&self.to_bytes()[4..]);
        for part in body {
            crc32c = crc32c::crc32c_append(crc32c, part);
        }
        Self { crc32c, ..self }
    }

    /// Returns the header as five little-endian words, in the order in which they lie in memory.
    #[must_use]
    pub const fn to_words(&self) -> [u64; HEADER_BYTES / 8] {
        [
            self.crc32c as u64 | (self.body_len as u64) << 32,
            self.id.epoch.0,
            self.id.index.0,
            self.time.0,
            self.kind as u64 | (self.slot.0 as u64) << 16,
        ]
    }

    /// Returns the header as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.to_words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// As [`Entry::parse`], except that the body is not looked at.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, EntryError> {
        let header = Self {
            crc32c: u32_at(bytes, 0),
            body_len: u32_at(bytes, 4),
            id: EntryId { epoch: Epoch(u64_at(bytes, 8)), index: LogIndex(u64_at(bytes, 16)) },
            time: LogTime(u64_at(bytes, 24)),
            kind: EntryKind::try_from(bytes[32])?,
            slot: Slot(u16::from_le_bytes([bytes[34], bytes[35]])),
        };
        if header.body_len as usize > BODY_BYTES_MAX {
            return Err(EntryError::TooLong { body_len: header.body_len });
        }
        if header.id.index == LogIndex(0) {
            return Err(EntryError::NoIndex);
        }
        if header.slot.0 >= SLOT_COUNT {
            return Err(EntryError::NoSuchSlot { slot: header.slot });
        }
        if u64_at(bytes, 32) & !0xffff_00ff != 0 {
            let is_not_zero = |&offset: &usize| bytes[offset] != 0;
            let offset = [33, 36, 37, 38, 39].into_iter().find(is_not_zero).expect("one of the masked bytes");
            return Err(EntryError::NotZero { offset });
        }
        Ok(header)
    }
}

/// One entry, read in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    header: EntryHeader,
    raw: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads the entry at the beginning of `bytes` and returns it with the number of bytes it takes.
    ///
    /// What follows the entry is not looked at. The checksum is not verified; see [`Entry::verify`].
    ///
    /// Cost: O(1), no allocation.
    ///
    /// # Errors
    /// `Truncated`: `bytes` ends before the entry does. `TooLong`, `UnknownKind`, `NoIndex`, `NoSuchSlot`, `NotZero`: no
    /// entry of this version looks like this. Nobody retries; the peer that sent it is broken.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), EntryError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(EntryError::Truncated { needed: HEADER_BYTES, have: bytes.len() });
        };
        let header = EntryHeader::parse(head)?;
        let needed = padded_len(header.body_len as usize);
        let Some(raw) = bytes.get(..needed) else {
            return Err(EntryError::Truncated { needed, have: bytes.len() });
        };
        let body_end = HEADER_BYTES + header.body_len as usize;
        if !ends_in_zeros(raw, needed - body_end) {
            let position = raw[body_end..].iter().position(|&byte| byte != 0).expect("one of them is not zero");
            return Err(EntryError::NotZero { offset: body_end + position });
        }
        Ok((Self { header, raw }, needed))
    }

    /// Reads the entry at the beginning of `bytes`, which was parsed before, where it came into the log.
    ///
    /// Cost: as little as reading the header.
    ///
    /// # Panics
    /// If `bytes` ends before the entry does, or its kind is none.
    #[inline]
    pub(crate) fn stored(bytes: &'a [u8]) -> Self {
        let head = bytes.first_chunk::<HEADER_BYTES>().expect("stored entries are whole");
        let header = EntryHeader {
            crc32c: u32_at(head, 0),
            body_len: u32_at(head, 4),
            id: EntryId { epoch: Epoch(u64_at(head, 8)), index: LogIndex(u64_at(head, 16)) },
            time: LogTime(u64_at(head, 24)),
            kind: EntryKind::try_from(head[32]).expect("stored entries have a kind"),
            slot: Slot(u16::from_le_bytes([head[34], head[35]])),
        };
        Self { header, raw: &bytes[..padded_len(header.body_len as usize)] }
    }

    /// Checks the checksum.
    ///
    /// Cost: O(body), no allocation.
    ///
    /// # Errors
    /// `Checksum`: header or body is not what was written.
    pub fn verify(&self) -> Result<(), EntryError> {
        let computed = checksum(&self.raw[..HEADER_BYTES + self.body().len()]);
        if computed != self.header.crc32c {
            return Err(EntryError::Checksum { id: self.id(), stored: self.header.crc32c, computed });
        }
        Ok(())
    }

    /// Returns the header.
    #[must_use]
    pub const fn header(&self) -> EntryHeader {
        self.header
    }

    /// Returns the entry's name.
    #[must_use]
    pub const fn id(&self) -> EntryId {
        self.header.id
    }

    /// Returns the group's clock when the leader appended it.
    #[must_use]
    pub const fn time(&self) -> LogTime {
        self.header.time
    }

    /// Returns what the entry is for.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        self.header.kind
    }

    /// Returns the slot it concerns.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.header.slot
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.raw[HEADER_BYTES..HEADER_BYTES + self.header.body_len as usize]
    }

    /// Returns all bytes of the entry, header and padding included: what is stored and sent.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl core::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entry").field("header", &self.header).field("body_len", &self.body().len()).finish()
    }
}

/// Reads one entry after another from bytes that hold whole entries. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Returns an iterator over the entries in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Entry::parse(self.rest) {
            Ok((entry, len)) => {
                self.rest = &self.rest[len..];
                Some(Ok(entry))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl core::iter::FusedIterator for Entries<'_> {}

/// As [`Entries`], over bytes that lie in a log, or were parsed before they come into one.
#[derive(Clone, Debug)]
pub(crate) struct StoredEntries<'a> {
    rest: &'a [u8],
}

impl<'a> StoredEntries<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for StoredEntries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = Entry::stored(self.rest);
        self.rest = &self.rest[entry.raw.len()..];
        Some(entry)
    }
}

impl core::iter::FusedIterator for StoredEntries<'_> {}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end before the entry does.
    #[error("entry needs {needed} bytes, {have} are there")]
    Truncated {
        /// Bytes of the entry, or of its header.
        needed: usize,
        /// Bytes given.
        have: usize,
    },
    /// The body is longer than any entry's may be.
    #[error("body of {body_len} bytes is longer than {BODY_BYTES_MAX}")]
    TooLong {
        /// The length that the header states.
        body_len: u32,
    },
    /// A kind that this version does not know.
    #[error("unknown entry kind {kind}")]
    UnknownKind {
        /// The kind that the header states.
        kind: u8,
    },
    /// The header states index 0, which is before any log.
    #[error("entry has no index")]
    NoIndex,
    /// The header states a slot beyond the last.
    #[error("slot {slot} is not below {SLOT_COUNT}")]
    NoSuchSlot {
        /// The slot that the header states.
        slot: Slot,
    },
    /// A byte that must be zero is not (E1).
    #[error("byte {offset} of the entry is not zero")]
    NotZero {
        /// The first such byte.
        offset: usize,
    },
    /// Header or body is not what was written.
    #[error("entry {id}: checksum {stored:#010x} stored, {computed:#010x} computed")]
    Checksum {
        /// The name that the header states.
        id: EntryId,
        /// What the header states.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
}

/// Returns the checksum of an entry, given as header and body; what the header says about the checksum does not matter.
pub(crate) fn checksum(header_and_body: &[u8]) -> u32 {
    crc32c::crc32c(&header_and_body[4..])
}

/// Returns whether the last `count` bytes of `raw`, at most 15, are zero. `raw` is an entry and so at least 48 long.
#[inline]
fn ends_in_zeros(raw: &[u8], count: usize) -> bool {
    debug_assert!(count < ENTRY_ALIGN);
    let tail = raw.last_chunk::<ENTRY_ALIGN>().expect("an entry is longer than its padding");
    // Shifts the bytes before the last `count` out; in two steps, as a shift by all bits is not one.
    u128::from_le_bytes(*tail) >> 8 >> ((ENTRY_ALIGN - 1 - count) * 8) == 0
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(body_len: u32) -> EntryHeader {
        EntryHeader {
            crc32c: 0,
            body_len,
            id: EntryId { epoch: Epoch(3), index: LogIndex(0x0102_0304_0506_0708) },
            time: LogTime(77),
            kind: EntryKind::Command,
            slot: Slot(0x1234),
        }
    }

    fn encoded(body: &[u8]) -> Vec<u8> {
        let mut bytes = header(u32::try_from(body.len()).unwrap()).sealed(&[body]).to_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(padded_len(body.len()), 0);
        bytes
    }

    #[test]
    fn layout_is_fixed() {
        let bytes = encoded(b"abc");
        let expected: [u8; 48] = [
            0xcf, 0x56, 0x64, 0xfa, 3, 0, 0, 0, // crc32c, body_len
            3, 0, 0, 0, 0, 0, 0, 0, // epoch
            8, 7, 6, 5, 4, 3, 2, 1, // index
            77, 0, 0, 0, 0, 0, 0, 0, // time
            2, 0, 0x34, 0x12, 0, 0, 0, 0, // kind, flags, slot, reserved
            b'a', b'b', b'c', 0, 0, 0, 0, 0, // body, padding
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_was_written_is_read_back() {
        for body_len in 0..40 {
            let body: Vec<u8> = (1..=body_len).collect();
            let mut bytes = encoded(&body);
            let len = bytes.len();
            bytes.extend_from_slice(b"next");
            let (entry, taken) = Entry::parse(&bytes).unwrap();
            assert_eq!(taken, len);
            assert_eq!(entry.body(), body);
            assert_eq!(entry.raw(), &bytes[..len]);
            assert_eq!(entry.kind(), EntryKind::Command);
            assert_eq!(entry.slot(), Slot(0x1234));
            assert_eq!(entry.time(), LogTime(77));
            assert_eq!(entry.verify(), Ok(()));
        }
    }

    #[test]
    fn body_in_parts_has_the_same_checksum() {
        let whole = header(6).sealed(&[b"abcdef"]);
        assert_eq!(header(6).sealed(&[b"", b"abc", b"de", b"f"]), whole);
    }

    #[test]
    fn each_cut_is_truncated() {
        let bytes = encoded(b"twenty bytes of body");
        for len in 0..bytes.len() {
            let error = Entry::parse(&bytes[..len]).unwrap_err();
            assert!(matches!(error, EntryError::Truncated { have, .. } if have == len), "{error}");
        }
    }

    #[test]
    fn each_flipped_bit_is_found() {
        let bytes = encoded(b"sixteen byte bod");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = Entry::parse(&damaged).and_then(|(entry, _)| entry.verify());
            assert!(found.is_err(), "bit {bit} flipped unnoticed");
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        let set = |offset: usize, value: u8| {
            let mut bytes = encoded(b"x");
            bytes[offset] = value;
            Entry::parse(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(set(32, 0), EntryError::UnknownKind { kind: 0 });
        assert_eq!(set(32, 3), EntryError::UnknownKind { kind: 3 });
        assert_eq!(set(33, 1), EntryError::NotZero { offset: 33 });
        assert_eq!(set(38, 1), EntryError::NotZero { offset: 38 });
        assert_eq!(set(47, 1), EntryError::NotZero { offset: 47 });
        assert_eq!(set(35, 0x40), EntryError::NoSuchSlot { slot: Slot(0x4034) });
        assert_eq!(set(7, 0x01), EntryError::TooLong { body_len: 0x0100_0001 });
    }

    #[test]
    fn entries_end_after_an_error() {
        let mut bytes = encoded(b"one");
        bytes.extend_from_slice(&encoded(b"two"));
        bytes.extend_from_slice(&[0; 8]);
        let mut entries = Entries::new(&bytes);
        assert_eq!(entries.next().unwrap().unwrap().body(), b"one");
        assert_eq!(entries.next().unwrap().unwrap().body(), b"two");
        assert_eq!(entries.next(), Some(Err(EntryError::Truncated { needed: HEADER_BYTES, have: 8 })));
        assert_eq!(entries.next(), None);
    }
}
