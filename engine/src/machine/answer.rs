//! What a command answers, as bytes that every door turns into its own protocol.
//!
//! An answer is a tree of a few kinds, written front to back without look-ups: a tag byte, then a 64-bit number, or a
//! 32-bit length and bytes, or a 32-bit count and so many answers. All numbers are little endian.
//!
//! # Bounds
//! Readers treat the bytes as hostile (they also come from other nodes): nesting is limited to [`DEPTH_MAX`].

/// Deepest nesting of arrays and maps that [`Answer::check`] accepts.
pub const DEPTH_MAX: usize = 4;

const OK: u8 = 0;
const NIL: u8 = 1;
const INT: u8 = 2;
const BULK: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const ERROR: u8 = 6;
const WORD: u8 = 7;

/// One answer, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done, nothing to say.
    Ok,
    /// There is no such thing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes of a user.
    Bulk(&'a [u8]),
    /// A short word of ours, such as the name of a type.
    Word(&'a [u8]),
    /// The command was applied and refused; the text begins with an upper-case code.
    Error(&'a [u8]),
    /// `count` answers in a row.
    Array {
        /// How many.
        count: u32,
        /// Their bytes, and whatever stands behind them.
        rest: &'a [u8],
    },
    /// `count` pairs of answers.
    Map {
        /// How many pairs.
        count: u32,
        /// Their bytes, and whatever stands behind them.
        rest: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    /// Reads the answer at the front of `bytes` and what stands behind its own bytes (behind the *head* of an array or
    /// map, whose members follow). `None` if it is not whole.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        match tag {
            OK => Some((Self::Ok, rest)),
            NIL => Some((Self::Nil, rest)),
            INT => {
                let (number, rest) = rest.split_first_chunk::<8>()?;
                Some((Self::Int(i64::from_le_bytes(*number)), rest))
            }
            BULK | ERROR | WORD => {
                let (len, rest) = rest.split_first_chunk::<4>()?;
                let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                let answer = match tag {
                    BULK => Self::Bulk(text),
                    ERROR => Self::Error(text),
                    _ => Self::Word(text),
                };
                Some((answer, rest))
            }
            ARRAY | MAP => {
                let (count, rest) = rest.split_first_chunk::<4>()?;
                let count = u32::from_le_bytes(*count);
                Some((if tag == ARRAY { Self::Array { count, rest } } else { Self::Map { count, rest } }, rest))
            }
            _ => None,
        }
    }

    /// Whether `bytes` are exactly one whole answer.
    #[must_use]
    pub fn check(bytes: &[u8]) -> bool {
        skip(bytes, DEPTH_MAX).is_some_and(<[u8]>::is_empty)
    }
}

/// Returns what stands behind the whole answer at the front of `bytes`, members included.
fn skip(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let (answer, mut rest) = Answer::read(bytes)?;
    let members = match answer {
        Answer::Array { count, .. } => u64::from(count),
        Answer::Map { count, .. } => 2 * u64::from(count),
        Answer::Ok | Answer::Nil | Answer::Int(_) | Answer::Bulk(_) | Answer::Word(_) | Answer::Error(_) => 0,
    };
    if members > 0 && depth == 0 {
        return None;
    }
    for _ in 0..members {
        rest = skip(rest, depth - 1)?;
    }
    Some(rest)
}

/// Where a state machine writes its answer: into a buffer if someone waits for it, else nowhere.
#[derive(Debug)]
pub struct AnswerSink<'a> {
    out: Option<&'a mut Vec<u8>>,
    /// How long the buffer may become, and whether it was to become longer: then nothing is written any more.
    end_max: usize,
    is_over: bool,
}

impl<'a> AnswerSink<'a> {
    /// Creates a sink that appends to `out`.
    #[must_use]
    pub fn into(out: &'a mut Vec<u8>) -> Self {
        Self { out: Some(out), end_max: usize::MAX, is_over: false }
    }

    /// Creates a sink that forgets everything.
    #[must_use]
    pub fn discard() -> Self {
        Self { out: None, end_max: usize::MAX, is_over: false }
    }

