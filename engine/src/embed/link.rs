//! One direction between two threads: a mailbox, and a way around it for the few records that are too long for it.
//!
//! A record longer than the ring takes travels on the heap; an empty record in the ring says that its turn has come. So
//! rings stay small enough for the cache whatever the limits on values are, and order is kept.
//!
//! # Bounds
//! The ring, and [`ASIDE_MAX`] records beside it. Full is an error that changes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::sync::mailbox::{self, Consumer, Producer, PushError};

/// Most records on the heap at one time.
const ASIDE_MAX: usize = 64;

type Aside = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// Returns the two ends of a link with a ring of `ring_bytes`, a power of two.
pub(super) fn link(ring_bytes: usize) -> (Outlet, Inlet) {
    let (producer, consumer) = mailbox::channel(ring_bytes);
    let aside = Aside::default();
    (Outlet { producer, aside: Arc::clone(&aside) }, Inlet { consumer, aside, current: None })
}

/// The link has no room for a record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The sending end.
#[derive(Debug)]
pub(super) struct Outlet {
    producer: Producer,
    aside: Aside,
}

impl Outlet {
    /// Sends the concatenation of `parts`, which must not be empty, as one record.
    ///
    /// Cost: no allocation, unless the record is longer than a quarter of the ring.
    #[inline]
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> Result<(), Full> {
        match self.producer.try_push(parts) {
            Ok(()) => Ok(()),
            Err(PushError::Full { .. }) => Err(Full),
            Err(PushError::TooLong { .. }) => self.push_aside(parts),
        }
    }

    #[cold]
    fn push_aside(&mut self, parts: &[&[u8]]) -> Result<(), Full> {
        {
            let mut aside = self.aside.lock();
            if aside.len() == ASIDE_MAX {
                return Err(Full);
            }
            aside.push_back(parts.concat());
        }
        // The other end takes it only when it finds the empty record.
        self.producer.try_push(&[]).map_err(|_| {
            self.aside.lock().pop_back();
            Full
        })
    }

    /// Whether the other end has taken everything.
    pub(super) fn is_drained(&mut self) -> bool {
        self.producer.is_drained()
    }

    /// Whether the other end is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Inlet {
    consumer: Consumer,
    aside: Aside,
    /// The record that was peeked at, if it came on the heap.
    current: Option<Vec<u8>>,
}

impl Inlet {
    /// Hands up to `records_max` records to `handle`, oldest first; returns how many. Not to be mixed with
    /// [`Inlet::peek`].
    #[inline]
    pub(super) fn poll(&mut self, records_max: usize, mut handle: impl FnMut(&[u8])) -> usize {
        let aside = &self.aside;
        self.consumer.poll(records_max, |record| {
            if record.is_empty() {
                let record = aside.lock().pop_front().expect("put there before the empty record");
                handle(&record);
            } else {
                handle(record);
            }
        })
    }

    /// Returns the oldest record, which stays until [`Inlet::advance`].
    #[inline]
    pub(super) fn peek(&mut self) -> Option<&[u8]> {
        let Self { consumer, aside, current } = self;
        if let Some(record) = current {
            return Some(record);
        }
        let record = consumer.peek()?;
        if !record.is_empty() {
            return Some(record);
        }
        let record = aside.lock().pop_front().expect("put there before the empty record");
        Some(current.insert(record))
    }

    /// Gives the record that was last peeked at back.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.current = None;
        self.consumer.advance();
    }

    /// Whether there is no record at the moment.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// Whether the other end is gone. What it sent before is there.
    pub(super) fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_keep_their_place() {
        let (mut outlet, mut inlet) = link(256);
        let long = vec![7; 1000];
        outlet.push(&[b"a"]).unwrap();
        outlet.push(&[&long[..500], &long[500..]]).unwrap();
        outlet.push(&[b"b"]).unwrap();
        let mut got = Vec::new();
        assert_eq!(inlet.poll(9, |record| got.push(record.to_vec())), 3);
        assert_eq!(got, [b"a".to_vec(), long, b"b".to_vec()]);
        assert!(inlet.is_empty() && outlet.is_drained());
    }

    #[test]
    fn a_record_that_is_peeked_at_stays() {
        let (mut outlet, mut inlet) = link(256);
        outlet.push(&[&[7; 1000]]).unwrap();
        outlet.push(&[b"b"]).unwrap();
        assert_eq!(inlet.peek(), Some(&[7; 1000][..]));
        assert_eq!(inlet.peek(), Some(&[7; 1000][..]));
        inlet.advance();
        assert_eq!(inlet.peek(), Some(&b"b"[..]));
        inlet.advance();
        assert_eq!(inlet.peek(), None);
    }

    #[test]
    fn both_ways_are_bounded() {
        let (mut outlet, mut inlet) = link(2048);
        for _ in 0..ASIDE_MAX {
            outlet.push(&[&[0; 2000]]).unwrap();
        }
        assert_eq!(outlet.push(&[&[0; 2000]]), Err(Full));
        assert_eq!(inlet.poll(1, |_| {}), 1);
        let mut pushed = ASIDE_MAX - 1;
        while outlet.push(&[b"fill"]).is_ok() {
            pushed += 1;
        }
        while outlet.push(&[&[0; 2000]]).is_ok() {
            pushed += 1;
        }
        assert_eq!(inlet.poll(usize::MAX, |_| {}), pushed, "what was refused left nothing behind");
    }
}
