//! The way from one CPU of a node to another: a mailbox each way, and a doorbell for whoever sleeps.
//!
//! What goes through is what goes between nodes: frames. Beside them there are questions that only this node can answer:
//! what has this replica applied, how do your groups stand. A record too long for the ring travels as a pointer beside
//! it; its place in the ring keeps the order.
//!
//! # Bounds
//! A ring of [`RING_BYTES`], at most [`LARGE_MAX`] long records beside it. A full ring is a value: requests are refused
//! with `OVERLOAD`, answers wait in a list that the number of requests under way bounds. Large answers are refused while
//! [`Link::large_bytes`] is above what the sender gives them.
//!
//! # Threads
//! Each end of a mailbox belongs to one CPU; the doorbell is shared.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;
use quorate_engine::ids::CpuId;
use quorate_engine::sync::doorbell::Doorbell;
use quorate_engine::sync::mailbox::{self, Consumer, Producer};

use crate::transport::Waker;

/// Bytes of the ring from one CPU to another.
const RING_BYTES: usize = 1 << 20;
/// Records that are longer than a ring takes, under way at one time.
const LARGE_MAX: usize = 256;
/// Records taken from one CPU in one turn, so that the sockets are not forgotten.
const RECORDS_PER_TURN: usize = 1024;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A frame, as between nodes.
    Frame,
    /// A request frame whose command is to be read from what this node has applied.
    Peek,
    /// A request frame that asks for entries of a group's log, as this node holds them.
    Log,
    /// A request frame that asks for the state of the groups.
    Status,
    /// What stands here travels beside the ring.
    Large,
}

impl RecordKind {
    const ALL: [Self; 5] = [Self::Frame, Self::Peek, Self::Log, Self::Status, Self::Large];
}

/// How a sleeping CPU is woken.
#[derive(Debug)]
pub(crate) struct Bell {
    pub(crate) doorbell: Doorbell,
    /// Set once by the CPU itself, when its transport stands.
    pub(crate) waker: std::sync::OnceLock<Waker>,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { doorbell: Doorbell::new(), waker: std::sync::OnceLock::new() })
    }

    /// Tells the CPU that `from` has put something into its mailbox; wakes it if it sleeps.
    pub(crate) fn ring(&self, from: CpuId) {
        if self.doorbell.ring(u32::from(from.0)) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// The ends of one CPU towards another.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) cpu: CpuId,
    outgoing: Producer,
    outgoing_large: Arc<Large>,
    /// Records that found the ring full and must not be lost.
    backlog: VecDeque<(RecordKind, Vec<u8>)>,
    backlog_bytes: usize,
    incoming: Consumer,
    incoming_large: Arc<Large>,
    bell: Arc<Bell>,
    /// Whether something was sent since the bell was rung.
    is_unannounced: bool,
}

/// Long records in one direction.
#[derive(Debug)]
struct Large {
    queue: ArrayQueue<Vec<u8>>,
    /// How many bytes they have. Each end adds to it or takes from it what it puts in or takes out.
    bytes: AtomicUsize,
}

/// The ring is full; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkFull;

impl Link {
    /// Joins two CPUs: returns the end of `one` towards `two` and the other way round. `bells`: theirs, in this order.
    pub(crate) fn pair(one: CpuId, two: CpuId, bells: [&Arc<Bell>; 2]) -> (Self, Self) {
        let (to_two, from_one) = mailbox::channel(RING_BYTES);
        let (to_one, from_two) = mailbox::channel(RING_BYTES);
        let large = || Arc::new(Large { queue: ArrayQueue::new(LARGE_MAX), bytes: AtomicUsize::new(0) });
        let (large_to_two, large_to_one) = (large(), large());
        let link = |cpu, outgoing, outgoing_large, incoming, incoming_large, bell| Self {
            cpu,
            outgoing,
            outgoing_large,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            incoming,
            incoming_large,
            bell,
            is_unannounced: false,
        };
        let [bell_one, bell_two] = bells.map(Arc::clone);
        (
            link(two, to_two, Arc::clone(&large_to_two), from_two, Arc::clone(&large_to_one), bell_two),
            link(one, to_one, large_to_one, from_one, large_to_two, bell_one),
        )
    }

    /// Sends a record, or changes nothing.
    pub(crate) fn try_send(&mut self, kind: RecordKind, bytes: &[u8]) -> Result<(), LinkFull> {
        // What waits goes first.
        if !self.backlog.is_empty() {
            return Err(LinkFull);
        }
        self.push(kind, bytes)
    }

    /// Sends a record now or as soon as there is room: answers must not be lost.
    pub(crate) fn send(&mut self, kind: RecordKind, bytes: &[u8]) {
        if self.try_send(kind, bytes).is_err() {
            self.backlog_bytes += bytes.len();
            self.backlog.push_back((kind, bytes.to_vec()));
        }
    }