    /// Appends the answer that `write` gives to `out`, or an error in its place if it is longer than `bytes_max`. However
    /// long it would be, no more than that is kept in memory.
    pub fn bounded(out: &mut Vec<u8>, bytes_max: usize, write: impl FnOnce(&mut AnswerSink<'_>)) {
        let start = out.len();
        let mut sink = AnswerSink { end_max: start + bytes_max, ..AnswerSink::into(out) };
        write(&mut sink);
        if sink.is_over {
            out.truncate(start);
            AnswerSink::into(out).error(&format!(
                "ERR the answer is longer than {bytes_max} bytes (limits.output_max): ask for fewer keys or fields at a time, \
                 or walk them with SCAN or HSCAN"
            ));
        }
    }

    /// Answers [`Answer::Ok`].
    pub fn ok(&mut self) {
        self.tag(OK);
    }

    /// Answers [`Answer::Nil`].
    pub fn nil(&mut self) {
        self.tag(NIL);
    }

    /// Answers a number.
    pub fn int(&mut self, number: i64) {
        if let Some(out) = self.room(1 + size_of::<i64>()) {
            out.push(INT);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Answers a tally.
    pub fn count(&mut self, count: usize) {
        self.int(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Answers bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.text(BULK, bytes);
    }

    /// Answers a short word.
    pub fn word(&mut self, word: &str) {
        self.text(WORD, word.as_bytes());
    }

    /// Answers an error; `text` begins with an upper-case code.
    pub fn error(&mut self, text: &str) {
        self.text(ERROR, text.as_bytes());
    }

    /// Begins an array of `count` answers, to be written next.
    pub fn array(&mut self, count: usize) {
        self.head(ARRAY, count);
    }

    /// Begins a map of `count` pairs of answers, to be written next.
    pub fn map(&mut self, count: usize) {
        self.head(MAP, count);
    }

    /// Returns the buffer, if someone waits for it and it takes so many bytes more.
    #[inline]
    fn room(&mut self, bytes: usize) -> Option<&mut Vec<u8>> {
        let out = self.out.as_deref_mut()?;
        self.is_over |= out.len().saturating_add(bytes) > self.end_max;
        (!self.is_over).then_some(out)
    }

    fn tag(&mut self, tag: u8) {
        if let Some(out) = self.room(1) {
            out.push(tag);
        }
    }

    fn text(&mut self, tag: u8, bytes: &[u8]) {
        self.head(tag, bytes.len());
        if let Some(out) = self.room(bytes.len()) {
            out.extend_from_slice(bytes);
        }
    }

    fn head(&mut self, tag: u8, len: usize) {
        if let Some(out) = self.room(1 + size_of::<u32>()) {
            let len = u32::try_from(len).expect("answers are bounded far below 4 GiB");
            out.push(tag);
            out.extend_from_slice(&len.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sink = AnswerSink::into(&mut bytes);
        sink.array(3);
        sink.int(-5);
        sink.map(1);
        sink.bulk(b"field");
        sink.bulk(b"value");
        sink.nil();
        bytes
    }

    #[test]
    fn a_tree_is_read_in_the_order_it_was_written() {
        let bytes = sample();
        assert!(Answer::check(&bytes));
        let Some((Answer::Array { count: 3, .. }, rest)) = Answer::read(&bytes) else { panic!("an array") };
        let Some((Answer::Int(-5), rest)) = Answer::read(rest) else { panic!("a number") };
        let Some((Answer::Map { count: 1, .. }, rest)) = Answer::read(rest) else { panic!("a map") };
        let Some((Answer::Bulk(b"field"), _)) = Answer::read(rest) else { panic!("a field") };
    }

    #[test]
    fn cut_or_padded_bytes_are_not_an_answer() {
        let mut bytes = sample();
        for len in 0..bytes.len() {
            assert!(!Answer::check(&bytes[..len]));
        }
        bytes.push(0);
        assert!(!Answer::check(&bytes));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            bytes.extend_from_slice(&[ARRAY, 1, 0, 0, 0]);
        }
        assert!(!Answer::check(&bytes));
    }
}
