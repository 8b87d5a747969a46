//! Which CPU a record comes from: two bytes in front of the frame.

use quorate_engine::ids::CpuId;

/// Appends the mark of the sender to an empty buffer.
pub(super) fn mark(out: &mut Vec<u8>, from: CpuId) {
    out.clear();
    out.extend_from_slice(&from.0.to_le_bytes());
}

/// Splits the mark off a record.
pub(super) fn sender(record: &[u8]) -> (CpuId, &[u8]) {
    let (mark, frame) = record.split_first_chunk::<2>().expect("every record is marked");
    (CpuId(u16::from_le_bytes(*mark)), frame)
}
