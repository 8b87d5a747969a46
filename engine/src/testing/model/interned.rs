//! Things that are kept once and named by a number, so that states of the model are small and quick to compare.

use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(super) struct Interned<T> {
    /// By everything that they feed to a hasher: equal bytes, equal things.
    numbers: BTreeMap<Box<[u8]>, u32>,
    items: Vec<T>,
}

impl<T> Interned<T> {
    pub(super) fn new() -> Self {
        Self { numbers: BTreeMap::new(), items: Vec::new() }
    }

    /// Returns the number of what feeds `key`; if it is new, it is made.
    pub(super) fn number(&mut self, key: Recorder, make: impl FnOnce() -> T) -> u32 {
        let next = u32::try_from(self.items.len()).expect("far fewer than 2^32");
        let number = *self.numbers.entry(key.0.into_boxed_slice()).or_insert(next);
        if number == next {
            self.items.push(make());
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.items[number as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

/// Keeps what is hashed, instead of making a number of it that others could share.
#[derive(Debug, Default)]
pub(super) struct Recorder(Vec<u8>);

impl Recorder {
    pub(super) fn of(thing: &impl Hash) -> Self {
        let mut recorder = Self::default();
        thing.hash(&mut recorder);
        recorder
    }
}

impl Hasher for Recorder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes themselves are compared")
    }
}
