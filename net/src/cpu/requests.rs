//! Requests that are being executed somewhere, and who gets the answer.
//!
//! Every request that leaves the connection it came over, be it to the engine of this CPU, to another CPU or to another
//! node, is named by a key. Whoever executes it answers with that key, once. A key is used again only when its place in the
//! table has had 2^32 requests, so an answer that comes after its request was given up finds nothing and is dropped.
//!
//! # Time and units
//! Deadlines are on this node's monotonic clock, from when the request was sent on. They are only for requests executed
//! elsewhere: this node's own engine ends each of its requests itself.
//!
//! # Bounds
//! `limit` requests; one more is refused.

use std::collections::VecDeque;

use quorate_engine::Level;
use quorate_engine::ids::{CpuId, GroupId, LogIndex, NodeId, Slot};
use quorate_engine::time::Instant;

use super::Task;
use crate::transport::ConnId;

/// Names a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A RESP connection: part `part` of the request at place `place` of its queue.
    Resp { conn: ConnId, place: u64, part: u32 },
    /// A connection that speaks the native protocol, client or peer, under a number of its own.
    Native { conn: ConnId, number: u64 },
    /// Another CPU of this node, under a key of its own.
    Cpu { cpu: CpuId, key: u64 },
}

/// Who executes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executor {
    /// The engine of this CPU.
    Here,
    /// Another CPU of this node.
    Cpu(CpuId),
    /// Another node.
    Node(NodeId),
    /// The consistent core, asked by the control thread.
    Core,
}

/// Whether a request that gets no answer may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    None,
    /// It may write.
    Write,
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Underway {
    pub(crate) origin: Origin,
    pub(crate) executor: Executor,
    pub(crate) effect: Effect,
    /// The group it is for.
    pub(crate) group: GroupId,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Requests {
    rows: Vec<Row>,
    vacant: Vec<u32>,
    deadlines: VecDeque<(Instant, Key)>,
    limit: usize,
    /// Requests executed elsewhere.
    elsewhere: usize,
    /// Bytes of commands that are kept.
    kept_bytes: usize,
}

#[derive(Debug)]
struct Row {
    generation: u32,
    underway: Option<Underway>,
    /// What to send again if nobody has executed it; its memory stays for the next one.
    kept: Kept,
    is_kept: bool,
}

/// A request passed on to another node, as it can be passed on again.
#[derive(Debug)]
pub(crate) struct Kept {
    slot: Slot,
    level: Level,
    after: LogIndex,
    command: Vec<u8>,
    /// When it has taken as long as a request may, counted from when it came to this CPU.
    pub(super) deadline: Instant,
}

impl Kept {
    const NOTHING: Self =
        Self { slot: Slot(0), level: Level::Commit, after: LogIndex(0), command: Vec::new(), deadline: Instant(0) };

    pub(super) fn task(&self, underway: &Underway) -> Task<'_> {
        let Self { slot, level, after, ref command, .. } = *self;
        Task { group: underway.group, slot, command, level, after, hops: 0, effect: underway.effect }
    }
}

/// Commands above this length are not kept.
const KEPT_COMMAND_BYTES_MAX: usize = 4096;
/// Nor are those beyond so many bytes together, on one CPU.
const KEPT_BYTES_MAX: usize = 16 << 20;

