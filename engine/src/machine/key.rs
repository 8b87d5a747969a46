//! A key or field name as it is kept: short ones in place, long ones on the heap.
//!
//! Most keys are short, and comparing keys in place saves the cache miss that following a pointer costs at every step
//! of a look-up.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// Longest name kept in place, in bytes. Together with length and tag this makes 24 bytes.
const INLINE_MAX: usize = 22;

/// A name; compared as bytes.
#[derive(Clone)]
pub(crate) enum Key {
    /// Kept in place.
    Inline {
        /// Bytes used.
        len: u8,
        /// The bytes, zeros behind them.
        bytes: [u8; INLINE_MAX],
    },
    /// Kept on the heap.
    Heap(Box<[u8]>),
}

impl Key {
    pub(crate) fn new(name: &[u8]) -> Self {
        if name.len() > INLINE_MAX {
            return Self::Heap(name.into());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Self::Inline { len: u8::try_from(name.len()).expect("at most 22"), bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}
