//! The arguments of one request, as slices of the bytes that were received.

/// The arguments of one request, its name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// `ranges`: one for each argument, half open, inside `bytes`.
    pub(super) fn new(bytes: &'a [u8], ranges: &'a [(u32, u32)]) -> Self {
        Self { bytes, ranges }
    }

    /// How many there are, the name included.
    #[must_use]
    pub fn len(self) -> usize {
        self.ranges.len()
    }

    /// Whether the request is empty and is to be ignored.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the argument at `index`, from 0 (the name).
    #[must_use]
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|&range| slice(self.bytes, range))
    }

    /// Returns the name of the command.
    #[must_use]
    pub fn first(self) -> Option<&'a [u8]> {
        self.get(0)
    }

    /// Iterates over all arguments, the name included.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone {
        let bytes = self.bytes;
        self.ranges.iter().map(move |&range| slice(bytes, range))
    }

    /// Returns what is left after the first `count` arguments, for a command inside a command.
    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        Self { bytes: self.bytes, ranges: self.ranges.get(count..).unwrap_or_default() }
    }

    /// Returns the first `count` arguments, or all if there are fewer.
    #[must_use]
    pub fn take(self, count: usize) -> Self {
        Self { bytes: self.bytes, ranges: self.ranges.get(..count).unwrap_or(self.ranges) }
    }

    /// Returns where the argument at `index` lies in the received bytes, half open. Of no use for a quoted inline request, whose
    /// arguments were copied.
    #[must_use]
    pub fn range(self, index: usize) -> Option<std::ops::Range<usize>> {
        self.ranges.get(index).map(|&(start, end)| start as usize..end as usize)
    }
}

impl std::ops::Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    /// If there is no argument `index`: check the count (the command table does) first.
    fn index(&self, index: usize) -> &[u8] {
        slice(self.bytes, self.ranges[index])
    }
}

fn slice(bytes: &[u8], (start, end): (u32, u32)) -> &[u8] {
    &bytes[start as usize..end as usize]
}
