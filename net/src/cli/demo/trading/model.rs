//! What the cluster must hold at the end: for each key the value that was acknowledged last.
//!
//! "Last" is by the position in the log that the acknowledgement names, not by when it came. All writes of a key are in
//! one group, so their positions tell their order.
//!
//! # Bounds
//! [`BYTES_MAX`]; [`Model::is_full`] tells when to stop.

use std::collections::HashMap;

use quorate_engine::ids::LogIndex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Model {
    entries: HashMap<Box<[u8]>, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    index: LogIndex,
    value: Vec<u8>,
}

impl Model {
    /// Notes that the entry at `index` set `key`.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8], index: LogIndex) {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.index < index {
                self.bytes = self.bytes - entry.value.len() + value.len();
                entry.index = index;
                entry.value.clear();
                entry.value.extend_from_slice(value);
            }
            return;
        }
        self.bytes += key.len() + value.len() + ENTRY_BYTES;
        self.entries.insert(key.into(), Entry { index, value: value.to_vec() });
    }

    /// Whether no more is to be remembered.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Returns keys and values, sorted by key.
    pub(super) fn sorted(&self) -> Vec<(&[u8], &[u8])> {
        let entries = self.entries.iter().map(|(key, entry)| (&key[..], &entry.value[..]));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable();
        entries
    }
}

/// Most bytes that are remembered.
pub(super) const BYTES_MAX: usize = 1 << 30;
/// What a key costs beyond its bytes and those of its value, about.
const ENTRY_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_in_the_log_decides() {
        let mut model = Model::default();
        model.record(b"px", b"2", LogIndex(2));
        model.record(b"px", b"one", LogIndex(1));
        model.record(b"a", b"", LogIndex(1));
        assert_eq!(model.sorted(), [(&b"a"[..], &b""[..]), (b"px", b"2")]);
        model.record(b"px", b"three", LogIndex(3));
        assert_eq!(model.sorted()[1].1, b"three");
        assert_eq!((model.bytes, model.is_full()), (2 * ENTRY_BYTES + 8, false));
    }
}
