//! The header of a frame, and how a frame is put together: the one way in which bytes leave.
//!
//! The checksum covers everything behind itself, in one run: the magic in front of it is compared, which is a stronger
//! check. The entries of an `Append` are left out: they have checksums of their own, which the leader computed when it
//! appended them, so a leader with four followers does not read each value four times more.

use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Strategy};
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archive, Portable, Serialize};

use super::peer::APPEND_HEAD_BYTES;
use super::{About, Kind};

/// The first four bytes of each frame. The first of them is not ASCII, so no text protocol begins like this.
pub const MAGIC: u32 = u32::from_le_bytes([0xA7, b'Q', b'R', b'T']);

/// The version of the wire format that this release speaks.
pub const WIRE_VERSION: u16 = 1;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;

const CRC_AT: usize = 4;
/// Where the bytes begin that the checksum covers.
pub(super) const COVERED_AT: usize = 8;
pub(super) const VERSION_AT: usize = 8;
const LENGTH_AT: usize = 12;

const _: () = assert!(size_of::<ArchivedHeader>() == HEADER_BYTES, "the header is part of the wire format");

/// The archived header.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct Header {
    pub(super) magic: u32,
    pub(super) crc: u32,
    pub(super) version: u16,
    pub(super) kind: u16,
    pub(super) length: u32,
    pub(super) group: u32,
    pub(super) reserved: u32,
    pub(super) epoch: u64,
}

impl Header {
    /// Reads a header; any 32 bytes are one.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let header = access::<ArchivedHeader>(bytes)?;
        Some(Self {
            magic: header.magic.to_native(),
            version: header.version.to_native(),
            kind: header.kind.to_native(),
            length: header.length.to_native(),
            group: header.group.to_native(),
            epoch: header.epoch.to_native(),
            reserved: header.reserved.to_native(),
            crc: header.crc.to_native(),
        })
    }
}

/// What checks archives: they have no pointers, so the part of the usual validator that follows shared ones is left out.
pub(super) type Validator<'a> = Strategy<ArchiveValidator<'a>, Failure>;

/// Reads an archived value of fixed size from exactly its bytes, checked.
#[inline]
pub(super) fn access<T>(bytes: &[u8]) -> Option<&T>
where
    T: Portable + for<'a> CheckBytes<Validator<'a>>,
{
    if bytes.len() != size_of::<T>() {
        return None;
    }
    rkyv::api::access_with_context::<T, _, Failure>(bytes, &mut ArchiveValidator::new(bytes)).ok()
}

/// Appends the archived form of `head` to `out`.
pub(super) fn push_archived<T>(out: &mut Vec<u8>, head: &T)
where
    T: Serialize<Strategy<Vec<u8>, Failure>>,
{
    debug_assert_eq!(align_of::<T::Archived>(), 1, "archives have no alignment, wherever the buffer stands");
    rkyv::api::serialize_using::<_, Failure>(head, out).expect("writing a value without pointers to a vector");
}

/// Appends a frame whose body is written by `write_body`.
///
/// Length and checksum are filled in behind it.
///
/// # Panics
/// If the body is longer than 32 bits say; limits are checked long before.
pub(super) fn push_frame(out: &mut Vec<u8>, kind: Kind, about: About, write_body: impl FnOnce(&mut Vec<u8>)) {
    debug_assert!(kind.is_about_group() || about == About::NOTHING, "{kind:?} about {about:?}");
    let start = out.len();
    let header = Header {
        magic: MAGIC,
        version: WIRE_VERSION,
        kind: kind as u16,
        length: 0,
        group: about.group.0,
        epoch: about.epoch.0,
        reserved: 0,
        crc: 0,
    };
    push_archived(out, &header);
    write_body(out);
    let frame = &mut out[start..];
    let length = u32::try_from(frame.len() - HEADER_BYTES).expect("limits keep bodies below 4 GiB");
    frame[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(kind, frame);
    frame[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_le_bytes());
}

/// Returns the checksum of a whole frame.
///
/// Cost: O(what it covers), about 20 GB/s where the processor has an instruction for it.
pub(super) fn checksum(kind: Kind, frame: &[u8]) -> u32 {
    let covered = match kind {
        // Each entry carries a checksum of its own, made once by the leader and verified where the frame is decoded.
        Kind::Append => frame.len().min(HEADER_BYTES + APPEND_HEAD_BYTES),
        _ => frame.len(),
    };
    crc32c::crc32c(&frame[COVERED_AT..covered])
}
