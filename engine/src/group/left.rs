//! Writes of a leader that was deposed, and that somebody waits for.
//!
//! What it has appended is in most logs, and whoever takes over adopts it with the stamp it was born with: it commits there,
//! and this replica hears of it. So the requests stay, and are answered when their entries are applied here. An entry is told
//! by its stamp: where another one is committed at its index, or nothing in time, the outcome is unknown. That it never
//! happens cannot be said: a loss that is accepted later may bring it back.
//!
//! Once the core names a greater loss generation nobody is answered any more, as this replica may be the last to hear of it.
//!
//! # Invariants
//! I8. A waiter completes exactly once: whatever completes it also removes it. A replica that leads has none here.
//!
//! # Time and units
//! Deadlines are those the requests had before, on this replica's monotonic clock.

use std::collections::VecDeque;

use crate::ids::EntryId;
use crate::log::Log;
use crate::machine::answer::AnswerSink;
use crate::output::{Ended, Token};
use crate::planted;
use crate::replica::{Replica, apply};
use crate::sync::pool::Pool;
use crate::time::Instant;
use crate::waiting::WaitingList;

use super::Shared;

/// See the module. In the order of their entries.
#[derive(Debug, Default, Hash)]
pub(super) struct LeftWrites(VecDeque<LeftWrite>);

#[derive(Debug, Hash)]
struct LeftWrite {
    id: EntryId,
    token: Token,
    deadline: Instant,
}

impl LeftWrites {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the writes of a leader that leads no more.
    pub(super) fn leave(&mut self, waiting: &mut WaitingList, log: &Log, pool: &Pool) {
        for write in waiting.take_writes() {
            // Nothing is released that is not applied, and nobody waits for what is.
            let epoch = log.epoch_at(pool, write.index).expect("what waits is in the log");
            let id = EntryId { epoch, index: write.index };
            self.0.push_back(LeftWrite { id, token: write.token, deadline: write.deadline });
        }
    }

    /// Gives a leader the writes that are in its log, and ends the others.
    pub(super) fn hand_to(&mut self, waiting: &mut WaitingList, shared: &mut Shared, replica: &Replica) {
        for LeftWrite { id, token, deadline } in core::mem::take(&mut self.0) {
            let is_here = id.index > replica.applied.index
                && id.index <= replica.log.last()
                && (planted::is(11) || replica.log.epoch_at(&shared.pool, id.index) == Some(id.epoch));
            if is_here {
                waiting.add_write(id.index, token, deadline);
            } else {
                end(shared, id, token);
            }
        }
    }

    /// Applies what is committed, and answers whoever waits for it.
    pub(super) fn apply_committed(&mut self, shared: &mut Shared, replica: &mut Replica) {
        if self.0.is_empty() {
            return shared.apply_committed(replica);
        }
        let used_before = replica.kv.used_bytes();
        let Shared { pool, outputs, waiter_count, used_bytes, .. } = shared;
        replica.apply_through(pool, replica.commit, |kv, entry| {
            // Those before were passed by a snapshot.
            while let Some(left) = self.0.pop_front_if(|left| left.id.index < entry.id().index) {
                *waiter_count -= 1;
                outputs.reply(left.token, Ended::Unknown { id: left.id });
            }
            let Some(left) = self.0.pop_front_if(|left| left.id.index == entry.id().index) else {
                return apply(kv, entry, &mut AnswerSink::discard());
            };
            *waiter_count -= 1;
            if left.id == entry.id() || planted::is(11) {
                outputs.done(left.token, |out| {
                    apply(kv, entry, &mut AnswerSink::into(out));
                    entry.id()
                });
            } else {
                apply(kv, entry, &mut AnswerSink::discard());
                outputs.reply(left.token, Ended::Unknown { id: left.id });
            }
        });
        *used_bytes = (*used_bytes + replica.kv.used_bytes()).saturating_sub(used_before);
    }

    /// Ends those whose deadline has come.
    pub(super) fn end_late(&mut self, shared: &mut Shared, now: Instant) {
        while let Some(left) = self.0.pop_front_if(|left| left.deadline <= now) {
            end(shared, left.id, left.token);
        }
    }

    pub(super) fn end_all(&mut self, shared: &mut Shared) {
        for left in core::mem::take(&mut self.0) {
            end(shared, left.id, left.token);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.front().map(|left| left.deadline)
    }
}

fn end(shared: &mut Shared, id: EntryId, token: Token) {
    shared.waiter_count -= 1;
    shared.outputs.reply(token, Ended::Unknown { id });
}
