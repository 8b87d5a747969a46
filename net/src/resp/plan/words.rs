//! The words between the values of a request, in any case of letters.

/// A word in upper case, to match on. What is longer than any word there is becomes empty, which is no word.
pub(super) struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    len: usize,
}

impl Word {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut word = Self { bytes: [0; WORD_BYTES_MAX], len: 0 };
        if let Some(bytes) = word.bytes.get_mut(..text.len()) {
            bytes.copy_from_slice(text);
            bytes.make_ascii_uppercase();
            word.len = text.len();
        }
        word
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The longest words: ACCEPTED, COHERENT.
const WORD_BYTES_MAX: usize = 8;