impl Requests {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: Vec::new(), vacant: Vec::new(), deadlines: VecDeque::new(), limit, elsewhere: 0, kept_bytes: 0 }
    }

    /// Names a request; `None` if there are too many. `deadline`: when to give up on an executor elsewhere.
    pub(crate) fn add(&mut self, underway: Underway, deadline: Instant) -> Option<Key> {
        let index = match self.vacant.pop() {
            Some(index) => index,
            None if self.rows.len() < self.limit => {
                self.rows.push(Row { generation: 1, underway: None, kept: Kept::NOTHING, is_kept: false });
                u32::try_from(self.rows.len() - 1).expect("limits are far below 2^32")
            }
            None => return None,
        };
        let row = &mut self.rows[index as usize];
        row.underway = Some(underway);
        let key = Key(u64::from(row.generation) << 32 | u64::from(index));
        if underway.executor != Executor::Here {
            self.elsewhere += 1;
            // Those that were answered make room, so the list is about as long as requests are under way.
            while self.deadlines.pop_front_if(|(_, front)| !Self::is_live(&self.rows, *front)).is_some() {}
            self.deadlines.push_back((deadline, key));
        }
        Some(key)
    }

    /// Keeps the command of a request, if it is short and there is room.
    pub(super) fn keep(&mut self, key: Key, task: &Task<'_>, until: Instant) {
        let bytes = task.command.len();
        if bytes > KEPT_COMMAND_BYTES_MAX || self.kept_bytes + bytes > KEPT_BYTES_MAX {
            return;
        }
        let row = &mut self.rows[index_of(key)];
        let Kept { slot, level, after, command, deadline } = &mut row.kept;
        (*slot, *level, *after, *deadline) = (task.slot, task.level, task.after, until);
        command.clear();
        command.extend_from_slice(task.command);
        row.is_kept = true;
        self.kept_bytes += bytes;
    }

    /// As [`Requests::take`], with what was kept of it.
    pub(super) fn take_kept(&mut self, key: Key) -> Option<(Underway, Option<Kept>)> {
        let is_kept = self.rows.get(index_of(key)).is_some_and(|row| row.is_kept);
        let underway = self.take(key)?;
        let kept = is_kept.then(|| std::mem::replace(&mut self.rows[index_of(key)].kept, Kept::NOTHING));
        Some((underway, kept))
    }

    /// Takes a request that is answered; `None` if it was given up before.
    pub(crate) fn take(&mut self, key: Key) -> Option<Underway> {
        let row = self.rows.get_mut(index_of(key))?;
        if u64::from(row.generation) != key.0 >> 32 {
            return None;
        }
        let underway = row.underway.take()?;
        if std::mem::take(&mut row.is_kept) {
            self.kept_bytes -= row.kept.command.len();
        }
        row.generation = row.generation.wrapping_add(1).max(1);
        self.vacant.push(u32::try_from(index_of(key)).expect("masked"));
        if underway.executor != Executor::Here {
            self.elsewhere -= 1;
        }
        Some(underway)
    }

    /// Takes a request whose executor has not answered in time.
    pub(crate) fn take_late(&mut self, now: Instant) -> Option<(Key, Underway)> {
        while let Some((_, key)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            if let Some(underway) = self.take(key) {
                return Some((key, underway));
            }
        }
        None
    }

    /// Returns the keys of all requests that `executor` is to execute. Cost: one pass over the table.
    pub(crate) fn keys_of(&self, executor: Executor) -> Vec<Key> {
        let rows = self.rows.iter().enumerate();
        let rows = rows.filter(|(_, row)| row.underway.is_some_and(|underway| underway.executor == executor));
        rows.map(|(index, row)| Key(u64::from(row.generation) << 32 | index as u64)).collect()
    }

    /// Returns when the next request has to be given up.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        if self.elsewhere == 0 {
            // What is left are deadlines of requests that were answered.
            self.deadlines.clear();
        }
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    fn is_live(rows: &[Row], key: Key) -> bool {
        rows.get(index_of(key)).is_some_and(|row| u64::from(row.generation) == key.0 >> 32 && row.underway.is_some())
    }

    /// Returns how many are under way.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() - self.vacant.len()
    }
}

/// Returns the place of a request in the table.
fn index_of(key: Key) -> usize {
    usize::try_from(key.0 & u64::from(u32::MAX)).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn underway(executor: Executor) -> Underway {
        Underway { origin: Origin::Cpu { cpu: CpuId(0), key: 7 }, executor, effect: Effect::Write, group: GroupId(0) }
    }

    #[test]
    fn a_request_is_answered_once() {
        let mut requests = Requests::new(2);
        let key = requests.add(underway(Executor::Here), Instant(0)).expect("room");
        assert!(requests.take(key).is_some());
        assert_eq!(requests.take(key), None);
        let again = requests.add(underway(Executor::Here), Instant(0)).expect("room");
        assert_ne!(key, again);
        assert_eq!(requests.take(key), None);
        assert!(requests.take(again).is_some());
    }

    #[test]
    fn full_is_a_value() {
        let mut requests = Requests::new(1);
        assert!(requests.add(underway(Executor::Here), Instant(0)).is_some());
        assert_eq!(requests.add(underway(Executor::Here), Instant(0)), None);
    }

    #[test]
    fn only_requests_elsewhere_are_given_up() {
        let mut requests = Requests::new(8);
        let here = requests.add(underway(Executor::Here), Instant(1)).expect("room");
        let answered = requests.add(underway(Executor::Node(NodeId(2))), Instant(1)).expect("room");
        let late = requests.add(underway(Executor::Node(NodeId(2))), Instant(2)).expect("room");
        requests.take(answered);
        assert_eq!(requests.next_deadline(), Some(Instant(1)));
        assert_eq!(requests.take_late(Instant(1)), None);
        assert_eq!(requests.take_late(Instant(2)).map(|(key, _)| key), Some(late));
        assert_eq!(requests.next_deadline(), None);
        assert!(requests.take(here).is_some());
    }

    #[test]
    fn what_a_lost_node_was_to_execute_is_found() {
        let mut requests = Requests::new(8);
        requests.add(underway(Executor::Node(NodeId(3))), Instant(9)).expect("room");
        let lost = requests.add(underway(Executor::Node(NodeId(2))), Instant(9)).expect("room");
        assert_eq!(requests.keys_of(Executor::Node(NodeId(2))), [lost]);
        requests.take(lost);
        assert_eq!(requests.keys_of(Executor::Node(NodeId(2))), []);
    }
}
