//! Frames out of a stream of bytes that is cut anywhere.
//!
//! A connection owns a [`FrameReader`]. Each piece that the transport delivers is walked with [`FrameReader::frames`]:
//! frames that lie in it whole are decoded where they are; only one that is cut off at the end is copied, and put
//! together when the rest has come.
//!
//! ```text
//!   delivered:  ┌ ─ ─ ─ ┬─────────┬─────────┬────── ┐      ┌ ──────┬─────────┬ ─ ─ ─
//!                rest   │ frame 2 │ frame 3 │ begin   ...    rest  │ frame 5 │
//!               └ ─ ─ ─ ┴─────────┴─────────┴────── ┘      └ ──────┴─────────┴ ─ ─ ─
//!   remainder:  frame 1                       └──── copied ───►└─ frame 4
//! ```
//!
//! # Invariants
//! F1. A frame is returned once, in the order of the stream, whatever the cuts.
//! F2. After an error nothing is returned any more.
//! # Bounds
//! The remainder is less than one frame, so at most the header and the limit of its kind; memory is taken as bytes
//! arrive, not as the header announces them. Above [`REMAINDER_KEPT_BYTES`] it is given back after use.

use super::decode::{Announced, announce};
use super::error::DecodeError;
use super::header::HEADER_BYTES;
use super::{BodyLimits, Frame, Stage};

/// Capacity that a reader keeps between frames, in bytes: enough that values up to this size cost no allocation.
pub const REMAINDER_KEPT_BYTES: usize = 256 << 10;

/// Puts the frames of one connection together and decodes them.
///
/// ```
/// use quorate::wire::{Body, BodyLimits, FrameReader, Stage, StatusRequest};
///
/// let mut bytes = Vec::new();
/// StatusRequest { number: 1 }.encode(&mut bytes);
/// StatusRequest { number: 2 }.encode(&mut bytes);
///
/// let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
/// let mut seen = Vec::new();
/// for piece in bytes.chunks(50) {
///     let mut frames = reader.frames(piece);
///     while let Some(frame) = frames.next() {
///         if let Body::Status(status) = frame?.body {
///             seen.push(status.number);
///         }
///     }
/// }
/// assert_eq!(seen, [1, 2]);
/// # Ok::<(), quorate::wire::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    stage: Stage,
    limits: BodyLimits,
    remainder: Vec<u8>,
    is_broken: bool,
}

impl FrameReader {
    /// Creates the reader of a new connection.
    #[must_use]
    pub const fn new(stage: Stage, limits: BodyLimits) -> Self {
        Self { stage, limits, remainder: Vec::new(), is_broken: false }
    }

    /// Returns what the other end may send.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Changes what the other end may send, from the next frame on.
    pub fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Walks the frames in `received`, the next bytes of the stream. What is not taken from the result stays in the
    /// stream: it is copied and comes first the next time.
    pub fn frames<'r>(&'r mut self, received: &'r [u8]) -> Frames<'r> {
        Frames { reader: self, received, taken: 0 }
    }

    /// Returns how many bytes wait for the rest of their frame.
    #[must_use]
    pub fn remainder_bytes(&self) -> usize {
        self.remainder.len()
    }

    #[cfg(test)]
    pub(super) fn remainder_capacity(&self) -> usize {
        self.remainder.capacity()
    }
}

/// The frames in one piece of a stream. Each borrows the walk, so it must be done with before the next.
#[derive(Debug)]
pub struct Frames<'r> {
    reader: &'r mut FrameReader,
    received: &'r [u8],
    /// Bytes at the front of the remainder whose frames have been returned.
    taken: usize,
}

impl Frames<'_> {
    /// Returns the next whole frame.
    ///
    /// Cost: O(frame); no allocation if it lies whole in what was received, or fits what the remainder has kept.
    #[expect(clippy::should_implement_trait, reason = "the frame borrows the walk, which `Iterator` cannot say")]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, DecodeError>> {
        if self.reader.is_broken {
            return None;
        }
        let whole = if self.taken < self.reader.remainder.len() {
            self.complete_remainder().map(|whole| whole.map(Place::Remainder))
        } else {
            self.complete_received().map(|whole| whole.map(Place::Received))
        };
        let frame = match whole {
            Ok(None) => return None,
            Ok(Some(Place::Remainder(whole))) => {
                let start = self.taken;
                self.taken += whole.frame_bytes();
                whole.open(&self.reader.remainder[start..self.taken])
            }
            Ok(Some(Place::Received(whole))) => {
                let (frame, rest) = self.received.split_at(whole.frame_bytes());
                self.received = rest;
                whole.open(frame)
            }
            Err(error) => Err(error),
        };
        self.reader.is_broken = frame.is_err();
        Some(frame)
    }

    /// Enters another stage in the middle of a piece: a greeting and what follows it may arrive together.
    pub fn enter(&mut self, stage: Stage) {
        self.reader.enter(stage);
    }
}

/// What becomes of the bytes that were not returned as frames.
impl Drop for Frames<'_> {
    fn drop(&mut self) {
        let remainder = &mut self.reader.remainder;
        if self.reader.is_broken {
            *remainder = Vec::new();
            return;
        }
        remainder.drain(..self.taken);
        remainder.extend_from_slice(self.received);
        if remainder.capacity() > REMAINDER_KEPT_BYTES && remainder.len() <= REMAINDER_KEPT_BYTES {
            remainder.shrink_to(REMAINDER_KEPT_BYTES);
        }
    }
}

impl Frames<'_> {
    /// Tops the remainder up from what was received until the frame at its front is whole; `None` if it cannot be yet.
    fn complete_remainder(&mut self) -> Result<Option<Announced>, DecodeError> {
        let FrameReader { stage, limits, remainder, .. } = &mut *self.reader;
        loop {
            let pending = &remainder[self.taken..];
            let needed = match announce(pending, *stage, limits) {
                Ok(announced) if pending.len() >= announced.frame_bytes() => return Ok(Some(announced)),
                Ok(announced) => announced.frame_bytes(),
                Err(DecodeError::Truncated { .. }) => HEADER_BYTES,
                Err(error) => return Err(error),
            };
            let missing = needed - pending.len();
            let (more, rest) = self.received.split_at(missing.min(self.received.len()));
            if more.is_empty() {
                return Ok(None);
            }
            remainder.extend_from_slice(more);
            self.received = rest;
        }
    }

    /// Looks at the frame at the front of what was received; `None` if it is not whole.
    fn complete_received(&self) -> Result<Option<Announced>, DecodeError> {
        match announce(self.received, self.reader.stage, &self.reader.limits) {
            Ok(announced) if self.received.len() >= announced.frame_bytes() => Ok(Some(announced)),
            Ok(_) | Err(DecodeError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A whole frame, and where it lies.
enum Place {
    Remainder(Announced),
    Received(Announced),
}
