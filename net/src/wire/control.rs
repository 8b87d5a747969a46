//! What nodes and the consistent core say to each other.

use super::header::push_frame;
use super::{About, Kind};

/// Longest text, in bytes. The state of a core with 16384 groups of seven members has some 20 MiB.
pub(super) const CONTROL_BYTES_MAX: u32 = 64 << 20;

/// One JSON object. It is rare, and it is read by the control thread alone, which knows what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// The object.
    pub json: &'a str,
}

impl Control<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        push_frame(out, Kind::Control, About::NOTHING, |out| out.extend_from_slice(self.json.as_bytes()));
    }
}