    fn push(&mut self, kind: RecordKind, bytes: &[u8]) -> Result<(), LinkFull> {
        let tag = [kind as u8];
        if bytes.len() + tag.len() <= self.outgoing.record_bytes_max() {
            self.outgoing.try_push(&[&tag, bytes]).map_err(|_| LinkFull)?;
        } else {
            if self.outgoing_large.queue.is_full() {
                return Err(LinkFull);
            }
            // This end is the only one that adds, so there is still room after the announcement has gone through.
            self.outgoing.try_push(&[&[RecordKind::Large as u8, kind as u8]]).map_err(|_| LinkFull)?;
            // Relaxed: a tally that nothing else depends on; the other end takes away what it finds in the queue later.
            self.outgoing_large.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            let added = self.outgoing_large.queue.push(bytes.to_vec());
            assert!(added.is_ok(), "only this CPU adds long records, and there was room");
        }
        self.is_unannounced = true;
        Ok(())
    }

    /// Takes up to a turn's worth of records into `into`, as (kind, bytes).
    pub(crate) fn receive(&mut self, into: &mut Vec<(RecordKind, Vec<u8>)>, spare: &mut Vec<Vec<u8>>) {
        for _ in 0..RECORDS_PER_TURN {
            let Some(record) = self.incoming.peek() else { return };
            let kind = |tag: u8| RecordKind::ALL[usize::from(tag)];
            let (tag, bytes) = record.split_first().expect("every record has a tag");
            if kind(*tag) == RecordKind::Large {
                // The announcement is published before the record itself is added.
                let Some(large) = self.incoming_large.queue.pop() else { return };
                // Relaxed: as where it was added.
                self.incoming_large.bytes.fetch_sub(large.len(), Ordering::Relaxed);
                into.push((kind(bytes[0]), large));
            } else {
                let mut buffer = spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(bytes);
                into.push((kind(*tag), buffer));
            }
            self.incoming.advance();
        }
    }

    /// Returns how many bytes of long records the other CPU has not taken yet, and of all that wait for room.
    pub(crate) fn large_bytes(&self) -> usize {
        // Relaxed: a tally; a moment ago it may have been another.
        self.backlog_bytes + self.outgoing_large.bytes.load(Ordering::Relaxed)
    }

    /// Sends what waited, and rings the bell if something was sent. Once a turn.
    pub(crate) fn flush(&mut self, from: CpuId) {
        while let Some((kind, bytes)) = self.backlog.pop_front() {
            if self.push(kind, &bytes).is_err() {
                self.backlog.push_front((kind, bytes));
                break;
            }
            self.backlog_bytes -= bytes.len();
        }
        if core::mem::take(&mut self.is_unannounced) {
            self.bell.ring(from);
        }
    }

    /// Wakes the other CPU, without anything for it.
    pub(crate) fn wake(&self) {
        self.bell.wake();
    }

    /// Whether records wait here.
    pub(crate) fn has_incoming(&mut self) -> bool {
        !self.incoming.is_empty()
    }

    /// Whether records wait for room.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, Link) {
        let bells = [Bell::new(), Bell::new()];
        Link::pair(CpuId(0), CpuId(1), [&bells[0], &bells[1]])
    }

    fn receive(link: &mut Link) -> Vec<(RecordKind, Vec<u8>)> {
        let mut records = Vec::new();
        link.receive(&mut records, &mut Vec::new());
        records
    }

    #[test]
    fn records_of_all_sizes_arrive_in_order() {
        let (mut one, mut two) = pair();
        let large = vec![7; RING_BYTES];
        one.send(RecordKind::Frame, b"first");
        one.send(RecordKind::Peek, &large);
        one.send(RecordKind::Status, b"");
        one.flush(CpuId(0));
        let expected =
            [(RecordKind::Frame, b"first".to_vec()), (RecordKind::Peek, large), (RecordKind::Status, Vec::new())];
        assert_eq!(one.large_bytes(), RING_BYTES);
        assert_eq!(receive(&mut two), expected);
        assert_eq!(one.large_bytes(), 0);
        assert!(receive(&mut one).is_empty());
    }

    #[test]
    fn a_full_ring_refuses_requests_and_keeps_answers() {
        let (mut one, mut two) = pair();
        let record = vec![1; 64 << 10];
        let mut sent = 0;
        while one.try_send(RecordKind::Frame, &record).is_ok() {
            sent += 1;
        }
        one.send(RecordKind::Frame, &record);
        // It would fit, but what waits goes first.
        assert_eq!(one.try_send(RecordKind::Frame, b"refused"), Err(LinkFull));
        assert_eq!(receive(&mut two).len(), sent);
        assert_eq!(one.large_bytes(), record.len());
        one.flush(CpuId(0));
        assert_eq!(one.large_bytes(), 0);
        assert_eq!(receive(&mut two), [(RecordKind::Frame, record)]);
        assert!(!one.has_backlog());
    }
}
