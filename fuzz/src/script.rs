//! Reads a fuzzer's bytes as a script: whatever they are, there is always a next word.

/// What is left of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Starts to read `data`, as much of it as a run may take.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(&data[..data.len().min(BYTES_MAX)])
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(crate) fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Returns up to `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Returns a signed number: mostly a small one, else one of the ends or any.
    pub(crate) fn number(&mut self) -> i64 {
        match self.byte() {
            byte @ 0..=127 => i64::from(byte),
            byte @ 128..=191 => 127 - i64::from(byte),
            192 => i64::MAX,
            193 => i64::MIN,
            194 => 1 << 40,
            195 => u32::MAX.into(),
            _ => {
                let mut word = [0; 8];
                let bytes = self.bytes(8);
                word[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(word)
            }
        }
    }

    /// Returns a number near `here`: half of the time that one, else a few away from it, or small, or large.
    pub(crate) fn near(&mut self, here: u64) -> u64 {
        match self.byte() {
            0..=127 => here,
            byte @ 128..=159 => here.saturating_sub(u64::from(byte) - 127),
            byte @ 160..=191 => here.saturating_add(u64::from(byte) - 159),
            byte @ 192..=223 => u64::from(byte) - 192,
            byte @ 224..=239 => (1 << 62) - (u64::from(byte) - 224),
            _ => u64::MAX,
        }
    }
}

/// Longer scripts are cut, to keep runs short.
const BYTES_MAX: usize = 4 << 10;
