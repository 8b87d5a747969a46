//! What is wrong with the words of a data command, as the text of the reply.

use std::fmt;

use thiserror::Error;

/// Why a request is not sent to any group. The text is the reply, without the leading `-`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A word that is not known, stands in the wrong place or contradicts another.
    #[error("ERR syntax error")]
    Syntax,
    /// Too few or too many arguments, or one of a pair is missing.
    #[error("ERR wrong number of arguments for '{command}' command")]
    Arity {
        /// The name of the command.
        command: &'static str,
    },
    /// Not the canonical decimal text of a 64-bit number.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// Not a decimal number.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// An infinite increment of a string.
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    /// An infinite increment of a hash field.
    #[error("ERR value is NaN or Infinity")]
    FieldNotFinite,
    /// The smallest number has no negative.
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    /// An offset below zero.
    #[error("ERR offset is out of range")]
    Offset,
    /// A time to live that is not positive where it has to be, or a deadline beyond what can be kept.
    #[error("ERR invalid expire time in '{command}' command")]
    ExpireTime {
        /// The name of the command.
        command: &'static str,
    },
    /// Conditions of an expiry that exclude each other.
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    ExpireConditions,
    /// Both directions at once.
    #[error("ERR GT and LT options at the same time are not compatible")]
    ExpireDirections,
    /// A condition of an expiry that there is not.
    #[error("ERR Unsupported option {word}")]
    UnsupportedOption {
        /// As it was written.
        word: RejectedWord,
    },
    /// Not a cursor that a scan has returned.
    #[error("ERR invalid cursor")]
    Cursor,
    /// The keys of a command that is atomic lie in different slots.
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    /// A level of acknowledgement that is designed and not built.
    #[error("ERR ACK {level} is not built yet; use ACK commit")]
    AckNotBuilt {
        /// The level.
        level: &'static str,
    },
    /// A write whose effect or reply depends on the data cannot be acknowledged before it is executed.
    #[error("ERR ACK accepted is for unconditional SET and DEL only; use ACK commit")]
    AckAccepted,
    /// Fencing tokens are designed and not built.
    #[error("ERR FENCE is not built yet")]
    FenceNotBuilt,
}

/// The beginning of a word of a client, for an error text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RejectedWord {
    bytes: [u8; REJECTED_BYTES_MAX],
    len: u8,
}

impl RejectedWord {
    pub(super) fn new(word: &[u8]) -> Self {
        let len = word.len().min(REJECTED_BYTES_MAX);
        let mut bytes = [0; REJECTED_BYTES_MAX];
        bytes[..len].copy_from_slice(&word[..len]);
        Self { bytes, len: u8::try_from(len).expect("cut to 64") }
    }
}

/// What is not UTF-8 is shown as the replacement character.
impl fmt::Display for RejectedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes[..usize::from(self.len)].utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RejectedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes of a rejected word that are shown: no word of ours is longer.
const REJECTED_BYTES_MAX: usize = 64;
